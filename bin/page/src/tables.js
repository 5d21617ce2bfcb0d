// The tables. Text from the server is only ever set as textContent, never as HTML.

import { formatAge, formatBytes, formatCount, formatLatency, formatRate } from "./format.js";

/** The connection table shows at most this many rows. The filter finds the others. */
const MAX_ROWS = 200;

const tableBody = (id) => document.querySelector(`#${id} tbody`);

function createCell(text, tag = "td", className = "") {
  const cell = document.createElement(tag);
  cell.textContent = text;
  if (className) cell.className = className;
  if (tag === "th") cell.scope = "row";
  return cell;
}

function createRow(...cells) {
  const row = document.createElement("tr");
  row.append(...cells);
  return row;
}

function createEmptyRow(columns, text) {
  const cell = createCell(text, "td", "empty");
  cell.colSpan = columns;
  return createRow(cell);
}

export function showListeners(status, history) {
  const rows = status.listeners.map((listener) => {
    const rates = history.listenerRates(listener.name);
    const numbers = [
      formatCount(listener.open + listener.sessions),
      formatCount(listener.accepted),
      `${formatRate(rates.messages)}/s`,
      `${formatBytes(rates.bytesIn)}/s`,
      `${formatBytes(rates.bytesOut)}/s`,
      formatLatency(rates.p50),
      formatLatency(rates.p99),
    ];
    return createRow(
      createCell(listener.name, "th"),
      createCell(listener.state, "td", listener.state === "listening" ? "success" : "error"),
      createCell(listener.address),
      ...numbers.map((text) => createCell(text, "td", "numeric")),
    );
  });
  tableBody("listeners").replaceChildren(...(rows.length ? rows : [createEmptyRow(10, "No listeners.")]));
}

function showBars(id, counters, emptyText) {
  const entries = Object.entries(counters).filter(([, count]) => count > 0).sort(([, a], [, b]) => b - a);
  const max = entries[0]?.[1] ?? 1;
  const rows = entries.map(([label, count]) => {
    const meter = document.createElement("meter");
    Object.assign(meter, { max, value: count });
    meter.setAttribute("aria-hidden", "true");
    const bar = document.createElement("td");
    bar.append(meter);
    return createRow(createCell(label, "th"), createCell(formatCount(count), "td", "numeric"), bar);
  });
  tableBody(id).replaceChildren(...(rows.length ? rows : [createEmptyRow(3, emptyText)]));
}

/** Shows the counters of close reasons, and of rejections and errors, summed over all listeners. */
export function showReasons(status) {
  const sum = (read) => {
    const sums = {};
    for (const listener of status.listeners) {
      for (const [label, count] of read(listener)) sums[label] = (sums[label] ?? 0) + count;
    }
    return sums;
  };
  const labelled = (prefix, counters, harmless) =>
    Object.entries(counters)
      .filter(([key]) => key !== harmless)
      .map(([key, count]) => [`${prefix}: ${key}`, count]);
  showBars("close-reasons", sum((listener) => Object.entries(listener.closed)), "No connections closed yet.");
  const errors = (listener) => [
    ...labelled("connection rejected", listener.rejected),
    ...labelled("message", listener.messages, "ok"),
    ...labelled("accept error", listener.accept_errors, "again"),
  ];
  showBars("rejections", sum(errors), "No rejections or errors.");
}

/** The connection table. Rows are reused between updates, so that a focused button keeps the focus. */
export class ConnectionTable {
  constructor(onKill) {
    this.onKill = onKill;
    this.rows = new Map();
    this.filter = "";
    this.connections = [];
  }

  setFilter(text) {
    this.filter = text.trim().toLowerCase();
    this.update(this.connections);
  }

  update(connections) {
    this.connections = connections;
    const matches = ({ id, peer, listener }) => `${id} ${peer} ${listener}`.toLowerCase().includes(this.filter);
    const matching = connections.filter(matches).reverse();
    const shown = matching.slice(0, MAX_ROWS);
    const rows = new Map(shown.map((connection) => [connection.id, this.#row(connection)]));
    this.#replaceRows(rows);
    if (!rows.size) {
      tableBody("connections").append(createEmptyRow(9, connections.length ? "No matches." : "No open connections."));
    }
    const matchCount = this.filter ? `, ${formatCount(matching.length)} match` : "";
    const limit = matching.length > shown.length ? `, newest ${shown.length} shown` : "";
    const text = `${formatCount(connections.length)} open${matchCount}${limit}`;
    const count = document.querySelector("#connection-count");
    if (count.textContent !== text) count.textContent = text;
  }

  #replaceRows(rows) {
    const table = tableBody("connections");
    for (const [id, row] of this.rows) if (!rows.has(id)) row.remove();
    table.querySelector(".empty")?.parentElement.remove();
    this.rows = rows;
    let next = table.firstChild;
    for (const row of rows.values()) {
      if (row === next) next = next.nextSibling;
      else table.insertBefore(row, next);
    }
  }

  #row(connection) {
    const { id, peer, listener, state } = connection;
    const texts = [
      id,
      peer,
      listener,
      state,
      formatAge(connection.age_seconds),
      formatCount(connection.messages),
      formatBytes(connection.bytes_in),
      formatBytes(connection.bytes_out),
    ];
    const row = this.rows.get(id) ?? this.#createRow(connection, texts.length);
    texts.forEach((text, index) => {
      const cell = row.children[index];
      if (cell.textContent !== String(text)) cell.textContent = text;
    });
    return row;
  }

  #createRow({ id, peer }, columns) {
    const numeric = [0, 4, 5, 6, 7];
    const cells = Array.from({ length: columns }, (_, index) =>
      createCell("", index ? "td" : "th", numeric.includes(index) ? "numeric" : ""),
    );
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: "Kill", className: "danger" });
    button.setAttribute("aria-label", `Kill connection ${id}, ${peer}`);
    button.addEventListener("click", () => this.onKill(id, button));
    const action = createCell("");
    action.append(button);
    return createRow(...cells, action);
  }
}
