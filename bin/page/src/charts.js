// The charts: one line or two each, over the last minutes. What a line says now stands in words beside it.

import uPlot from "uplot";
import { bytes, count, rate, time } from "./format.js";
import { KEPT } from "./history.js";

/** Bytes are counted in powers of two. */
const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power);

/** Title, unit for a reader, columns with their names, and how a value is written. */
const CHARTS = [
  { title: "Messages a second", lines: [[1, ""]], write: rate },
  { title: "Bytes a second", lines: [[2, "in"], [3, "out"]], write: bytes, steps: POWERS },
  { title: "Connections and peers", lines: [[4, ""]], write: count },
  { title: "Message time", lines: [[7, "p50"], [8, "p99"]], write: time },
  { title: "Connects a second", lines: [[5, "let in"], [6, "refused"]], write: rate },
  { title: "Failed messages a second", lines: [[9, ""]], write: rate },
];

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

class Chart {
  constructor(place, { title, lines, write, steps }) {
    Object.assign(this, { lines, write, title, steps });
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const name = document.createElement("span");
    name.textContent = title;
    this.now = document.createElement("output");
    this.now.setAttribute("aria-live", "off");
    caption.append(name, this.now);
    this.plot = document.createElement("div");
    this.plot.className = "plot";
    this.plot.setAttribute("role", "img");
    figure.append(caption, this.plot);
    place.append(figure);
  }

  draw(columns) {
    this.data = [columns[0], ...this.lines.map(([column]) => columns[column])];
    const said = this.lines.map(([column, name]) => [name, this.write(columns[column].at(-1) ?? null)]);
    this.now.replaceChildren(
      ...said.flatMap(([name, value], at) => {
        const span = document.createElement("span");
        span.textContent = name ? `${name} ${value}` : value;
        if (said.length > 1) span.className = at ? "two" : "one";
        return at ? [" · ", span] : [span];
      }),
    );
    this.plot.setAttribute("aria-label", `${this.title}: now ${said.map((part) => part.join(" ").trim()).join(", ")}`);
    if (this.chart) this.chart.setData(this.data);
    else this.make();
  }

  make() {
    this.chart?.destroy();
    const size = () => ({ width: this.plot.clientWidth, height: this.plot.clientHeight });
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const line = ([, name], at) => ({
      label: name || this.title,
      stroke: colour(at ? "--two" : "--one"),
      width: 1.5,
      dash: at ? [6, 3] : undefined,
      fill: this.lines.length === 1 ? `${colour("--one")}22` : undefined,
      points: { show: false },
      spanGaps: false,
    });
    this.chart = new uPlot(
      {
        ...size(),
        series: [{}, ...this.lines.map(line)],
        legend: { show: false },
        cursor: { show: false },
        scales: {
          x: { time: true, range: (_, low, high) => [Math.min(low, high - KEPT / 2), high] },
          y: { range: (_, low, high) => [0, Math.max(high ?? 0, Number.MIN_VALUE) * 1.15 || 1] },
        },
        axes: [
          { ...axis, space: 70, size: 24, values: (_, all) => all.map((at) => clock.format(at * 1000)) },
          { ...axis, space: 32, size: 64, incrs: this.steps, values: (_, all) => all.map((value) => this.write(value)) },
        ],
      },
      this.data,
      this.plot,
    );
    this.size = size;
  }

  fit() {
    if (this.chart && this.plot.clientWidth) this.chart.setSize(this.size());
  }
}

/** All of them. They follow the size of the window and the colours of the system. */
export function charts(place) {
  const all = CHARTS.map((chart) => new Chart(place, chart));
  new ResizeObserver(() => all.forEach((chart) => chart.fit())).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => all.forEach((chart) => chart.data && chart.make()));
  return (columns) => all.forEach((chart) => chart.draw(columns));
}
