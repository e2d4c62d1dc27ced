// Elements and numbers. Text goes in by textContent alone.

export const find = (id) => document.getElementById(id);

export function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Rows of a table's body: one array of cells for each; a cell is a text or an element.
export function rows(body, labels, cells) {
  const focused = document.activeElement?.dataset?.worker;
  body.replaceChildren(
    ...cells.map((row) => {
      const line = document.createElement("tr");
      line.append(
        ...row.map((cell, index) => {
          const made = element("td", "", { "data-label": labels[index].replace("#", "") });
          if (labels[index].startsWith("#")) made.className = "number";
          made.append(cell);
          return made;
        }),
      );
      return line;
    }),
  );
  if (focused) body.querySelector(`[data-worker="${CSS.escape(focused)}"]`)?.focus();
}

export const number = (value) => (value == null ? "–" : value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : value.toFixed(1));
export const share = (part) => `${(part * 100).toFixed(1)} %`;
export const duration = (seconds) =>
  seconds == null ? "–" : seconds >= 1 ? `${seconds.toFixed(1)} s` : seconds >= 0.01 ? `${Math.round(seconds * 1000)} ms` : `${(seconds * 1000).toFixed(1)} ms`;
export const color = (index) => getComputedStyle(document.documentElement).getPropertyValue(`--s${index % 8}`).trim();
