// The time range that the charts show: the last minutes or hours, or a range that was selected.

/** The shortest range in seconds, and the longest one: what the server keeps. */
const [SHORTEST, LONGEST] = [10, 86400];
/** Part of the range that one step moves. */
const MOVE = 0.5;

export class Range {
  /** `onChange` is called after every change by the user. */
  constructor(container, onChange) {
    this.length = 300;
    /** The end in seconds of Unix time; null follows the present. */
    this.end = null;
    this.now = Date.now() / 1000;
    this.onChange = onChange;
    this.container = container;
    container.addEventListener("click", ({ target }) => {
      const { seconds, action } = target.dataset;
      if (seconds) this.set(null, Number(seconds));
      else if (action) this[action]();
    });
    this.#show();
  }

  get to() {
    return this.end ?? this.now;
  }

  get from() {
    return this.to - this.length;
  }

  set(end, length) {
    this.length = Math.min(LONGEST, Math.max(SHORTEST, length));
    const isPast = end !== null && end < this.now - 1;
    this.end = isPast ? Math.max(end, this.now - LONGEST + this.length) : null;
    this.#show();
    this.onChange();
  }

  select(from, to) {
    this.set(to, to - from);
  }

  earlier() {
    this.set(this.to - this.length * MOVE, this.length);
  }

  later() {
    this.set(this.to + this.length * MOVE, this.length);
  }

  zoomIn() {
    this.set(this.end === null ? null : this.end - this.length / 4, this.length / 2);
  }

  zoomOut() {
    this.set(this.end === null ? null : this.end + this.length / 2, this.length * 2);
  }

  live() {
    this.set(null, 300);
  }

  #show() {
    for (const button of this.container.querySelectorAll("[data-seconds]")) {
      const isCurrent = this.end === null && Number(button.dataset.seconds) === this.length;
      button.setAttribute("aria-pressed", isCurrent);
    }
  }
}

/** The keys that change the range while a chart has the focus. */
export const KEYS = { PageUp: "earlier", PageDown: "later", "+": "zoomIn", "-": "zoomOut", Home: "live" };
