"use strict";
// Cosines of each pair of classes, with a scrubber over the recorded steps.
(() => {
  const app = document.getElementById("film-app");
  if (!app) return;
  const films = report.data("film-data");
  const map = report.element("div", { class: "plot", id: "film-plot" });
  const means = report.element("div", { class: "plot", id: "film-means" });
  const about = report.element("p", { class: "about" });
  const sweep = report.choice("sweep", "film-sweep", changeSweep);
  const reel = report.choice("runs", "film-reel", changeReel);
  const layer = report.choice("layer", "film-layer", draw);
  const scrubber = report.element("input", {
    type: "range", min: 0, value: 0, name: "film-step", oninput: draw, "aria-label": "recorded step",
  });
  const step = report.element("output", { class: "step" });
  const play = report.element("button", { type: "button", onclick: toggle }, "play");
  let timer = null;
  const theFilm = () => films[sweep.select.value];
  const theReel = () => theFilm().reels[reel.select.value];

  function changeSweep() {
    const one = theFilm();
    reel.fill(one.reels.map((r, i) => [String(i), `${r.condition}, ${r.label}`]));
    scrubber.max = one.steps.length - 1;
    scrubber.value = Math.min(scrubber.value, scrubber.max);
    const left = one.left_out.length ? ` Of this sweep the page holds ${one.left_out.join("; ")}.` : "";
    about.textContent =
      "Each square is the mean cosine between the features of two classes, on the diagonal of " +
      `different samples of one class.${left}`;
    changeReel();
  }

  function changeReel() {
    const own = theReel();
    const all = Array.from({ length: own.depth }, (_, i) => String(i + 1));
    const before = layer.select.value;
    layer.fill(all.map((l) => [l, Number(l) === own.middle ? `${l} (middle)` : l]));
    if (!all.includes(before)) layer.select.value = String(own.middle);
    draw();
  }

  function toggle() {
    if (timer) clearInterval(timer);
    timer = timer ? null : setInterval(() => {
      scrubber.value = (Number(scrubber.value) + 1) % theFilm().steps.length;
      draw();
    }, 150);
    play.textContent = timer ? "pause" : "play";
  }

  // Pairs a <= b in rows to a symmetric matrix.
  function matrix(pairs, classes) {
    const full = Array.from({ length: classes }, () => Array(classes).fill(null));
    let i = 0;
    for (let a = 0; a < classes; a++) {
      for (let b = a; b < classes; b++) full[a][b] = full[b][a] = pairs[i++];
    }
    return full;
  }

  const mean = (values) => {
    const known = values.filter((v) => v !== null);
    return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
  };

  function draw() {
    const one = theFilm(), own = theReel(), at = Number(scrubber.value);
    const frames = own.pairs.map((frame) => frame[Number(layer.select.value) - 1]);
    const known = frames.flat().filter((v) => v !== null);
    const [low, high] = known.reduce(([l, h], v) => [Math.min(l, v), Math.max(h, v)], [1, -1]);
    const full = matrix(frames[at], one.classes);
    step.textContent = `step ${one.steps[at]}`;
    scrubber.setAttribute("aria-valuetext", step.textContent);
    Plotly.react(map, [{
      type: "heatmap", z: full, zmin: low, zmax: high, colorscale: "Viridis",
      colorbar: { title: { text: "cosine", side: "right" }, thickness: 14 },
      hovertemplate: "classes %{y} and %{x}: %{z:.4f}<extra></extra>",
    }], report.layout({
      height: 400, margin: { l: 48, r: 8, t: 28, b: 44 },
      xaxis: { title: { text: "class" }, dtick: 1, constrain: "domain", showgrid: false, zeroline: false },
      yaxis: {
        title: { text: "class" }, dtick: 1, autorange: "reversed", scaleanchor: "x",
        constrain: "domain", showgrid: false, zeroline: false,
      },
    }), report.config);
    drawMeans(one, frames, at);
  }

  function drawMeans(one, frames, at) {
    const full = frames.map((frame) => matrix(frame, one.classes));
    const within = full.map((m) => mean(m.map((row, a) => row[a])));
    const between = full.map((m) => mean(m.flatMap((row, a) => row.filter((_, b) => b !== a))));
    const line = (y, name, dash, color) => ({
      x: one.steps, y, name, mode: "lines", line: { dash, color, width: 2.2 },
      hovertemplate: `step %{x}: %{y:.4f}<extra>${name}</extra>`,
    });
    Plotly.react(means, [
      line(within, "within a class", "solid", report.color(0, 3)),
      line(between, "between classes", "dash", report.color(1, 3)),
    ], report.layout({
      height: 400, showlegend: true, legend: { orientation: "h", y: 1.12 },
      margin: { l: 56, r: 8, t: 28, b: 44 },
      xaxis: { ...report.axis, title: { text: "step (updates)" } },
      yaxis: { ...report.axis, title: { text: "mean cosine of the layer" } },
      shapes: [{
        type: "line", x0: one.steps[at], x1: one.steps[at], yref: "paper", y0: 0, y1: 1,
        line: { color: "#b5460f", width: 2 },
      }],
    }), report.config);
  }

  sweep.fill(films.map((one, i) => [String(i), one.name]));
  app.replaceChildren(
    report.element("div", { class: "controls" }, sweep.node, reel.node, layer.node),
    report.element("div", { class: "controls scrub" }, play, scrubber, step),
    report.element("div", { class: "pair" }, map, means),
    about,
  );
  changeSweep();
})();
