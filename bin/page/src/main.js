// The dashboard: polls the admin endpoint once per second and sends the operator's commands.

import { get, getConnections, send, setToken } from "./api.js";
import { createCharts } from "./charts.js";
import { formatAge } from "./format.js";
import { History } from "./history.js";
import { ConnectionTable, showListeners, showReasons } from "./tables.js";

const POLL_INTERVAL_MS = 1000;
/** Above this many open connections the list is fetched on every fifth poll only. */
const MANY_CONNECTIONS = 2000;

const element = (id) => document.getElementById(id);
const history = new History();
const updateCharts = createCharts(element("charts"));
const connectionTable = new ConnectionTable(kill);
let pendingCommand = null;
let lastUpdate = null;

function notify(text, { isError = false, details = [] } = {}) {
  const notification = element("notification");
  notification.classList.toggle("error", isError);
  notification.replaceChildren(text);
  if (details.length) {
    const list = document.createElement("ul");
    list.append(...details.map((detail) => Object.assign(document.createElement("li"), { textContent: detail })));
    notification.append(list);
  }
  notification.hidden = false;
}

/** Sends a command. If the token is missing or wrong, asks for it and sends the command again. */
async function command(method, path, body, onResponse) {
  let response;
  try {
    response = await send(method, path, body);
  } catch {
    return notify("The server did not answer.", { isError: true });
  }
  if (response.status === 401) {
    pendingCommand = () => command(method, path, body, onResponse);
    element("token-form").hidden = false;
    element("token").focus();
    return notify(response.body, { isError: true });
  }
  element("token-form").hidden = true;
  onResponse(response);
}

function kill(id, button) {
  button.disabled = true;
  command("DELETE", `/connections/${id}`, undefined, ({ status, body }) => {
    notify(body, { isError: status !== 200 });
    button.disabled = false;
    update();
  });
}

function reloadSummary({ started, changed, stopped }) {
  if (![started, changed, stopped].every(Array.isArray)) return "Configuration reloaded.";
  const listeners = changed.length === 1 ? "listener" : "listeners";
  const counts = `${changed.length} ${listeners} changed, ${started.length} started, ${stopped.length} stopped`;
  return `Configuration reloaded: ${counts}.`;
}

element("reload").addEventListener("click", () =>
  command("POST", "/reload", undefined, ({ status, body }) => {
    if (status === 200) return notify(reloadSummary(body));
    const details = body.errors ?? [body];
    notify("Reload rejected. The running configuration is unchanged.", { isError: true, details });
  }),
);

element("drain").addEventListener("click", () => element("drain-dialog").showModal());
element("drain-dialog").addEventListener("close", ({ target }) => {
  const isConfirmed = target.returnValue === "drain";
  target.returnValue = "";
  if (!isConfirmed) return;
  command("POST", "/drain", undefined, ({ status, body }) => notify(body, { isError: status >= 400 }));
});

element("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(element("token").value);
  element("token").value = "";
  pendingCommand?.();
});

element("log-level-form").addEventListener("submit", (event) => {
  event.preventDefault();
  command("PUT", "/log-level", element("log-level").value, ({ status, body }) => {
    const isError = status !== 200;
    notify(isError ? body : `Log level set to ${body}`, { isError });
  });
});

element("filter").addEventListener("input", ({ target }) => connectionTable.setFilter(target.value));

function showPhase(text) {
  const phase = element("phase");
  // Screen readers announce every write to a status region, so only changes are written.
  if (phase.textContent !== text) phase.textContent = text;
  phase.className = `badge ${text === "running" ? "success" : "error"}`;
}

function showStatus(status) {
  const isDown = status.listeners.some(({ state }) => state === "down");
  showPhase(isDown && status.phase === "running" ? "listener down" : status.phase);
  const uptime = formatAge(status.uptime_seconds);
  element("process").textContent = `version ${status.version} · process ${status.pid} · uptime ${uptime}`;
  history.add(status, Date.now() / 1000);
  updateCharts(history.series);
  showListeners(status, history);
  showReasons(status);
}

function showUnreachable() {
  showPhase("unreachable");
  const alert = element("unreachable");
  if (!alert.hidden) return;
  const age = lastUpdate ? ` Showing the last data received at ${lastUpdate.toLocaleTimeString("en-GB")}.` : "";
  alert.textContent = `The server does not answer.${age}`;
  alert.hidden = false;
}

let polls = 0;
async function update() {
  try {
    const status = await get("/status");
    showStatus(status);
    lastUpdate = new Date();
    element("unreachable").hidden = true;
    const open = status.listeners.reduce((sum, listener) => sum + listener.open, 0);
    if (polls++ % (open > MANY_CONNECTIONS ? 5 : 1) === 0) connectionTable.update(await getConnections());
  } catch {
    showUnreachable();
  }
}

async function poll() {
  if (!document.hidden) await update();
  setTimeout(poll, POLL_INTERVAL_MS);
}

get("/log-level").then((level) => (element("log-level").value = level.trim()), () => {});
poll();
