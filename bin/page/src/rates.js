// Rates and latencies of each listener over the last seconds, from the counters of /status.

/** The numbers cover this many seconds. */
const WINDOW_SECONDS = 5;

export const sumValues = (counters) => Object.values(counters).reduce((sum, value) => sum + value, 0);

/** Failed messages of a listener. */
export const failedMessages = ({ messages }) => sumValues(messages) - messages.ok;

/**
 * Quantile of the messages between two samples of a cumulative histogram, interpolated linearly within a bucket, in
 * seconds. Returns null without messages, the lowest bound for the lowest bucket, and Infinity above the last bound.
 */
export function quantile(q, before, after) {
  const total = after.count - before.count;
  if (total <= 0) return null;
  const rank = Math.max(1, Math.ceil(q * total));
  let [lower, below] = [0, 0];
  for (const [index, { le, count }] of after.within.entries()) {
    const within = count - before.within[index].count;
    if (within >= rank) return lower ? lower + ((le - lower) * (rank - below)) / (within - below) : le;
    [lower, below] = [le, within];
  }
  return Infinity;
}

export class Rates {
  #samples = [];

  /** Adds a sample. Counters begin anew with a new process. */
  add(status) {
    const last = this.#samples.at(-1);
    if (last && (last.pid !== status.pid || status.uptime_seconds <= last.uptime)) this.#samples = [];
    const listeners = new Map(status.listeners.map((listener) => [listener.name, listener]));
    this.#samples.push({ uptime: status.uptime_seconds, pid: status.pid, listeners });
    if (this.#samples.length > WINDOW_SECONDS + 1) this.#samples.shift();
  }

  /** Rates and quantiles of a listener; null while there are too few samples. */
  of(name) {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    const [before, after] = [first.listeners.get(name), last.listeners.get(name)];
    const seconds = last.uptime - first.uptime;
    if (!before || !after || seconds <= 0) return { messages: null, bytesIn: null, bytesOut: null, p50: null, p99: null };
    const rate = (read) => Math.max(0, read(after) - read(before)) / seconds;
    return {
      messages: rate(({ messages }) => sumValues(messages)),
      bytesIn: rate(({ bytes_in }) => bytes_in),
      bytesOut: rate(({ bytes_out }) => bytes_out),
      p50: quantile(0.5, before.message_seconds, after.message_seconds),
      p99: quantile(0.99, before.message_seconds, after.message_seconds),
    };
  }
}
