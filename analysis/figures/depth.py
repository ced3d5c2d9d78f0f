"""Deeper networks wait longer, and beyond some depth for longer than they were trained

Bias-free ReLU networks on digits, width 128, plain SGD, Xavier initialisation times 0.8. Left:
training loss by depth (linear layers), mean over 50 steps, median over seeds with its 95 %
bootstrap interval. Right: length of phase one (ours: steps until the smoothed loss stays below
0.99 of the prior loss for 200 steps). Runs that had not ended when training stopped, at T, are
open triangles: they are censored, not averaged. Diamonds are Kaplan-Meier medians with 95 %
intervals; where half of the runs never ended there is no median and the interval is open above.
The dotted line is a hypothesis, not a fit: the length grows per layer by the factor sqrt(2)/s by
which initialisation at scale s shrinks the signal. Lengths of 0 are drawn at 1.
"""

from collections.abc import Mapping

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
    figure = style.new_figure(height=4.6)
    left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])
    _losses(left, sweep, runs)
    _lengths(right, runs)
    return figure


def _losses(axes: Axes, sweep: Results, runs: pd.DataFrame) -> None:
    steps = sweep.steps(columns=["loss"])
    groups = list(runs.groupby("depth"))
    for i, ((depth, group), color) in enumerate(
        zip(groups, style.ordered_colors(len(groups)), strict=True)
    ):
        steps_T, loss_RxT = matrix(steps, "loss", group["run_id"].tolist())
        shown = thin(steps_T, log=True)
        loss_RxM = smooth(loss_RxT, steps_T)[:, shown]
        line = {"color": color, "linestyle": style.LINES[i % len(style.LINES)], "linewidth": 1.8}
        style.band(axes, steps_T[shown] + 1, median_interval(loss_RxM), label=f"{depth}", **line)
    prior = float(runs["prior_loss"].iloc[0])
    axes.axhline(prior, color=style.INK, linestyle=":", linewidth=1)
    axes.annotate(
        "best constant predictor",
        (1, prior),
        xytext=(3, 4),
        textcoords="offset points",
        va="bottom",
    )
    axes.set(xscale="log", xlabel="step + 1 (updates)", ylabel="training loss (nats)")
    axes.set(xlim=(1, steps["step"].max() + 1), ylim=(0, 1.18 * prior))
    axes.legend(title="depth (layers)", loc="lower left")


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
    shown = marks.key(diverged=bool(runs["diverged"].any()))
    lines = [line for line in axes.get_lines() if str(line.get_label()).startswith("hypothesis")]
    axes.legend(handles=[*shown, *lines], loc="lower right")


def _hypothesis(axes: Axes, depths: list[int], summaries: list[Survival], scale: float) -> None:
    """The slope of section 4's hypothesis through the second shallowest median."""
    known = [(d, s.median) for d, s in zip(depths, summaries, strict=True) if 0 < s.median < np.inf]
    if not known:
        return
    start, median = known[min(1, len(known) - 1)]
    factor = np.sqrt(2) / scale
    x = np.array([depths[0], depths[-1]], dtype=float)
    axes.plot(
        x,
        median * factor ** (x - start),
        linestyle=":",
        color=style.INK,
        linewidth=1.2,
        zorder=1,
        label=f"hypothesis: × {factor:.2f} per layer",
    )
