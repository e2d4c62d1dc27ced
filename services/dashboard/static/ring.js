// The ring as a ring: an arc for each worker, as long as its share of the slots, and where a token lies that was searched.

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

// On its owner's arc, as far along as its slot is among all; slots of all workers lie everywhere.
function mark({ token, slot, owner, worker }, from, length, all) {
  const angle = ((from + (slot / all) * length) / ROUND) * 2 * Math.PI;
  const [x, y] = [Math.sin(angle), -Math.cos(angle)];
  const at = (radius) => [110 + radius * x, 110 + radius * y].map((part) => part.toFixed(1));
  const [[x1, y1], [x2, y2]] = [at(RADIUS - 22), at(RADIUS + 22)];
  const made = shape("g", { class: "mark", "data-slot": slot, "data-owner": owner });
  made.append(
    shape("line", { x1, y1, x2, y2 }),
    shape("circle", { cx: x2, cy: y2, r: 5 }),
    shape("title", {}, `${token}: slot ${slot} of ${owner}${worker && worker !== owner ? `, its client is with ${worker}` : ""}`),
  );
  return made;
}

// `searched`: the answer about a token, or null.
export function drawRing(place, stat, searched) {
  const owners = Object.entries(stat.workers).filter(([, worker]) => worker.slots).sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
  const all = stat.totals.slots;
  const said = owners.map(([name, worker]) => `${name} ${share(worker.slots / all)}`);
  const ring = shape("svg", { class: "ring", viewBox: "0 0 220 220", role: "img", "aria-label": said.join(", ") || "nobody owns anything" });
  const marks = [];
  let from = 0;
  for (const [index, [name, worker]] of owners.entries()) {
    const length = (worker.slots / all) * ROUND;
    const gap = owners.length > 1 ? Math.min(2, length / 4) : 0;
    const arc = shape("circle", { cx: 110, cy: 110, r: RADIUS, fill: "none", stroke: color(index), "stroke-width": 32, "stroke-dasharray": `${length - gap} ${ROUND}`, "stroke-dashoffset": -from, transform: "rotate(-90 110 110)" });
    arc.append(shape("title", {}, said[index]));
    ring.append(arc);
    if (searched?.owner === name) marks.push(mark(searched, from, length, all));
    from += length;
  }
  ring.append(...marks);
  const below = searched?.owner ? `slot ${number(searched.slot)}` : `${number(all)} slots`;
  ring.append(shape("text", { x: 110, y: 106 }, `epoch ${stat.router.epoch[1]}`), shape("text", { x: 110, y: 124 }, below));
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
