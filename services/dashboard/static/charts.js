// Live charts of the last five minutes, by uPlot.

import { color, number } from "/dashboard/elements.js";

const SECONDS = 300;
const HEIGHT = 180;
// Steps of an axis that counts: no half ones.
const WHOLE = [1, 2, 5].flatMap((digit) => [...Array(10).keys()].map((power) => digit * 10 ** power)).sort((a, b) => a - b);

export class Chart {
  // `series`: [label, number of its colour]; `shown`: a value as text.
  constructor(place, series, shown = number) {
    Object.assign(this, { place, series, shown, plot: null });
    this.data = [[], ...series.map(() => [])];
    new ResizeObserver(() => this.plot?.setSize({ width: place.clientWidth, height: HEIGHT })).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#make());
    this.#make();
  }

  add(time, values) {
    this.data[0].push(time);
    values.forEach((value, index) => this.data[index + 1].push(value ?? null));
    while (this.data[0].length > 2 && this.data[0][0] < time - SECONDS) this.data.forEach((column) => column.shift());
    this.plot.setData(this.data);
  }

  // Where the pointer is; the latest where there is none, as on a phone.
  #legend = (_, value, column, index) => this.shown(index == null ? this.data[column].at(-1) : value);

  #make() {
    this.plot?.destroy();
    const look = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const axis = { stroke: look("--muted"), grid: { stroke: look("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const options = {
      width: this.place.clientWidth || 300,
      height: HEIGHT,
      cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, least, most) => [0, most > 0 ? most * 1.15 : 1] } },
      axes: [
        { ...axis, space: 70, size: 28, values: (_, times) => times.map((time) => new Date(time * 1000).toLocaleTimeString("en-GB")) },
        { ...axis, size: 56, values: (_, values) => values.map(this.shown), ...(this.shown === number ? { incrs: WHOLE } : {}) },
      ],
      series: [
        { label: "Time", value: (_, time) => (time == null ? "–" : new Date(time * 1000).toLocaleTimeString("en-GB")) },
        ...this.series.map(([label, index]) => ({ label, stroke: color(index), width: 2, points: { show: false }, value: this.#legend })),
      ],
    };
    this.plot = new uPlot(options, this.data, this.place);
  }
}
