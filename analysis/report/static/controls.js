"use strict";
// Helpers of the other scripts. Texts of sweeps enter the page as text, never as HTML.
const report = {
  data: (id) => JSON.parse(document.getElementById(id).textContent),

  element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value === true) made.setAttribute(name, "");
      else if (value !== false) made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  },

  // A labelled list of choices; `fill` replaces them and keeps the chosen one if it is still there.
  choice(label, name, onchange) {
    const select = report.element("select", { name, onchange });
    const fill = (options) => {
      const before = select.value;
      select.replaceChildren(
        ...options.map(([value, text]) => report.element("option", { value }, text)),
      );
      if (options.some(([value]) => value === before)) select.value = before;
    };
    return { select, fill, node: report.element("label", {}, label, select) };
  },

  tick(label, name, checked, onchange) {
    const box = report.element("input", { type: "checkbox", name, checked, onchange });
    return { box, node: report.element("label", { class: "tick" }, box, label) };
  },

  // Plotly reads a few tags and entities in its texts; these show as they are.
  plain: (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"),

  // Dark to light, told apart in grey too; the same ends as the figures of this project.
  color(i, count) {
    const stops = [
      [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142],
      [33, 144, 141], [39, 173, 129], [92, 200, 99], [140, 214, 69],
    ];
    const at = count > 1 ? (i / (count - 1)) * (stops.length - 1) : 0;
    const low = Math.floor(at), high = Math.min(low + 1, stops.length - 1);
    const mixed = stops[low].map((v, c) => Math.round(v + (at - low) * (stops[high][c] - v)));
    return `rgb(${mixed.join(",")})`;
  },

  dashes: ["solid", "dash", "dashdot", "dot"],

  axis: { gridcolor: "#e5e5e5", linecolor: "#555", ticks: "outside", showline: true, zeroline: false },

  layout: (more) => ({
    font: { family: "system-ui, sans-serif", size: 13, color: "#222" },
    paper_bgcolor: "#fff",
    plot_bgcolor: "#fff",
    showlegend: false,
    ...more,
  }),

  config: { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["toImage"] },
};
