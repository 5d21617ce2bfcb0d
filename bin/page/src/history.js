// The history that the server keeps: one row per second for an hour, one row per minute for a day.

import { get, HttpError } from "./api.js";

/** The rows of each length that the server keeps. */
const KEPT = { 1: 3600, 60: 1440 };
const PARAMETER = { 1: "seconds", 60: "minutes" };
/** Rows that a request asks for beyond those that should be new. */
const SPARE_ROWS = 3;

/** The rows of one length. `last` is the number of the last row since the start of the server. */
class Rows {
  constructor(step) {
    this.step = step;
    this.clear();
  }

  clear() {
    [this.pid, this.last, this.time, this.columns, this.asked] = [null, 0, 0, {}, 0];
  }

  get length() {
    return this.columns.open?.length ?? 0;
  }

  /** The end of the first row, in seconds of Unix time. */
  get start() {
    return this.time - (this.length - 1) * this.step;
  }

  async update(listener) {
    const missing = Math.ceil((Date.now() / 1000 - this.asked) / this.step) + SPARE_ROWS;
    const limit = Math.min(this.pid === null ? KEPT[this.step] : missing, KEPT[this.step]);
    const of = listener === null ? "" : `&listener=${encodeURIComponent(listener)}`;
    const asked = Date.now() / 1000;
    const reply = await get(`/history?${PARAMETER[this.step]}=${limit}${of}`);
    const received = reply.columns.open.length;
    const isNew = reply.pid !== this.pid || reply.last - received > this.last;
    if (isNew && this.pid !== null && limit < KEPT[this.step]) {
      // Another process, or rows are missing.
      this.clear();
      return this.update(listener);
    }
    const added = isNew ? received : Math.min(received, reply.last - this.last);
    for (const [name, column] of Object.entries(reply.columns)) {
      const rows = isNew ? column : [...this.columns[name], ...column.slice(received - added)];
      this.columns[name] = rows.slice(-KEPT[this.step]);
    }
    [this.pid, this.last, this.time, this.asked] = [reply.pid, reply.last, reply.last_time, asked];
  }

  /** The rows from one time to another: their times, and rates per second for the counts. */
  between(from, to) {
    const first = Math.max(0, Math.floor((from - this.start) / this.step));
    const end = Math.max(first, Math.min(this.length, Math.ceil((to - this.start) / this.step) + 1));
    const slice = (name, divisor = 1) =>
      (this.columns[name] ?? []).slice(first, end).map((value) => (value === null ? null : value / divisor));
    const rate = this.step;
    return {
      time: Array.from({ length: end - first }, (_, index) => this.start + (first + index) * this.step),
      open: slice("open"),
      messages: slice("messages", rate),
      failed: slice("failed", rate),
      accepted: slice("accepted", rate),
      rejected: slice("rejected", rate),
      errors: slice("errors", rate),
      bytesIn: slice("bytes_in", rate),
      bytesOut: slice("bytes_out", rate),
      p50: slice("p50_micros", 1e6),
      p99: slice("p99_micros", 1e6),
    };
  }
}

/** The history of the whole server, or of one listener. */
export class History {
  #seconds = new Rows(1);
  #minutes = new Rows(60);

  /** `listener` is null for the whole server. */
  constructor(listener) {
    this.listener = listener;
    /** Whether the server has no history of this listener. */
    this.isMissing = false;
  }

  /** Gets the new rows. The rows of minutes are only needed for times before the last hour. */
  async update(needsMinutes) {
    try {
      await this.#seconds.update(this.listener);
      const isDue = Date.now() / 1000 - this.#minutes.asked > 30 || this.#minutes.pid !== this.#seconds.pid;
      if (needsMinutes && isDue) await this.#minutes.update(this.listener);
      this.isMissing = false;
    } catch (error) {
      if (!(error instanceof HttpError && error.status === 404)) throw error;
      this.isMissing = true;
    }
  }

  /** The time of the last row. */
  get now() {
    return this.#seconds.time || Date.now() / 1000;
  }

  /** Whether the rows of seconds reach back to a time. */
  reaches(from) {
    return from >= this.now - KEPT[1];
  }

  between(from, to) {
    return (this.reaches(from) ? this.#seconds : this.#minutes).between(from, to);
  }
}
