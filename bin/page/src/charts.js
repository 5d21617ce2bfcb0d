// Charts with one or two lines over the last minutes. The current values are shown as text beside the title.

import uPlot from "uplot";
import { formatBytes, formatCount, formatLatency, formatRate } from "./format.js";
import { HISTORY_SECONDS } from "./history.js";

/** Axis steps for bytes: powers of two. */
const POWERS_OF_TWO = Array.from({ length: 50 }, (_, exponent) => 2 ** exponent);

/** Each line is a series of the history and its label. */
const CHARTS = [
  { title: "Messages per second", lines: [["messages", ""]], format: formatRate },
  {
    title: "Bytes per second",
    lines: [["bytesIn", "in"], ["bytesOut", "out"]],
    format: formatBytes,
    steps: POWERS_OF_TWO,
  },
  { title: "Open connections and datagram peers", lines: [["open", ""]], format: formatCount },
  { title: "Message latency", lines: [["p50", "p50"], ["p99", "p99"]], format: formatLatency },
  {
    title: "New connections per second",
    lines: [["accepted", "accepted"], ["rejected", "rejected"]],
    format: formatRate,
  },
  { title: "Failed messages per second", lines: [["failed", ""]], format: formatRate },
];

const timeOfDay = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

const color = (variable) => getComputedStyle(document.documentElement).getPropertyValue(variable).trim();

class Chart {
  constructor(container, { title, lines, format, steps }) {
    Object.assign(this, { title, lines, format, steps });
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const heading = document.createElement("span");
    heading.textContent = title;
    this.current = document.createElement("output");
    this.current.setAttribute("aria-live", "off");
    caption.append(heading, this.current);
    this.plot = document.createElement("div");
    this.plot.className = "plot";
    this.plot.setAttribute("role", "img");
    figure.append(caption, this.plot);
    container.append(figure);
  }

  update(series) {
    this.data = [series.time, ...this.lines.map(([name]) => series[name])];
    const values = this.lines.map(([name, label]) => `${label} ${this.format(series[name].at(-1) ?? null)}`.trim());
    this.current.replaceChildren(
      ...values.flatMap((value, index) => {
        const span = document.createElement("span");
        span.textContent = value;
        if (values.length > 1) span.className = `series-${index + 1}`;
        return index ? [" · ", span] : [span];
      }),
    );
    this.plot.setAttribute("aria-label", `${this.title}: now ${values.join(", ")}`);
    if (this.uplot) this.uplot.setData(this.data);
    else this.create();
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
    this.uplot = new uPlot(
      {
        ...this.#size(),
        series: [{}, ...this.lines.map(line)],
        legend: { show: false },
        cursor: { show: false },
        scales: {
          x: { time: true, range: (_, min, max) => [Math.min(min, max - HISTORY_SECONDS / 2), max] },
          y: { range: (_, min, max) => [0, Math.max(max ?? 0, Number.MIN_VALUE) * 1.15 || 1] },
        },
        axes: [
          { ...axis, space: 70, size: 24, values: (_, ticks) => ticks.map((tick) => timeOfDay.format(tick * 1000)) },
          {
            ...axis,
            space: 32,
            size: 64,
            incrs: this.steps,
            values: (_, ticks) => ticks.map((tick) => this.format(tick)),
          },
        ],
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
export function createCharts(container) {
  const charts = CHARTS.map((options) => new Chart(container, options));
  new ResizeObserver(() => charts.forEach((chart) => chart.resize())).observe(container);
  // uPlot takes its colors at creation.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    charts.forEach((chart) => chart.data && chart.create()),
  );
  return (series) => charts.forEach((chart) => chart.update(series));
}
