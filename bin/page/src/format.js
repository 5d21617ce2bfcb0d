// Numbers as people read them.

export function count(value) {
  return value >= 1e6 ? `${(value / 1e6).toFixed(2)} M` : Math.round(value).toLocaleString("en");
}

export function rate(value) {
  return value === null ? "–" : value > 0 && value < 10 ? value.toFixed(1) : count(value);
}

export function bytes(value) {
  if (value === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function time(seconds) {
  if (seconds === null) return "–";
  if (seconds === 0) return "0";
  if (seconds < 1e-3) return `${Math.max(1, Math.round(seconds * 1e6))} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toPrecision(2)} ms`;
  return `${seconds.toPrecision(2)} s`;
}

export function age(seconds) {
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = Math.max(0, parts.findIndex(([, size]) => seconds >= size));
  const [unit, size] = parts[first];
  const whole = Math.floor(seconds / size);
  const next = parts[first + 1];
  const rest = next && whole < 10 ? Math.floor((seconds - whole * size) / next[1]) : 0;
  return rest ? `${whole} ${unit} ${rest} ${next[0]}` : `${Math.max(0, whole)} ${unit}`;
}
