// The tables. What comes from the server is text and stays text.

import { age, bytes, count, rate, time } from "./format.js";

/** Rows of connections that are shown at once; a filter finds the others. */
const ROWS = 200;

const body = (id) => document.querySelector(`#${id} tbody`);

function cell(text, kind = "td", className = "") {
  const cell = document.createElement(kind);
  cell.textContent = text;
  if (className) cell.className = className;
  if (kind === "th") cell.scope = "row";
  return cell;
}

function row(...cells) {
  const row = document.createElement("tr");
  row.append(...cells);
  return row;
}

function nothing(columns, text) {
  const empty = cell(text, "td", "empty");
  empty.colSpan = columns;
  return row(empty);
}

export function listeners(status, history) {
  const rows = status.listeners.map((one) => {
    const now = history.of(one.name);
    const number = (text) => cell(text, "td", "number");
    const state = cell(one.state, "td", one.state === "listening" ? "good" : "bad");
    const numbers = [count(one.open + one.sessions), count(one.accepted), `${rate(now.messages)}/s`, `${bytes(now.in)}/s`, `${bytes(now.out)}/s`];
    return row(cell(one.name, "th"), state, cell(one.address), ...[...numbers, time(now.p50), time(now.p99)].map(number));
  });
  body("listeners").replaceChildren(...(rows.length ? rows : [nothing(10, "There is none.")]));
}

function bars(id, counts, none) {
  const rows = Object.entries(counts).filter(([, count]) => count > 0).sort(([, a], [, b]) => b - a);
  const most = rows[0]?.[1] ?? 1;
  const bar = ([why, many]) => {
    const meter = document.createElement("meter");
    Object.assign(meter, { max: most, value: many });
    meter.setAttribute("aria-hidden", "true");
    const last = document.createElement("td");
    last.append(meter);
    return row(cell(why, "th"), cell(count(many), "td", "number"), last);
  };
  body(id).replaceChildren(...(rows.length ? rows.map(bar) : [nothing(3, none)]));
}

export function reasons(status) {
  const gather = (read) => {
    const all = {};
    for (const one of status.listeners) for (const [key, many] of read(one)) all[key] = (all[key] ?? 0) + many;
    return all;
  };
  bars("closed", gather((one) => Object.entries(one.closed)), "None has closed.");
  const failed = (one) => [
    ...Object.entries(one.rejected).map(([why, many]) => [`connection refused: ${why}`, many]),
    ...Object.entries(one.messages).filter(([how]) => how !== "ok").map(([how, many]) => [`message: ${how}`, many]),
    ...Object.entries(one.accept_errors).filter(([kind]) => kind !== "again").map(([kind, many]) => [`accept: ${kind}`, many]),
  ];
  bars("refused", gather(failed), "Nothing was.");
}

/** A row for each connection. A row that stays is kept, so that its button keeps the focus. */
export class Peers {
  constructor(kill) {
    this.kill = kill;
    this.rows = new Map();
    this.filter = "";
    this.known = [];
  }

  show(connections) {
    this.known = connections;
    const wanted = this.filter.trim().toLowerCase();
    const fits = ({ id, peer, listener }) => !wanted || `${id} ${peer} ${listener}`.toLowerCase().includes(wanted);
    const found = connections.filter(fits).reverse();
    const shown = found.slice(0, ROWS);
    const rows = new Map(shown.map((one) => [one.id, this.#row(one)]));
    const table = body("peers");
    for (const [id, row] of this.rows) if (!rows.has(id)) row.remove();
    table.querySelector(".empty")?.parentElement.remove();
    this.rows = rows;
    let place = table.firstChild;
    for (const row of rows.values()) {
      if (row === place) place = place.nextSibling;
      else table.insertBefore(row, place);
    }
    if (!rows.size) table.append(nothing(9, connections.length ? "None fits." : "Nobody is connected."));
    const some = found.length > shown.length ? `, the newest ${shown.length} shown` : "";
    const text = `${count(connections.length)} open${wanted ? `, ${count(found.length)} of them fit` : ""}${some}`;
    const line = document.querySelector("#shown");
    if (line.textContent !== text) line.textContent = text;
  }

  #row(one) {
    const texts = [one.id, one.peer, one.listener, one.state, age(one.age_seconds), count(one.messages), bytes(one.bytes_in), bytes(one.bytes_out)];
    let known = this.rows.get(one.id);
    if (!known) {
      const numeric = [0, 4, 5, 6, 7];
      known = row(...texts.map((_, at) => cell("", at ? "td" : "th", numeric.includes(at) ? "number" : "")));
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: "Kill", className: "danger" });
      button.setAttribute("aria-label", `Kill connection ${one.id}, ${one.peer}`);
      button.addEventListener("click", () => this.kill(one.id, button));
      known.append(cell(""));
      known.lastChild.append(button);
    }
    texts.forEach((text, at) => {
      const cell = known.children[at];
      if (cell.textContent !== String(text)) cell.textContent = text;
    });
    return known;
  }
}
