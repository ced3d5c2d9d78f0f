"""How many runs are still waiting: survival curves of phase one, by depth and by operation

A run survives as long as phase one lasts (ours: until the smoothed loss stays below 0.99 of the
prior loss for 200 steps). Lines are Kaplan-Meier estimates of the share of runs still in phase one,
with 95 % intervals (log-log Greenwood) shaded; an upright tick at the end of a line stands for runs
that had not ended at T (censored). A run that diverged counts as never ending. Beside each line:
runs at risk just before the steps above, and p of the log-rank test stratified by seed, corrected
after Holm within each table; by depth against the next shallower network, by operation against the
plain one. With one pair of runs per seed, p is smallest as soon as all seeds move the same way: it
tells the direction, the distance between the curves tells the size. Lengths of 0 are drawn at 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.conditions import operations
from analysis.curves import Floats
from analysis.phases import with_phases
from analysis.stats import holm
from analysis.survival import at_risk, stratified_logrank, survival_curve
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("depth", "operations")
Groups = Mapping[str, pd.DataFrame]


def draw(results: Mapping[str, Results]) -> Figure:
    """Curves on the left, their key with numbers at risk and tests on the right."""
    by_depth = with_phases(results["depth"]).groupby("depth")
    depths = {f"{depth} layers": group for depth, group in by_depth}
    operated = operations(with_phases(results["operations"]))
    rows = [len(depths) + 3, len(operated) + 3]
    figure = style.new_figure(height=1.6 + 0.3 * sum(rows))
    grid = figure.subplots(2, 2, width_ratios=[1, 1.3], height_ratios=rows)
    names = [list(depths), list(operated)]
    compared = [_pairs(names[0], previous=True), _pairs(names[1], previous=False)]
    for (left, right), groups, pairs, title in zip(
        grid, (depths, operated), compared, ("by depth", "by operation"), strict=True
    ):
        horizon = max(float(group["horizon"].max()) for group in groups.values())
        _curves(left, groups, horizon)
        _table(right, groups, pairs, horizon)
        left.set_title(title)
    grid[1, 0].set_xlabel("step (updates)")
    return figure


def _pairs(names: Sequence[str], *, previous: bool) -> dict[str, str]:
    """The condition that each one is compared with: that before it, or the first."""
    return {name: names[i] if previous else names[0] for i, name in enumerate(names[1:])}


def _look(i: int, count: int) -> dict[str, Any]:
    color = style.ordered_colors(count)[i]
    return {"color": color, "linestyle": style.LINES[i % len(style.LINES)], "linewidth": 1.8}


def _curves(axes: Axes, groups: Groups, horizon: float) -> None:
    for i, group in enumerate(groups.values()):
        curve = survival_curve(group)
        x = np.maximum(np.append(curve.step, horizon), 1.0)
        share, low, high = (np.append(y, y[-1]) for y in (curve.share, curve.low, curve.high))
        look = _look(i, len(groups))
        axes.step(x, share, where="post", clip_on=False, **look)
        axes.fill_between(x, low, high, step="post", color=look["color"], alpha=0.13, linewidth=0)
        ends: dict[str, Any] = {
            "color": look["color"],
            "marker": "|",
            "markersize": 12,
            "markeredgewidth": 2,
        }
        if len(curve.censored):
            at = np.full(len(curve.censored), share[-1])
            axes.plot(curve.censored, at, linestyle="none", clip_on=False, **ends)
    axes.set(xscale="log", xlim=(1, horizon), ylim=(0, 1.03))
    axes.set_ylabel("share of runs in phase one")


def _table(axes: Axes, groups: Groups, pairs: Mapping[str, str], horizon: float) -> None:
    """Key to the curves, runs at risk and p, one row a condition."""
    steps = _times(horizon)
    columns = np.linspace(0.46, 0.76, len(steps))
    axes.set(xlim=(0, 1), ylim=(len(groups) - 0.4, -2.0))
    axes.axis("off")
    axes.text(float(columns.mean()), -1.7, "at risk at step", ha="center", va="center")
    for x, step in zip(columns, steps, strict=True):
        axes.text(x, -0.9, f"{step:.0f}", ha="center", va="center")
    axes.text(0.99, -1.3, "log-rank\np", ha="right", va="center")
    p_values = holm([stratified_logrank(groups[a], groups[b]).p for a, b in pairs.items()])
    tests = {name: _p(p) for name, p in zip(pairs, p_values, strict=True)}
    for row, (name, group) in enumerate(groups.items()):
        axes.plot([0.0, 0.09], [row, row], clip_on=False, **_look(row, len(groups)))
        axes.text(0.11, row, name.replace(", ", ",\n"), va="center", fontsize=9)
        for x, count in zip(columns, at_risk(group, steps), strict=True):
            axes.text(x, row, f"{count}", ha="center", va="center")
        axes.text(0.99, row, tests.get(name, "reference"), ha="right", va="center")


def _p(p: float) -> str:
    return "no test" if np.isnan(p) else f"{p:.2g}"


def _times(horizon: float) -> Floats:
    """Powers of ten below the horizon, and it."""
    powers = 10.0 ** np.arange(1, np.ceil(np.log10(horizon)))
    return np.array([*powers[-3:], horizon])
