// Turns the counters of /status into rates and quantiles, one value per second.

/** How many seconds the charts show. */
export const HISTORY_SECONDS = 300;
/** Quantiles and the rates of the listener table cover this many seconds. */
const WINDOW_SECONDS = 5;

const NAMES = [
  "time", "messages", "bytesIn", "bytesOut", "open", "accepted", "rejected", "p50", "p99", "failed",
];

const sumValues = (counters) => Object.values(counters).reduce((sum, value) => sum + value, 0);

function totals(listeners) {
  const sum = (read) => listeners.reduce((total, listener) => total + read(listener), 0);
  const buckets = listeners[0]?.message_seconds.within.map(({ le }, index) => ({
    le,
    count: sum((listener) => listener.message_seconds.within[index].count),
  }));
  return {
    open: sum((listener) => listener.open + listener.sessions),
    messages: sum((listener) => sumValues(listener.messages)),
    failed: sum((listener) => sumValues(listener.messages) - listener.messages.ok),
    bytesIn: sum((listener) => listener.bytes_in),
    bytesOut: sum((listener) => listener.bytes_out),
    rejected: sum((listener) => sumValues(listener.rejected)),
    accepted: sum((listener) => listener.accepted),
    latency: { count: sum((listener) => listener.message_seconds.count), buckets: buckets ?? [] },
  };
}

/**
 * Quantile of the messages between two samples of a cumulative histogram, interpolated linearly within a bucket.
 * Returns null without messages, and the last bound if the quantile is above it.
 */
export function quantile(q, before, after) {
  const total = after.count - before.count;
  if (total <= 0) return null;
  const rank = q * total;
  let lower = { le: 0, count: 0 };
  for (const [index, { le, count }] of after.buckets.entries()) {
    const cumulative = count - (before.buckets[index]?.count ?? 0);
    if (cumulative >= rank) {
      return lower.le + ((le - lower.le) * (rank - lower.count)) / Math.max(1, cumulative - lower.count);
    }
    lower = { le, count: cumulative };
  }
  return lower.le;
}

export class History {
  constructor() {
    this.samples = [];
    this.series = Object.fromEntries(NAMES.map((name) => [name, []]));
  }

  /** Adds a sample. Counters restart with a new process, so the first sample of a process has no rates. */
  add(status, now) {
    const last = this.samples.at(-1);
    const isRestart = last && (last.pid !== status.pid || status.uptime_seconds <= last.uptime);
    if (isRestart) this.samples = [];
    const sample = {
      uptime: status.uptime_seconds,
      pid: status.pid,
      server: totals(status.listeners),
      listeners: new Map(status.listeners.map((listener) => [listener.name, totals([listener])])),
    };
    this.samples.push(sample);
    if (this.samples.length > 2 * WINDOW_SECONDS) this.samples.shift();
    const values = { time: now, open: sample.server.open, ...this.#rates(sample, isRestart ? undefined : last) };
    for (const name of NAMES) {
      this.series[name].push(values[name] ?? null);
      if (this.series[name].length > HISTORY_SECONDS) this.series[name].shift();
    }
  }

  #rates(sample, last) {
    if (!last) return {};
    const seconds = sample.uptime - last.uptime;
    const rate = (name) => Math.max(0, sample.server[name] - last.server[name]) / seconds;
    const counters = ["messages", "bytesIn", "bytesOut", "accepted", "rejected", "failed"];
    const start = this.#windowStart().server.latency;
    return {
      ...Object.fromEntries(counters.map((name) => [name, rate(name)])),
      p50: quantile(0.5, start, sample.server.latency),
      p99: quantile(0.99, start, sample.server.latency),
    };
  }

  #windowStart() {
    return this.samples[Math.max(0, this.samples.length - 1 - WINDOW_SECONDS)];
  }

  /** Rates and quantiles of a listener over the window; null while there are too few samples. */
  listenerRates(name) {
    const [first, last] = [this.#windowStart(), this.samples.at(-1)];
    const [before, after] = [first.listeners.get(name), last.listeners.get(name)];
    const seconds = last.uptime - first.uptime;
    if (!before || seconds <= 0) return { messages: null, bytesIn: null, bytesOut: null, p50: null, p99: null };
    const rate = (counter) => Math.max(0, after[counter] - before[counter]) / seconds;
    return {
      messages: rate("messages"),
      bytesIn: rate("bytesIn"),
      bytesOut: rate("bytesOut"),
      p50: quantile(0.5, before.latency, after.latency),
      p99: quantile(0.99, before.latency, after.latency),
    };
  }
}
