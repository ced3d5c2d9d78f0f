"""Variability of random networks of equal size, by depth, and whether they then train

Networks with about the same number of parameters, deeper ones narrower, on a checkerboard. Points
are medians over seeds with 95 % bootstrap intervals; shares carry their exact 95 % intervals.
Solid: weights and biases of PyTorch's law, scaled so that each layer keeps the size of its features
(by √6 for ReLU, √3 for abs). Dashed, hollow: that law as it is, which shrinks them. Top left:
variability at initialisation, the mean absolute third difference of the outputs on a grid of the
inputs (ours). Top right: their coefficient of variation over training samples; below the line a
network has collapsed to a constant (ours). Bottom: share of the networks that reach 99 % training
accuracy within the budget T, and the updates they take (Kaplan-Meier medians with 95 % intervals);
a point at T means that more than half of the seeds do not. Curves that leave a panel below go on
there.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis import style
from analysis.curves import Floats
from analysis.looks import TRAINED, at_start, steps_to_trained
from analysis.phases import with_phases
from analysis.stats import median_interval
from analysis.survival import kaplan_meier
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("variability",)
LOOKS: dict[str, tuple[Any, str]] = {
    "relu": (style.INK, "o"),
    "abs": (style.ACCENT, "s"),
}
CONSTANT = 1e-2
DECADES = 4  # shown below the largest variability or spread
Summary = Callable[[pd.DataFrame], tuple[Floats, Floats, Floats]]


def draw(results: Mapping[str, Results]) -> Figure:
    """Variability, spread of the outputs, share trained and updates to it, against depth."""
    sweep = results["variability"]
    runs = at_start(sweep, with_phases(sweep), ["v3_raw", "output_cv"])
    runs["to_trained"] = steps_to_trained(sweep, runs)
    figure = style.new_figure(height=7.6)
    panels = figure.subplots(2, 2, sharex=True)
    (variability, spread), (share, updates) = panels
    horizon = float(runs["horizon"].max())
    _curves(variability, runs, _quantiles("v3_raw"))
    _curves(spread, runs, _quantiles("output_cv"))
    _curves(share, runs, _share)
    _curves(updates, runs, lambda group: _updates(group, horizon))
    _name(variability, spread, share, updates, horizon)
    depths = sorted(runs["depth"].unique())
    for axes in panels[1]:
        axes.set(xscale="log", xticks=depths, xticklabels=[f"{d}" for d in depths])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(f"depth (linear layers), at {_parameters(runs)} parameters")
    figure.legend(handles=_key(share), loc="outside lower center", ncols=4)
    return figure


def _curves(axes: Axes, runs: pd.DataFrame, summary: Summary) -> None:
    """One line per activation and initialisation; points side by side so that bars are told."""
    lines = list(runs.groupby(["activation", "init_scale"]))[::-1]
    for i, ((activation, scale), group) in enumerate(lines):
        color, marker = LOOKS.get(str(activation), (style.FAINT, "^"))
        rows = [summary(part) for _, part in group.groupby("depth")]
        median, low, high = (np.array(values, dtype=float) for values in zip(*rows, strict=True))
        depth = np.array(sorted(group["depth"].unique())) * 1.03 ** (i - (len(lines) - 1) / 2)
        look: dict[str, Any] = {"color": color, "marker": marker}
        if scale == 1:
            look |= {"linestyle": "--", "markerfacecolor": "white"}
        axes.vlines(depth, low, high, color=color, linewidth=1.6)
        axes.plot(depth, median, label=f"{activation}, init_scale {scale:.3g}", **look)


def _quantiles(column: str) -> Summary:
    """Median and interval; a network whose outputs are all 0 has neither, and counts as 0."""
    return lambda group: median_interval(group[column].fillna(0.0).to_numpy(dtype=float))


def _share(group: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    count, total = int(np.isfinite(group["to_trained"]).sum()), len(group)
    interval = scipy.stats.binomtest(count, total).proportion_ci(method="exact")
    values = (count / total, interval.low, interval.high)
    return tuple(np.asarray(value, dtype=float) for value in values)  # type: ignore[return-value]


def _updates(group: pd.DataFrame, horizon: float) -> tuple[Floats, Floats, Floats]:
    """Kaplan-Meier median and interval: a run that never gets there did not get there at T."""
    found = kaplan_meier(group, end="to_trained")
    ends = np.clip((found.median, found.low, found.high), 1, horizon)
    return tuple(np.asarray(end, dtype=float) for end in ends)  # type: ignore[return-value]


def _name(variability: Axes, spread: Axes, share: Axes, updates: Axes, horizon: float) -> None:
    for axes, label in (
        (variability, "variability at step 0 (v3_raw)"),
        (spread, "output_cv at step 0"),
    ):
        top = float(axes.dataLim.y1)  # of the highest bar
        axes.set(yscale="log", ylabel=label, ylim=(top * 10.0**-DECADES, 1.5 * top))
    spread.axhline(CONSTANT, color=style.INK, linestyle=":", linewidth=1)
    spread.annotate(
        "below: constant",
        (0.02, CONSTANT),
        xycoords=("axes fraction", "data"),
        xytext=(0, -4),
        textcoords="offset points",
        va="top",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
    )
    share.set(ylabel=f"share reaching {TRAINED:.0%} training accuracy", ylim=(-0.05, 1.05))
    updates.set(yscale="log", ylabel=f"updates to {TRAINED:.0%} training accuracy")
    updates.yaxis.set_major_formatter("{x:g}")
    updates.yaxis.set_minor_formatter("{x:g}")
    updates.set_ylim(top=1.6 * horizon)
    updates.axhline(horizon, color=style.INK, linewidth=0.8, zorder=0)
    updates.annotate(
        f"T = {horizon:.0f}",
        (0.02, horizon),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
    )


def _parameters(runs: pd.DataFrame) -> str:
    low, high = runs["n_params"].min(), runs["n_params"].max()
    return f"{low:,} to {high:,}" if low < high else f"{low:,}"


def _key(axes: Axes) -> list[Any]:
    return [line for line in axes.get_lines() if "init_scale" in str(line.get_label())]
