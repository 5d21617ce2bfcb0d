// What the server counts, second by second, as rates.

/** Seconds that are kept. */
export const KEPT = 300;
/** Over so many seconds a rate of a table, or a quantile, is taken. */
const WINDOW = 5;

const sum = (table) => Object.values(table).reduce((all, one) => all + one, 0);

function total(listeners) {
  const within = listeners[0]?.message_seconds.within.map(({ le }, at) => ({
    le,
    count: listeners.reduce((all, one) => all + one.message_seconds.within[at].count, 0),
  }));
  const add = (read) => listeners.reduce((all, one) => all + read(one), 0);
  return {
    open: add((one) => one.open + one.sessions),
    messages: add((one) => sum(one.messages)),
    failed: add((one) => sum(one.messages) - one.messages.ok),
    in: add((one) => one.bytes_in),
    out: add((one) => one.bytes_out),
    refused: add((one) => sum(one.rejected)),
    accepted: add((one) => one.accepted),
    seconds: { count: add((one) => one.message_seconds.count), within: within ?? [] },
  };
}

/** The time that this part of the messages between two readings took at most, or null if there were none. */
export function quantile(part, before, after) {
  const many = after.count - before.count;
  if (many <= 0) return null;
  const wanted = part * many;
  let low = { le: 0, count: 0 };
  for (const [at, { le, count }] of after.within.entries()) {
    const passed = count - (before.within[at]?.count ?? 0);
    if (passed >= wanted) return low.le + ((le - low.le) * (wanted - low.count)) / Math.max(1, passed - low.count);
    low = { le, count: passed };
  }
  return low.le;
}

export class History {
  constructor() {
    this.readings = [];
    this.columns = Array.from({ length: 10 }, () => []);
  }

  /** Takes a reading in. One of another process, or after a long pause, begins anew. */
  add(status, now) {
    const last = this.readings.at(-1);
    const isNew = last && (last.pid !== status.pid || status.uptime_seconds <= last.at);
    if (isNew) this.readings = [];
    const listeners = new Map(status.listeners.map((one) => [one.name, total([one])]));
    const reading = { at: status.uptime_seconds, pid: status.pid, all: total(status.listeners), listeners };
    this.readings.push(reading);
    if (this.readings.length > 2 * WINDOW) this.readings.shift();
    const row = this.#row(reading, isNew ? undefined : last);
    [now, ...row].forEach((value, at) => {
      this.columns[at].push(value);
      if (this.columns[at].length > KEPT) this.columns[at].shift();
    });
  }

  #row(reading, last) {
    if (!last) return [null, null, null, reading.all.open, null, null, null, null, null];
    const seconds = reading.at - last.at;
    const rate = (read) => Math.max(0, read(reading.all) - read(last.all)) / seconds;
    const from = this.#before();
    return [
      rate((all) => all.messages),
      rate((all) => all.in),
      rate((all) => all.out),
      reading.all.open,
      rate((all) => all.accepted),
      rate((all) => all.refused),
      quantile(0.5, from.all.seconds, reading.all.seconds),
      quantile(0.99, from.all.seconds, reading.all.seconds),
      rate((all) => all.failed),
    ];
  }

  #before() {
    return this.readings[Math.max(0, this.readings.length - 1 - WINDOW)];
  }

  /** What a listener does, over the last seconds. */
  of(name) {
    const [from, to] = [this.#before(), this.readings.at(-1)];
    const [before, after] = [from.listeners.get(name), to.listeners.get(name)];
    const seconds = to.at - from.at;
    if (!before || seconds <= 0) return { messages: null, in: null, out: null, p50: null, p99: null };
    const rate = (key) => Math.max(0, after[key] - before[key]) / seconds;
    return {
      messages: rate("messages"),
      in: rate("in"),
      out: rate("out"),
      p50: quantile(0.5, before.seconds, after.seconds),
      p99: quantile(0.99, before.seconds, after.seconds),
    };
  }
}
