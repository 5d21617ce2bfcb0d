// Formats numbers, rates, sizes and durations.

const NO_VALUE = "–";

export function formatCount(value) {
  return value >= 1e6 ? `${(value / 1e6).toFixed(2)} M` : Math.round(value).toLocaleString("en");
}

export function formatRate(value) {
  if (value === null) return NO_VALUE;
  return value > 0 && value < 10 ? value.toFixed(1) : formatCount(value);
}

export function formatBytes(value) {
  if (value === null) return NO_VALUE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** A latency: two significant digits. */
export function formatLatency(seconds) {
  if (seconds === null) return NO_VALUE;
  if (seconds === 0) return "0";
  if (seconds < 1e-3) return `${Math.max(1, Math.round(seconds * 1e6))} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toPrecision(2)} ms`;
  return `${seconds.toPrecision(2)} s`;
}

/** An age or uptime: its largest unit, and the next smaller one if the first is below 10. */
export function formatAge(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const index = units.findIndex(([unit, size]) => seconds >= size || unit === "s");
  const [unit, size] = units[index];
  const whole = Math.floor(seconds / size);
  const next = units[index + 1];
  const rest = next && whole < 10 ? Math.floor((seconds - whole * size) / next[1]) : 0;
  return rest ? `${whole} ${unit} ${rest} ${next[0]}` : `${whole} ${unit}`;
}
