"use strict";
// Curves of any sweep, metric, layer, condition and run.
(() => {
  const app = document.getElementById("curves-app");
  if (!app) return;
  const sweeps = report.data("curves-data");
  const plot = report.element("div", { class: "plot", id: "curves-plot" });
  const about = report.element("p", { class: "about" });
  const warning = report.element("p", { class: "about", role: "status" });
  const conditions = report.element("fieldset", { class: "conditions" });
  const sweep = report.choice("sweep", "sweep", changeSweep);
  const metric = report.choice("metric", "metric", () => { fillLayers(); draw(); });
  const layer = report.choice("layer", "layer", draw);
  const runs = report.choice("runs", "runs", draw);
  const logX = report.tick("log steps", "log-x", true, draw);
  const logY = report.tick("log values", "log-y", false, draw);
  const theSweep = () => sweeps[sweep.select.value];
  const theMetric = () => theSweep().metrics[metric.select.value];

  function changeSweep() {
    const one = theSweep();
    metric.fill(one.metrics.map((m, i) => [String(i), m.name]));
    const seeds = [...new Set(one.singles.flat())];
    runs.fill([
      ["median", "median and quartiles"],
      ...(seeds.length > 1 ? [["single", "single runs"]] : []),
      ...seeds.map((name) => [name, name]),
    ]);
    fillConditions(one);
    fillLayers();
    draw();
  }

  function fillLayers() {
    if (!theMetric().layered) return layer.fill([["", "whole network"]]);
    const all = [...new Set(theSweep().conditions.flatMap((c) => c.layers))].sort((a, b) => a - b);
    layer.fill([
      ["middle", "middle"],
      ["every", "every layer of one condition"],
      ...all.map((l) => [String(l), String(l)]),
    ]);
  }

  function swatch(i, count) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    const line = document.createElementNS(space, "line");
    const dash = { solid: "", dash: "7 4", dashdot: "7 3 2 3", dot: "2 3" }[report.dashes[i % 4]];
    svg.setAttribute("viewBox", "0 0 28 8");
    svg.setAttribute("aria-hidden", "true");
    const look = { x1: 0, x2: 28, y1: 4, y2: 4, stroke: report.color(i, count), "stroke-width": 3 };
    for (const [name, value] of Object.entries({ ...look, "stroke-dasharray": dash })) {
      line.setAttribute(name, value);
    }
    svg.append(line);
    return svg;
  }

  function fillConditions(one) {
    const count = one.conditions.length;
    const few = new Set(
      Array.from({ length: 8 }, (_, i) => Math.round((i * (count - 1)) / 7)));
    const boxes = one.conditions.map((condition, i) => {
      const tick = report.tick("", `condition-${i}`, count <= 10 || few.has(i), draw);
      tick.node.append(swatch(i, count), `${condition.name} (${condition.runs} runs)`);
      return tick;
    });
    const setAll = (checked) => () => {
      for (const { box } of boxes) box.checked = checked;
      draw();
    };
    conditions.replaceChildren(
      report.element("legend", {}, "conditions"),
      report.element("button", { type: "button", onclick: setAll(true) }, "all"),
      report.element("button", { type: "button", onclick: setAll(false) }, "none"),
      ...boxes.map(({ node }) => node),
    );
  }

  function checked() {
    const boxes = [...conditions.querySelectorAll("input")];
    return boxes.flatMap((box, i) => (box.checked ? [i] : []));
  }

  // Where layer `l` of condition `c` stands in its arrays; -1 where it has none.
  function layerIndex(c, l) {
    if (!theMetric().layered) return 0;
    const own = theSweep().conditions[c];
    return own.layers.indexOf(l === "middle" ? own.middle : Number(l));
  }

  function curvesOf(c, l, name, look) {
    const m = theMetric(), at = layerIndex(c, l), which = runs.select.value;
    if (at < 0) return [];
    if (which === "median") {
      const line = trace(m.median[c][at], name, look);
      return m.low.length && m.low[c].length ? [band(m.low[c][at], m.high[c][at], look), line] : [line];
    }
    return theSweep().singles[c].flatMap((seed, r) =>
      which === "single" || which === seed
        ? [trace(m.runs[c][r][at], `${name}, ${seed}`, { ...look, width: 1.2 })] : []);
  }

  const xs = () => theMetric().x.map((step) => (logX.box.checked ? step + 1 : step));

  function trace(y, name, look) {
    return {
      x: xs(), y, name: report.plain(name), customdata: theMetric().x, mode: "lines",
      line: { color: look.color, dash: look.dash, width: look.width ?? 2.2 },
      hovertemplate: "step %{customdata}: %{y:.4g}<extra>%{fullData.name}</extra>",
    };
  }

  function band(low, high, look) {
    const x = xs();
    const kept = x.map((_, i) => i).filter((i) => low[i] !== null && high[i] !== null);
    const back = [...kept].reverse();
    return {
      x: [...kept, ...back].map((i) => x[i]),
      y: [...kept.map((i) => high[i]), ...back.map((i) => low[i])],
      fill: "toself", fillcolor: look.color.replace("rgb", "rgba").replace(")", ",0.16)"),
      line: { width: 0 }, mode: "lines", hoverinfo: "skip",
    };
  }

  function traces() {
    const one = theSweep(), shown = checked(), l = layer.select.value;
    if (l !== "every") {
      return shown.flatMap((c) => curvesOf(c, l, one.conditions[c].name, {
        color: report.color(c, one.conditions.length), dash: report.dashes[c % 4],
      }));
    }
    if (!shown.length) return [];
    const own = one.conditions[shown[0]].layers;
    return own.flatMap((n, i) => curvesOf(shown[0], n, `layer ${n}`, {
      color: report.color(i, own.length), dash: report.dashes[i % 4],
    }));
  }

  function words(drawn) {
    const one = theSweep(), m = theMetric(), said = [];
    const positive = drawn.every((t) => t.hoverinfo === "skip" || t.y.every((v) => v === null || v > 0));
    if (logY.box.checked && !positive) said.push("Values of 0 and below have no place on the log axis.");
    if (!drawn.length) said.push("Nothing is chosen, or the chosen conditions have no such layer or run.");
    if (layer.select.value === "every" && drawn.length) {
      said.push(`Every layer of: ${one.conditions[checked()[0]].name}. Dark: next to the input.`);
    }
    warning.textContent = said.join(" ");
    const meaning = m.meaning ? `${m.name}: ${m.meaning}. ` : "";
    const left = one.left_out.length ? `Of this sweep the page holds ${one.left_out.join("; ")}.` : "";
    about.textContent = [one.description, meaning + left].filter(Boolean).join(" ");
  }

  function draw() {
    const m = theMetric(), drawn = traces();
    const unit = m.unit && m.unit !== "1" ? ` (${m.unit})` : "";
    const step = logX.box.checked ? "step + 1 (updates)" : "step (updates)";
    words(drawn);
    Plotly.react(plot, drawn, report.layout({
      height: 420, hovermode: "closest", margin: { l: 64, r: 12, t: 28, b: 48 },
      xaxis: { ...report.axis, type: logX.box.checked ? "log" : "linear", title: { text: step }, dtick: logX.box.checked ? 1 : undefined },
      yaxis: {
        ...report.axis, type: logY.box.checked ? "log" : "linear", exponentformat: "power",
        title: { text: report.plain(m.name + unit) },
      },
    }), report.config);
  }

  sweep.fill(sweeps.map((one, i) => [String(i), one.name]));
  const choices = [sweep, metric, layer, runs, logX, logY].map(({ node }) => node);
  app.replaceChildren(report.element("div", { class: "controls" }, ...choices), plot, warning, conditions, about);
  changeSweep();
})();
