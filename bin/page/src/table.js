// A table that is sorted by its headers and can be saved. Text from the server is only ever set as textContent, never
// as HTML.

import { downloadButtons } from "./download.js";

/** A table shows at most this many rows. The filter finds the others. */
const MAX_ROWS = 200;

const compare = (a, b) => {
  if (a === b) return 0;
  if (a === null || a === undefined) return -1;
  if (b === null || b === undefined) return 1;
  return typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
};

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export class Table {
  /**
   * A column has a `title`, the `value` of a row for sorting and saving, and its `text`, by default the value. `render`
   * fills a new cell with other content. `className` is of the cell, or a function of the row. `options.sort` is the
   * column of the initial order, `options.key` identifies a row between updates.
   */
  constructor(id, columns, options) {
    Object.assign(this, { columns, options, filter: "", source: [], shownRows: new Map() });
    this.table = document.getElementById(id);
    this.order = { column: columns.find(({ title }) => title === options.sort), isDescending: !!options.isDescending };
    this.body = this.table.querySelector("tbody") ?? this.table.createTBody();
    this.#createHead();
    const read = () => [this.columns.filter(isSaved).map(({ title }) => title), this.#sorted().map(savedRow(this.columns))];
    this.note = this.table.createCaption();
    this.note.textContent = options.caption ?? "";
    const buttons = document.createElement("span");
    buttons.className = "downloads";
    buttons.append(...downloadButtons(`switchboard-${id}`, options.label ?? id, read));
    this.table.closest("section").querySelector("h2").after(buttons);
  }

  #createHead() {
    const row = this.table.createTHead().insertRow();
    for (const column of this.columns) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.className = classOf(column);
      if (column.value) {
        const button = document.createElement("button");
        Object.assign(button, { type: "button", textContent: column.title, className: "sort" });
        button.addEventListener("click", () => this.#sortBy(column));
        cell.append(button);
      } else {
        const hidden = document.createElement("span");
        Object.assign(hidden, { className: "visually-hidden", textContent: column.title });
        cell.append(hidden);
      }
      column.head = cell;
      row.append(cell);
    }
    this.#showOrder();
  }

  #sortBy(column) {
    const isSame = this.order.column === column;
    this.order = { column, isDescending: isSame ? !this.order.isDescending : !!column.isNumeric };
    this.#showOrder();
    this.update(this.source);
  }

  #showOrder() {
    for (const column of this.columns) {
      if (column === this.order.column) {
        column.head.setAttribute("aria-sort", this.order.isDescending ? "descending" : "ascending");
      } else column.head.removeAttribute("aria-sort");
    }
  }

  setFilter(text) {
    this.filter = text.trim().toLowerCase();
    this.update(this.source);
  }

  #sorted() {
    const isMatch = (row) => !this.filter || this.options.search(row).toLowerCase().includes(this.filter);
    const matching = this.source.filter(isMatch);
    const { column, isDescending } = this.order;
    const direction = isDescending ? -1 : 1;
    return column ? matching.sort((a, b) => direction * compare(column.value(a), column.value(b))) : matching;
  }

  /** Shows these rows. Elements are reused, so that a focused button keeps the focus. Returns the number of matches. */
  update(source) {
    this.source = source;
    const sorted = this.#sorted();
    const elements = new Map();
    for (const row of sorted.slice(0, MAX_ROWS)) {
      const key = this.options.key(row);
      const element = this.shownRows.get(key) ?? this.#createRow(row);
      this.columns.forEach((column, index) => this.#fill(element.children[index], column, row));
      elements.set(key, element);
    }
    for (const [key, element] of this.shownRows) if (!elements.has(key)) element.remove();
    this.body.querySelector(".empty")?.parentElement.remove();
    this.shownRows = elements;
    let next = this.body.firstChild;
    for (const element of elements.values()) {
      if (element === next) next = next.nextSibling;
      else this.body.insertBefore(element, next);
    }
    if (!elements.size) this.#showEmpty(source.length ? "No matches." : this.options.empty);
    const limit = sorted.length > MAX_ROWS ? `The first ${MAX_ROWS} of ${sorted.length.toLocaleString("en")} rows` : "";
    setText(this.note, limit || (this.options.caption ?? ""));
    return sorted.length;
  }

  #createRow(row) {
    const element = document.createElement("tr");
    this.columns.forEach((column, index) => {
      const cell = document.createElement(index ? "td" : "th");
      if (!index) cell.scope = "row";
      column.render?.(cell, row);
      element.append(cell);
    });
    return element;
  }

  #fill(cell, column, row) {
    const className = classOf(column, row);
    if (cell.className !== className) cell.className = className;
    if (!column.render) setText(cell, String(column.text ? column.text(row) : (column.value(row) ?? "")));
  }

  #showEmpty(text) {
    const cell = this.body.insertRow().insertCell();
    Object.assign(cell, { textContent: text, className: "empty", colSpan: this.columns.length });
  }
}

/** Shows a text that a narrow cell breaks only between these parts. */
export function showBreakable(cell, parts) {
  cell.replaceChildren(...parts.flatMap((part) => [part, document.createElement("wbr")]));
}

const isSaved = ({ value }) => !!value;
const savedRow = (columns) => (row) => columns.filter(isSaved).map(({ value }) => value(row));

function classOf({ className, isNumeric, isWide, isText }, row) {
  const own = typeof className === "function" ? row && className(row) : className;
  return [own, isNumeric && "numeric", isWide && "wide", isText && "text"].filter(Boolean).join(" ");
}
