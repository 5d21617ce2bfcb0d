// Charts with one or two lines. The values are shown as text beside the title: those at the cursor, the current ones,
// or the highest ones of a range in the past.

import uPlot from "uplot";
import { formatBytes, formatClock, formatCount, formatLatency, formatMinute, formatRate, formatSeconds } from "./format.js";
import { KEYS } from "./range.js";

/** Axis steps for bytes: powers of two. */
const POWERS_OF_TWO = Array.from({ length: 50 }, (_, exponent) => 2 ** exponent);
/** Axis steps for whole numbers. */
const WHOLE = Array.from({ length: 12 }, (_, exponent) => [1, 2, 5].map((digit) => digit * 10 ** exponent)).flat();

/** Each line is a series of the history and its label. */
const CHARTS = [
  { title: "Messages per second", lines: [["messages", ""]], format: formatRate },
  {
    title: "Bytes per second",
    lines: [["bytesIn", "in"], ["bytesOut", "out"]],
    format: formatBytes,
    steps: POWERS_OF_TWO,
  },
  { title: "Open connections and datagram peers", lines: [["open", ""]], format: formatCount, steps: WHOLE },
  { title: "Message latency", lines: [["p50", "p50"], ["p99", "p99"]], format: formatLatency, tick: formatSeconds },
  {
    title: "New connections per second",
    lines: [["accepted", "accepted"], ["rejected", "rejected"]],
    format: formatRate,
  },
  {
    title: "Errors per second",
    lines: [["failed", "failed"], ["errors", "closed by error"]],
    format: formatRate,
  },
];

const color = (variable) => getComputedStyle(document.documentElement).getPropertyValue(variable).trim();

const highest = (values) => values.reduce((max, value) => (value !== null && (max === null || value > max) ? value : max), null);

class Chart {
  constructor(container, range, { title, lines, format, tick = format, steps }) {
    Object.assign(this, { range, title, lines, format, tick, steps, cursor: null });
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const heading = document.createElement("span");
    heading.textContent = title;
    this.values = document.createElement("output");
    this.values.setAttribute("aria-live", "off");
    caption.append(heading, this.values);
    this.plot = document.createElement("div");
    this.plot.className = "plot";
    this.plot.tabIndex = 0;
    this.plot.setAttribute("role", "img");
    this.plot.addEventListener("keydown", (event) => this.#key(event));
    this.plot.addEventListener("blur", () => this.#moveCursor(null));
    figure.append(caption, this.plot);
    container.append(figure);
  }

  /** Left and right move the cursor, and its values are announced. The other keys change the range of all charts. */
  #key(event) {
    const last = this.data[0].length - 1;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && last >= 0) {
      this.values.setAttribute("aria-live", "polite");
      const size = event.shiftKey ? 10 : 1;
      this.#moveCursor(Math.min(last, Math.max(0, (this.cursor ?? last) + step * size)));
    } else if (event.key === "Escape") this.#moveCursor(null);
    else if (KEYS[event.key]) this.range[KEYS[event.key]]();
    else return;
    event.preventDefault();
  }

  #moveCursor(index) {
    if (index === null) {
      this.values.setAttribute("aria-live", "off");
      this.uplot?.setCursor({ left: -10, top: -10 });
    } else {
      this.uplot.setCursor({ left: this.uplot.valToPos(this.data[0][index], "x"), top: 0 });
    }
  }

  #showValues() {
    const [times, ...series] = this.data;
    const time = times[this.cursor];
    const isLive = this.range.end === null;
    const pick = time !== undefined ? (values) => values[this.cursor] : isLive ? (values) => values.at(-1) : highest;
    const prefix = time !== undefined ? `${formatClock(time)}: ` : isLive ? "" : "max ";
    const values = this.lines.map(([, label], index) => `${label} ${this.format(pick(series[index]) ?? null)}`.trim());
    this.values.replaceChildren(
      prefix,
      ...values.flatMap((value, index) => {
        const span = document.createElement("span");
        span.textContent = value;
        if (values.length > 1) span.className = `series-${index + 1}`;
        return index ? [" · ", span] : [span];
      }),
    );
    const most = this.lines.map(([, label], index) => `${label} ${this.format(highest(series[index]))}`.trim());
    const now = isLive ? `now ${values.join(", ")}; ` : "";
    this.plot.setAttribute("aria-label", `${this.title}: ${now}highest in this range ${most.join(", ")}`);
  }

  update(series) {
    this.data = [series.time, ...this.lines.map(([name]) => series[name])];
    if (this.uplot) this.uplot.setData(this.data);
    else this.create();
    this.#showValues();
  }

  #size() {
    return { width: this.plot.clientWidth, height: this.plot.clientHeight };
  }

  create() {
    this.uplot?.destroy();
    const axis = {
      stroke: color("--muted"),
      grid: { stroke: color("--border"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui",
    };
    const line = ([, label], index) => ({
      label: label || this.title,
      stroke: color(`--series-${index + 1}`),
      width: 1.5,
      dash: index ? [6, 3] : undefined,
      fill: this.lines.length === 1 ? `${color("--series-1")}22` : undefined,
      points: { show: false },
      spanGaps: false,
    });
    const times = (_, ticks) => ticks.map((tick) => (this.range.length < 240 ? formatClock : formatMinute)(tick));
    this.uplot = new uPlot(
      {
        ...this.#size(),
        series: [{}, ...this.lines.map(line)],
        legend: { show: false },
        cursor: { y: false, drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
        scales: {
          x: { time: true, range: () => [this.range.from, this.range.to] },
          y: { range: (_, min, max) => [0, Math.max(max ?? 0, Number.MIN_VALUE) * 1.15 || 1] },
        },
        axes: [
          { ...axis, space: 50, size: 24, values: times },
          { ...axis, space: 32, size: 68, incrs: this.steps, values: (_, ticks) => ticks.map((tick) => this.tick(tick)) },
        ],
        hooks: {
          setCursor: [
            ({ cursor }) => {
              const index = cursor.left >= 0 ? (cursor.idx ?? null) : null;
              if (index === this.cursor) return;
              this.cursor = index;
              this.#showValues();
            },
          ],
          setSelect: [
            (plot) => {
              if (plot.select.width < 4) return;
              const { left, width } = plot.select;
              plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              this.range.select(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
            },
          ],
        },
      },
      this.data,
      this.plot,
    );
  }

  resize() {
    if (this.uplot && this.plot.clientWidth) this.uplot.setSize(this.#size());
  }
}

/** Creates the charts and returns a function that updates them. */
export function createCharts(container, range) {
  const charts = CHARTS.map((options) => new Chart(container, range, options));
  new ResizeObserver(() => charts.forEach((chart) => chart.resize())).observe(container);
  // uPlot takes its colors at creation.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    charts.forEach((chart) => chart.data && chart.create()),
  );
  return (series) => charts.forEach((chart) => chart.update(series));
}
