"""The deeper the network, the longer the loss waits before it falls

Plain bias-free ReLU networks that differ in depth alone. Left: training loss by depth (linear
layers), mean over 50 steps, median over seeds with its 95 % bootstrap interval; each line is named
where it is half way down. Right: length of phase one (ours: steps until the smoothed loss stays
below 0.99 of the prior loss for 200 steps). Runs that had not ended when training stopped, at T,
are open triangles: they are censored, not averaged. Diamonds are Kaplan-Meier medians with 95 %
intervals; where more than half of the runs had not ended there is no median, and an interval that
reaches T is open above.
The dotted line is a hypothesis (ours), not a fit: the length grows by log10(sqrt(2)/s) decades per
layer, the factor by which initialisation at scale s shrinks the signal; it is drawn through the
second shallowest median. Lengths of 0 are drawn at 1.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import marks, style
from analysis.curves import matrix, smooth, thin
from analysis.phases import with_phases
from analysis.stats import median_interval
from analysis.survival import Survival, kaplan_meier
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("depth",)


def draw(results: Mapping[str, Results]) -> Figure:
    """Loss curves by depth, and phase length against depth with censored runs."""
    sweep = results["depth"]
    runs = with_phases(sweep)
    figure = style.new_figure(height=4.9)
    left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])
    _losses(left, sweep, runs)
    _lengths(right, runs)
    lines = [line for line in right.get_lines() if str(line.get_label()).startswith("hypothesis")]
    key = [*marks.key(diverged=bool(runs["diverged"].any())), *lines]
    figure.legend(handles=key, loc="outside lower right", ncols=4)
    return figure


def _losses(axes: Axes, sweep: Results, runs: pd.DataFrame) -> None:
    steps = sweep.steps(columns=["loss"])
    prior = float(runs["prior_loss"].iloc[0])
    axes.axhline(prior, color="0.75", linewidth=5, zorder=0)  # wide, so that lines on it show
    groups = list(runs.groupby("depth"))
    waiting = []
    for i, ((depth, group), color) in enumerate(
        zip(groups, style.ordered_colors(len(groups)), strict=True)
    ):
        steps_T, loss_RxT = matrix(steps, "loss", group["run_id"].tolist())
        shown = thin(steps_T, log=True)
        summary = median_interval(smooth(loss_RxT, steps_T)[:, shown])
        line = {"color": color, "linestyle": style.LINES[i % len(style.LINES)], "linewidth": 1.8}
        style.band(axes, steps_T[shown] + 1, summary, label=f"{depth}", **line)
        below = summary[0] < prior / 2
        if below.any():
            at = int(below.argmax())
            _name(axes, f"{depth}", steps_T[shown][at] + 1, summary[0][at], color)
        else:
            waiting.append(int(depth))
    axes.annotate("best constant predictor", (1, prior), (3, 5), textcoords="offset points")
    if waiting:
        names = ", ".join(map(str, waiting))
        text = f"{names} layers: median loss never below half of its start"
        axes.annotate(text, (1, 1.01), xycoords="axes fraction", ha="right", va="bottom")
    axes.set(xscale="log", xlabel="step + 1 (updates)", ylabel="training loss (nats)")
    axes.set(xlim=(1, steps["step"].max() + 1), ylim=(0, 1.18 * prior))
    axes.legend(title="depth (layers)", loc="lower left")


def _name(axes: Axes, text: str, x: float, y: float, color: Any) -> None:
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": color}
    axes.text(x, y, text, ha="center", va="center", fontsize=9.5, bbox=box, zorder=4)


def _lengths(axes: Axes, runs: pd.DataFrame) -> None:
    groups = {int(depth): group for depth, group in runs.groupby("depth")}
    summaries = [kaplan_meier(group) for group in groups.values()]
    for depth, group in groups.items():
        marks.run_marks(axes, depth, group)
    marks.median_marks(axes, list(groups), summaries)
    _hypothesis(axes, list(groups), summaries, float(runs["init_scale"].iloc[0]))
    horizon = max(s.horizon for s in summaries)
    axes.axhline(horizon, color=style.INK, linewidth=0.8, zorder=0)
    axes.set(yscale="log", xlabel="depth (linear layers)", ylabel="length of phase one (updates)")
    axes.set(xticks=list(groups), ylim=(None, 1.5 * horizon))


def _hypothesis(axes: Axes, depths: list[int], summaries: list[Survival], scale: float) -> None:
    """The slope of section 4's hypothesis through the second shallowest median."""
    known = [(d, s.median) for d, s in zip(depths, summaries, strict=True) if 0 < s.median < np.inf]
    if not known:
        return
    start, median = known[min(1, len(known) - 1)]
    slope = np.log10(np.sqrt(2) / scale)
    x = np.array([depths[0], depths[-1]], dtype=float)
    label = f"hypothesis: {slope:.2f} decades per layer"
    line: dict[str, Any] = {"linestyle": ":", "color": style.INK, "linewidth": 1.2, "zorder": 1}
    axes.plot(x, median * 10 ** (slope * (x - start)), label=label, **line)
    if len(known) > 1:
        measured = np.polyfit([d for d, _ in known], np.log10([m for _, m in known]), 1)[0]
        axes.set_title(f"medians: {measured:.2f} decades per layer")
