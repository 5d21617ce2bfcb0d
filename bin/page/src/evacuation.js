// The evacuation (partial drain): a dialog with a preview, and the progress.

import { send } from "./api.js";
import { command, notify } from "./commands.js";
import { formatAge, formatCount, plural } from "./format.js";

const TIMEOUT_MS = 5000;

const element = (id) => document.getElementById(id);
const field = (name) => element(`evacuation-${name}`);

function path(more = "") {
  const parameters = new URLSearchParams({ share: field("share").value / 100, rate: `${field("rate").value}/s` });
  for (const name of ["listener", "source"]) {
    const value = field(name).value.trim();
    if (value) parameters.set(name, value);
  }
  return `/evacuate?${parameters}${more}`;
}

function showPlan({ open, chosen, seconds }) {
  field("preview").textContent =
    `Closes ${formatCount(chosen)} of ${plural(open, "connection")} within ${formatAge(seconds)}. The ones that are idle for ` +
    "longest close first, active ones after their reply. The listeners still accept clients: direct new ones to " +
    "other servers before.";
}

/** The last request for a preview. Replies to earlier ones are not shown. */
let last = 0;

async function preview() {
  last += 1;
  const own = last;
  const reply = await send("POST", path("&dry_run=true"), undefined, TIMEOUT_MS).catch(() => null);
  if (own !== last) return;
  field("confirm").disabled = reply?.status !== 200;
  if (reply?.status === 200) showPlan(reply.body);
  else field("preview").textContent = reply ? reply.body : "The server did not answer.";
}

/** Streams have connections, datagrams have none. */
const hasConnections = ({ address }) => !/^(udp|unixgram):/.test(address);
let listeners = [];

element("evacuate").addEventListener("click", () => {
  const option = (value, text) => Object.assign(document.createElement("option"), { value, textContent: text });
  const names = listeners.filter(hasConnections).map(({ name }) => option(name, name));
  field("listener").replaceChildren(option("", "all"), ...names);
  // Asks for the token first, because a dialog covers the form.
  command("POST", path("&dry_run=true"), undefined, ({ status, body }) => {
    field("confirm").disabled = status !== 200;
    if (status === 200) showPlan(body);
    else field("preview").textContent = body;
    element("evacuation-dialog").showModal();
  });
});
for (const name of ["share", "rate", "listener", "source"]) field(name).addEventListener("input", preview);

element("evacuation-dialog").addEventListener("close", ({ target }) => {
  const isConfirmed = target.returnValue === "evacuate";
  target.returnValue = "";
  if (!isConfirmed) return;
  command("POST", path(), undefined, ({ status, body }) => {
    if (status !== 202) notify(body, { isError: true });
  });
});

field("cancel").addEventListener("click", () =>
  command("DELETE", "/evacuate", undefined, ({ status, body }) => notify(body, { isError: status !== 200 })),
);

/** The evacuation whose progress is shown. */
let shown = null;

/** Shows the progress of an evacuation, and its result. */
export function showEvacuation({ pid, phase, evacuation, listeners: all }) {
  listeners = all;
  element("evacuate").disabled = phase !== "running" || evacuation?.state === "in_progress";
  const isInProgress = evacuation?.state === "in_progress";
  element("evacuation-progress").hidden = !isInProgress;
  const name = evacuation && `${pid} ${evacuation.id}`;
  if (isInProgress) {
    shown = name;
    const { closed, chosen, remaining } = evacuation;
    const busy = remaining ? ` ${plural(remaining, "connection")} to finish.` : "";
    field("text").textContent = `Evacuation: ${formatCount(closed)} of ${plural(chosen, "connection")} closed.${busy}`;
    Object.assign(field("bar"), { max: Math.max(chosen, 1), value: closed });
  } else if (evacuation && shown === name) {
    shown = null;
    const { state, closed, chosen, remaining } = evacuation;
    const busy = remaining ? ` ${plural(remaining, "connection")} still busy, and closed when the message ends.` : "";
    const end = state === "finished" ? "Evacuation finished" : "Evacuation cancelled";
    notify(`${end}: ${formatCount(closed)} of ${plural(chosen, "connection")} closed.${busy}`);
  }
}
