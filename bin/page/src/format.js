// Formats numbers, rates, sizes and durations.

const NO_VALUE = "–";
/** The lowest and the highest bound of the latency histogram of the server, in seconds. */
const [LOWEST_LATENCY, HIGHEST_LATENCY] = [1e-5, 10];

export function formatCount(value) {
  if (value === null || value === undefined) return NO_VALUE;
  return value >= 1e6 ? `${(value / 1e6).toFixed(2)} M` : Math.round(value).toLocaleString("en");
}

export function formatRate(value) {
  if (value === null || value === undefined) return NO_VALUE;
  return value > 0 && value < 10 ? value.toFixed(value < 0.1 ? 2 : 1) : formatCount(value);
}

export function formatBytes(value) {
  if (value === null || value === undefined) return NO_VALUE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** A point on the axis of latencies: two significant digits. */
export function formatSeconds(seconds) {
  if (seconds === 0) return "0";
  if (seconds < 1e-3) return `${Math.max(1, Math.round(seconds * 1e6))} µs`;
  if (seconds < 1) return `${Number((seconds * 1e3).toPrecision(2))} ms`;
  return `${Number(seconds.toPrecision(2))} s`;
}

/** A measured latency. Below the lowest bound of the histogram and above the highest one, only that is known. */
export function formatLatency(seconds) {
  if (seconds === null || seconds === undefined) return NO_VALUE;
  if (seconds <= LOWEST_LATENCY) return `< ${formatSeconds(LOWEST_LATENCY)}`;
  if (seconds > HIGHEST_LATENCY) return `> ${formatSeconds(HIGHEST_LATENCY)}`;
  return formatSeconds(seconds);
}

/** An age or uptime: its largest unit, and the next smaller one if the first is below 10. */
export function formatAge(seconds) {
  if (seconds < 1) return "< 1 s";
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const index = units.findIndex(([, size]) => seconds >= size);
  const [unit, size] = units[index];
  const whole = Math.floor(seconds / size);
  const next = units[index + 1];
  const rest = next && whole < 10 ? Math.floor((seconds - whole * size) / next[1]) : 0;
  return rest ? `${whole} ${unit} ${rest} ${next[0]}` : `${whole} ${unit}`;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

export const formatClock = (unixSeconds) => clock.format(unixSeconds * 1000);
export const formatMinute = (unixSeconds) => minute.format(unixSeconds * 1000);
export const formatDay = (unixSeconds) => day.format(unixSeconds * 1000);

export const plural = (count, one, more = `${one}s`) => `${formatCount(count)} ${count === 1 ? one : more}`;

/** The address of a client; on a Unix socket, with its user and process. */
export function formatPeer({ peer, uid, pid }) {
  if (uid === null || uid === undefined) return peer;
  return `${peer} uid ${uid}${pid === null || pid === undefined ? "" : ` pid ${pid}`}`;
}
