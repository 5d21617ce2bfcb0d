// The tables of the dashboard: their columns and how their rows are made from /status and /connections.

import { formatAge, formatBytes, formatClock, formatCount, formatLatency, formatPeer, formatRate } from "./format.js";
import { failedMessages } from "./rates.js";
import { listenerPath } from "./router.js";
import { Table, showBreakable } from "./table.js";

/** Shows a peer that never changes. A narrow cell breaks before the port. */
function showPeer(cell, connection) {
  const [, address, port] = /^(.*?)(:\d+)?$/.exec(formatPeer(connection));
  showBreakable(cell, [address, port ?? ""]);
}

const sumOf = (listeners, read) => listeners.reduce((sum, listener) => sum + read(listener), 0);

/** Adds up counters by label. */
function addUp(listeners, read) {
  const sums = {};
  for (const listener of listeners) {
    for (const [label, count] of read(listener)) sums[label] = (sums[label] ?? 0) + count;
  }
  return sums;
}

/** The close reasons by name: a sentence, and whether it is an error. The server sends them once. */
export const reasons = new Map();

export const isError = (reason) => reasons.get(reason)?.is_failure ?? false;

/** Connections of a listener that closed by an error. */
export const closedByError = ({ closed }) =>
  Object.entries(closed).reduce((sum, [reason, count]) => sum + (isError(reason) ? count : 0), 0);

const numeric = (title, value, text, more) => ({ title, value, text: (row) => text(value(row)), isNumeric: true, ...more });
const perSecond = (format) => (value) => (value === null ? format(null) : `${format(value)}/s`);

export function createListenerTable(rates) {
  const rate = (name) => (listener) => rates.of(listener.name)[name];
  const link = (cell, { name }) => {
    const anchor = document.createElement("a");
    Object.assign(anchor, { href: listenerPath(name), textContent: name });
    cell.append(anchor);
  };
  const columns = [
    { title: "Listener", value: ({ name }) => name, render: link },
    {
      title: "State",
      value: ({ state }) => state,
      className: ({ state }) => (state === "listening" ? "success" : "error"),
    },
    { title: "Address", value: ({ address }) => address, isWide: true },
    numeric("Open", ({ open, sessions }) => open + sessions, formatCount),
    numeric("Accepted", ({ accepted }) => accepted, formatCount, { isWide: true }),
    numeric("Messages", rate("messages"), perSecond(formatRate)),
    numeric("Errors", (listener) => closedByError(listener) + failedMessages(listener), formatCount, {
      className: (listener) => (closedByError(listener) + failedMessages(listener) ? "error" : ""),
    }),
    numeric("In", rate("bytesIn"), perSecond(formatBytes), { isWide: true }),
    numeric("Out", rate("bytesOut"), perSecond(formatBytes), { isWide: true }),
    numeric("p50", rate("p50"), formatLatency, { isWide: true }),
    numeric("p99", rate("p99"), formatLatency, { isWide: true }),
  ];
  return new Table("listeners", columns, {
    key: ({ name }) => name,
    sort: "Listener",
    search: ({ name, address, state }) => `${name} ${address} ${state}`,
    caption: "Rates and latency of the last 5 seconds; errors are connections closed by an error and failed messages",
    empty: "No listeners.",
  });
}

export function createReasonTable(id) {
  const columns = [
    { title: "Reason", value: ({ reason }) => reason, className: ({ reason }) => (isError(reason) ? "error" : "") },
    numeric("Count", ({ count }) => count, formatCount),
    {
      title: "Meaning",
      value: ({ reason }) => `${isError(reason) ? "Error: " : ""}${reasons.get(reason)?.sentence ?? ""}`,
      isText: true,
    },
  ];
  return new Table(id, columns, {
    key: ({ reason }) => reason,
    sort: "Count",
    isDescending: true,
    label: "close reasons",
    caption: "Since the server started",
    empty: "No connections closed yet.",
  });
}

/** The rows of the table of close reasons. */
export function reasonRows(listeners) {
  const counts = addUp(listeners, ({ closed }) => Object.entries(closed));
  return Object.entries(counts).filter(([, count]) => count > 0).map(([reason, count]) => ({ reason, count }));
}

export function createRejectionTable() {
  const columns = [
    { title: "Event", value: ({ event }) => event },
    numeric("Count", ({ count }) => count, formatCount),
  ];
  return new Table("rejections", columns, {
    key: ({ event }) => event,
    sort: "Count",
    isDescending: true,
    caption: "Since the server started",
    empty: "No rejections or errors.",
  });
}

/** The rows of the table of rejections and errors. */
export function rejectionRows(listeners) {
  const labelled = (prefix, counters, harmless) =>
    Object.entries(counters)
      .filter(([key]) => key !== harmless)
      .map(([key, count]) => [`${prefix}: ${key}`, count]);
  const events = addUp(listeners, (listener) => [
    ...labelled("connection rejected", listener.rejected),
    ...labelled("message failed", listener.messages, "ok"),
    ...labelled("accept error", listener.accept_errors, "again"),
    ["connection closed by an error", closedByError(listener)],
  ]);
  return Object.entries(events).filter(([, count]) => count > 0).map(([event, count]) => ({ event, count }));
}

export function createConnectionTable(onKill, onTap) {
  const killButton = (cell, connection) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: "Kill", className: "danger small" });
    button.setAttribute("aria-label", `Kill connection ${connection.id}, ${connection.peer}`);
    button.addEventListener("click", () => onKill(connection.id, button));
    cell.append(button);
  };
  const tapButton = (cell, connection) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: "Tap", className: "small" });
    button.setAttribute("aria-label", `Show the messages of connection ${connection.id}, ${connection.peer}`);
    button.addEventListener("click", () => onTap(connection.id));
    cell.append(button);
  };
  const columns = [
    { title: "Id", value: ({ id }) => id, isNumeric: true },
    { title: "Peer", value: formatPeer, render: showPeer, className: "peer" },
    { title: "Listener", value: ({ listener }) => listener, isWide: true },
    { title: "State", value: ({ state }) => state, isWide: true },
    numeric("Age", ({ age_seconds }) => age_seconds, formatAge),
    numeric("Messages", ({ messages }) => messages, formatCount, { isWide: true }),
    numeric("In", ({ bytes_in }) => bytes_in, formatBytes, { isWide: true }),
    numeric("Out", ({ bytes_out }) => bytes_out, formatBytes, { isWide: true }),
    { title: "Tap", render: tapButton, isWide: true },
    { title: "Kill", render: killButton },
  ];
  return new Table("connections", columns, {
    key: ({ id }) => id,
    sort: "Id",
    isDescending: true,
    search: (connection) => `${connection.id} ${formatPeer(connection)} ${connection.listener}`,
    empty: "No open connections.",
  });
}

export function createClosedTable() {
  const columns = [
    { title: "Closed", value: ({ closed_at }) => closed_at, text: ({ closed_at }) => formatClock(closed_at) },
    { title: "Peer", value: formatPeer, render: showPeer, className: "peer" },
    {
      title: "Reason",
      value: ({ reason }) => reason,
      className: ({ reason }) => (isError(reason) ? "error" : ""),
    },
    { title: "Error", value: ({ error }) => error ?? "", isText: true, isWide: true },
    numeric("Age", ({ age_seconds }) => age_seconds, formatAge, { isWide: true }),
    numeric("Messages", ({ messages }) => messages, formatCount, { isWide: true }),
    numeric("In", ({ bytes_in }) => bytes_in, formatBytes, { isWide: true }),
    numeric("Out", ({ bytes_out }) => bytes_out, formatBytes, { isWide: true }),
    { title: "Id", value: ({ id }) => id, isNumeric: true, isWide: true },
  ];
  return new Table("closed", columns, {
    key: ({ id }) => id,
    sort: "Closed",
    isDescending: true,
    label: "recently closed connections",
    caption: "The last 100",
    empty: "No connections closed yet.",
  });
}

export const totalOpen = ({ listeners }) => sumOf(listeners, ({ open, sessions }) => open + sessions);
