// The dashboard: polls the admin endpoint once per second, and shows the view that the address selects.

import { get, getConnections } from "./api.js";
import { BansView } from "./bans.js";
import { createCharts } from "./charts.js";
import { command, notify, showDrain, showLost } from "./commands.js";
import { downloadButtons } from "./download.js";
import { showEvacuation } from "./evacuation.js";
import { formatAge, formatClock, formatCount } from "./format.js";
import { History } from "./history.js";
import { ListenerPage } from "./listener.js";
import { LogView, showConfiguration } from "./log.js";
import { Range } from "./range.js";
import { Rates } from "./rates.js";
import { route } from "./router.js";
import {
  createConnectionTable, createListenerTable, createReasonTable, createRejectionTable, reasonRows, reasons,
  rejectionRows, totalOpen,
} from "./tables.js";
import { showTap } from "./tap.js";

const POLL_INTERVAL_MS = 1000;
/** Above this many open connections the list is fetched on every fifth poll only. */
const MANY_CONNECTIONS = 2000;

const element = (id) => document.getElementById(id);
const rates = new Rates();
const range = new Range(element("range"), () => updateHistory().catch(() => {}));
const updateCharts = createCharts(element("charts"), range);
const listenerTable = createListenerTable(rates);
const reasonTable = createReasonTable("close-reasons");
const rejectionTable = createRejectionTable();
const connectionTable = createConnectionTable(kill, showTap);
const listenerPage = new ListenerPage();
const bansView = new BansView();
const logView = new LogView();
let history = new History(null);
let current = { view: "overview", listener: null };
let status = null;

/** The names of the charts' data in a file. `time` is in seconds of Unix time. */
const SAVED_SERIES = {
  time: "time", open: "open", messages: "messages_per_second", failed: "failed_per_second",
  accepted: "accepted_per_second", rejected: "rejected_per_second", errors: "closed_by_error_per_second",
  bytesIn: "bytes_in_per_second", bytesOut: "bytes_out_per_second", p50: "p50_seconds", p99: "p99_seconds",
};
const chartData = () => {
  const series = history.between(range.from, range.to);
  const rows = series.time.map((_, index) => Object.keys(SAVED_SERIES).map((name) => series[name][index]));
  return [Object.values(SAVED_SERIES), rows];
};
element("chart-downloads").append(...downloadButtons("switchboard-history", "the data of the charts", chartData));

function setText(id, text) {
  // Screen readers announce every write to a status region, so only changes are written.
  if (element(id).textContent !== text) element(id).textContent = text;
}

function kill(id, button) {
  button.disabled = true;
  command("DELETE", `/connections/${id}`, undefined, ({ status: code, body }) => {
    notify(body, { isError: code !== 200 });
    button.disabled = false;
    update();
  });
}

for (const [id, table] of [["filter", connectionTable], ["listener-filter", listenerTable]]) {
  element(id).addEventListener("input", ({ target }) => {
    table.setFilter(target.value);
    showConnectionCount();
  });
}

function showPhase(text) {
  setText("phase", text);
  element("phase").className = `badge ${text === "running" ? "success" : "error"}`;
}

function showConnectionCount() {
  const matching = connectionTable.filter ? `, ${formatCount(connectionTable.update(connectionTable.source))} match` : "";
  setText("connection-count", `${formatCount(connectionTable.source.length)} open${matching}`);
}

async function updateHistory() {
  const shown = history;
  await shown.update(!shown.reaches(range.from));
  if (shown !== history) return; // another view
  range.now = shown.now;
  element("history-missing").hidden = !shown.isMissing;
  updateCharts(shown.between(range.from, range.to));
  const period = range.end === null ? `the last ${formatAge(range.length)}` : `${formatClock(range.from)} to ${formatClock(range.to)}`;
  setText("range-text", `Shows ${period}`);
}

function showStatus() {
  const isDown = status.listeners.some(({ state }) => state === "down");
  showPhase(isDown && status.phase === "running" ? "listener down" : status.phase);
  const uptime = formatAge(status.uptime_seconds);
  const instances = status.fleet ? ` · fleet of ${status.fleet.instances}` : "";
  setText("process", `${status.host ?? ""} · version ${status.version} · process ${status.pid} · uptime ${uptime}${instances}`);
  showFleet(status.fleet);
  showDrain(status);
  showEvacuation(status);
  rates.add(status);
  listenerTable.update(status.listeners);
  element("listener-toolbar").hidden = status.listeners.length <= 10;
  reasonTable.update(reasonRows(status.listeners));
  rejectionTable.update(rejectionRows(status.listeners));
  const place = current.listener ?? { bans: "bans", log: "log", configuration: "configuration" }[current.view];
  document.title = [place, status.host, "Switchboard"].filter(Boolean).join(" · ");
}

/**
 * Shows a fleet whose limits are not shared, whose server fails, or with a link that is down. The number of instances
 * is part of the header.
 */
function showFleet(fleet) {
  const problems = fleet ? fleetProblems(fleet) : [];
  element("fleet").hidden = problems.length === 0;
  setText("fleet", problems.join(". "));
}

function fleetProblems({ state, connected, error, instances, links = [] }) {
  const reason = (error) => (error ? `: ${error}` : "");
  const problems = links.filter((link) => !link.connected);
  const texts = problems.map((link) => `Fleet link ${link.name} is down${reason(link.error)}`);
  if (state === "shared" && connected) return texts;
  const limits = state === "shared" ? "leases still apply" : `limits are divided by ${instances}`;
  return [`Fleet ${state}, ${limits}${reason(error)}`, ...texts];
}

function showUnreachable() {
  const { isStopped, text } = showLost();
  showPhase(isStopped ? "stopped" : "unreachable");
  setText("unreachable", text);
  element("unreachable").hidden = false;
}

let polls = 0;
async function update() {
  try {
    if (!reasons.size) for (const reason of await get("/reasons")) reasons.set(reason.reason, reason);
    status = { ...(await get("/status")), receivedAt: Date.now() / 1000 };
    element("unreachable").hidden = true;
    showStatus();
    const isCharted = current.view === "overview" || current.view === "listener";
    const updates = [isCharted && updateHistory(), current.view === "log" && logView.update()];
    if (current.view === "bans") updates.push(bansView.update(status));
    if (current.view === "listener") updates.push(listenerPage.update(current.listener, status));
    const isDue = polls++ % (totalOpen(status) > MANY_CONNECTIONS ? 5 : 1) === 0;
    if (current.view === "overview" && isDue) updates.push(getConnections().then((all) => connectionTable.update(all)));
    await Promise.all(updates);
    showConnectionCount();
  } catch {
    showUnreachable();
  }
}

async function poll() {
  if (!document.hidden) await update();
  setTimeout(poll, POLL_INTERVAL_MS);
}

let isFirst = true;
route((target) => {
  current = target;
  history = new History(target.listener);
  element("load-title").textContent = target.listener === null ? "Load" : `Load of ${target.listener}`;
  element("listener-title").textContent = `Listener ${target.listener ?? ""}`;
  if (target.view === "log") logView.show();
  if (target.view === "configuration") showConfiguration();
  if (!isFirst && status) update();
  isFirst = false;
});
document.addEventListener("visibilitychange", () => !document.hidden && status && update());
poll();
