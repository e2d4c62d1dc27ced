// The ring as a ring: an arc for each worker, as long as its share of the slots.

import { color, element, number, share } from "/dashboard/elements.js";

const SVG = "http://www.w3.org/2000/svg";
const RADIUS = 80;
const ROUND = 2 * Math.PI * RADIUS;

function shape(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

export function drawRing(place, stat) {
  const owners = Object.entries(stat.workers).filter(([, worker]) => worker.slots).sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
  const all = stat.totals.slots;
  const said = owners.map(([name, worker]) => `${name} ${share(worker.slots / all)}`);
  const ring = shape("svg", { class: "ring", viewBox: "0 0 220 220", role: "img", "aria-label": said.join(", ") || "nobody owns anything" });
  let from = 0;
  for (const [index, [name, worker]] of owners.entries()) {
    const length = (worker.slots / all) * ROUND;
    const gap = owners.length > 1 ? Math.min(2, length / 4) : 0;
    const arc = shape("circle", { cx: 110, cy: 110, r: RADIUS, fill: "none", stroke: color(index), "stroke-width": 32, "stroke-dasharray": `${length - gap} ${ROUND}`, "stroke-dashoffset": -from, transform: "rotate(-90 110 110)" });
    arc.append(shape("title", {}, said[index]));
    ring.append(arc);
    from += length;
  }
  ring.append(shape("text", { x: 110, y: 106 }, `epoch ${stat.router.epoch[1]}`), shape("text", { x: 110, y: 124 }, `${number(all)} slots`));
  const legend = element("ul", "", { class: "legend" });
  legend.append(
    ...said.map((text, index) => {
      const line = element("li");
      const dot = element("span", "", { class: "dot" });
      dot.style.background = color(index);
      line.append(dot, text);
      return line;
    }),
  );
  place.replaceChildren(ring, legend);
}
