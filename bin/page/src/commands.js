// The commands of the operator: they ask for the token where one is needed, and report what the server did.

import { get, HttpError, send, setToken } from "./api.js";
import { formatAge, formatClock, plural } from "./format.js";
import { totalOpen } from "./tables.js";

const element = (id) => document.getElementById(id);
let pendingCommand = null;

export function notify(text, { isError = false, details = [] } = {}) {
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

/** Asks for the token, and then calls `again`. */
export function askForToken(reason, again) {
  pendingCommand = again;
  element("token-form").hidden = false;
  element("token").focus();
  notify(reason, { isError: true });
}

/** Sends a command. If the token is missing or wrong, asks for it and sends the command again. */
export async function command(method, path, body, onResponse) {
  let response;
  try {
    response = await send(method, path, body);
  } catch {
    // During a drain, the notice about the lost server has more to say.
    return openAtDrain === null && notify("The server did not answer.", { isError: true });
  }
  if (response.status === 401) return askForToken(response.body, () => command(method, path, body, onResponse));
  element("token-form").hidden = true;
  onResponse(response);
}

element("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(element("token").value);
  element("token").value = "";
  element("token-form").hidden = true;
  element("notification").hidden = true;
  const again = pendingCommand;
  pendingCommand = null;
  again?.();
});

const show = (value) => (value === null ? "nothing" : JSON.stringify(value));

/** A sentence about a key that differs. */
function describeKey({ key, before, after, origin, needs_restart }) {
  const source = origin ? ` (${origin})` : "";
  return `${key}: ${show(before)} → ${show(after)}${source}${needs_restart ? ", after a restart" : ""}`;
}

function rejected(body) {
  const details = body.errors ?? [body];
  notify("Reload rejected. The running configuration is unchanged.", { isError: true, details });
}

function reloadSummary({ started, changed, stopped, keys }) {
  const counts = `${plural(changed.length, "listener")} changed, ${started.length} started, ${stopped.length} stopped`;
  notify(`Configuration reloaded: ${counts}.`, { details: keys.map(describeKey) });
}

/** A reload shows the differences first. */
element("reload").addEventListener("click", () =>
  command("POST", "/reload?dry_run=true", undefined, ({ status, body }) => {
    if (status !== 200) return rejected(body);
    const { keys } = body;
    const items = keys.map((key) => Object.assign(document.createElement("li"), { textContent: describeKey(key) }));
    element("reload-keys").replaceChildren(...items);
    element("reload-summary").textContent = keys.length
      ? `${plural(keys.length, "key")} ${keys.length === 1 ? "differs" : "differ"} from the running configuration:`
      : "No key differs from the running configuration.";
    element("reload-dialog").showModal();
  }),
);
element("reload-dialog").addEventListener("close", ({ target }) => {
  const isConfirmed = target.returnValue === "reload";
  target.returnValue = "";
  if (!isConfirmed) return;
  command("POST", "/reload", undefined, ({ status, body }) => (status === 200 ? reloadSummary(body) : rejected(body)));
});

let lastStatus = null;
/** `null` before a drain, then the connections at its begin. */
let openAtDrain = null;
/** How the drain ended, when that is known. */
let end = null;

function clients(status) {
  const listeners = status.listeners.filter(({ open, sessions }) => open + sessions > 0).length;
  return `${plural(totalOpen(status), "client")} on ${plural(listeners, "listener")}`;
}

element("drain").addEventListener("click", () => {
  const { drain } = lastStatus ?? {};
  if (drain) {
    const announce = drain.announce_seconds ? `After an announcement of ${formatAge(drain.announce_seconds)}, it` : "It";
    element("drain-question").textContent =
      `The server has ${clients(lastStatus)}. ${announce} stops accepting connections, closes idle ones and lets active ones ` +
      `finish for at most ${formatAge(drain.deadline_seconds)}. Then it aborts the rest and exits.`;
  }
  element("drain-dialog").showModal();
});
element("drain-dialog").addEventListener("close", ({ target }) => {
  const isConfirmed = target.returnValue === "drain";
  target.returnValue = "";
  if (!isConfirmed) return;
  // The reply comes when the drain has ended.
  command("POST", "/drain?wait=true", undefined, ({ status, body }) => {
    if (status === 200) end = describeEnd(body);
    else notify(typeof body === "string" ? body : "The drain was rejected.", { isError: true });
  });
});

function describeEnd({ open, cut, stop_failures }) {
  const connections = plural(open, "connection");
  const result = cut ? `of ${connections}, ${cut} were aborted.` : `${connections} finished or closed, none was aborted.`;
  const failures = stop_failures ? ` ${plural(stop_failures, "handler")} did not stop in time.` : "";
  return `The server has drained and stopped: ${result}${failures}`;
}

/** Waits for the result of a drain that another client has begun. The server sends it just before it exits. */
async function waitForEnd() {
  try {
    end = describeEnd(await get("/drain", 0));
  } catch (error) {
    // A proxy may end a request that waits for long.
    if (!(error instanceof HttpError)) setTimeout(() => end === null && openAtDrain !== null && waitForEnd(), 1000);
  }
}

/** Shows the progress of a drain. */
export function showDrain(status) {
  lastStatus = status;
  const isDraining = status.phase !== "running";
  element("drain-progress").hidden = !isDraining;
  element("drain").disabled = isDraining;
  if (!isDraining) {
    [openAtDrain, end] = [null, null];
    return;
  }
  const open = totalOpen(status);
  if (openAtDrain === null) {
    openAtDrain = Math.max(open, 1);
    waitForEnd();
  }
  const left = status.drain.seconds_left;
  const rest = left === null ? "" : ` The rest is aborted in ${formatAge(left)}.`;
  const phase = status.phase === "cutting" ? "The server aborts the remaining connections." : "The server drains.";
  element("drain-text").textContent = `${phase} ${plural(open, "client")} left.${rest}`;
  const bar = element("drain-bar");
  Object.assign(bar, { max: openAtDrain, value: Math.max(0, openAtDrain - open) });
}

/** What is known about a server that does not answer. Returns whether it has ended by a drain. */
export function showLost() {
  element("drain-progress").hidden = true;
  const last = lastStatus;
  if (end !== null) return { isStopped: true, text: end };
  if (openAtDrain !== null) {
    const seen = `At ${formatClock(last.receivedAt)}, ${plural(totalOpen(last), "client")} were left.`;
    return { isStopped: true, text: `The server has stopped while it drained; how the drain ended is not known. ${seen}` };
  }
  const seen = last ? ` The page shows the last data, received at ${formatClock(last.receivedAt)}.` : "";
  return { isStopped: false, text: `The server does not answer.${seen}` };
}
