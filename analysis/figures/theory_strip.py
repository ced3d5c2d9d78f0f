"""What initialisation does to similarity layer by layer, and what training adds to it

Mean cosine over all pairs of samples, by hidden layer, for plain ReLU networks of several depths.
The solid line is the exact map of infinitely wide layers, iterated from the mean cosine measured in
layer 1 at step 0; as pairs differ, the true mean is a little above it (the map is convex). Shaded:
plus and minus two standard deviations between networks of the width used, to first order in
1/width (ours), for a single pair; deviations of layer 1 are carried on. Open circles: measured at
step 0. Filled diamonds: measured at the end of phase one (ours: the smoothed loss stays below 0.99
of the prior loss for 200 steps), or at the last record of runs that never end it. Both are medians
over seeds with 95 % bootstrap intervals. What lies between circles and diamonds is what training
added.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis import style
from analysis.curves import Floats
from analysis.phases import with_phases
from analysis.stats import median_interval
from tfc_jax.results import Results
from tfc_jax.theory import relu_cosine, relu_cosine_variance

SWEEPS: tuple[str, ...] = ("depth",)
COLUMN = "feature_cos"
PANELS = 3
START: dict[str, Any] = {"marker": "o", "markerfacecolor": "white", "color": style.INK}
LATER: dict[str, Any] = {
    "marker": "D",
    "color": style.ACCENT,
    "markeredgecolor": "white",
    "markersize": 7,
}


def draw(results: Mapping[str, Results]) -> Figure:
    """One panel per depth: the wide limit, step 0 and the end of phase one, over layers."""
    sweep = results["depth"]
    runs = with_phases(sweep)
    shown = _depths(sorted(runs["depth"].unique()))
    figure = style.new_figure(height=4.4)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, depth in zip(panels, shown, strict=True):
        group = runs[runs["depth"] == depth]
        width = int(group["width"].iloc[0])
        frame = sweep.layers(f"depth == {depth} and layer < {depth}", [COLUMN])
        start_RxL = at_step(frame, group, pd.Series(0.0, index=group.index))
        later_RxL = at_step(frame, group, group["phase1_end"].fillna(group["horizon"]))
        _theory(axes, float(np.nanmean(start_RxL[:, 0])), depth, width)
        _measured(axes, start_RxL, -0.1, START)
        _measured(axes, later_RxL, 0.1, LATER)
        ended = int(group["phase1_end"].notna().sum())
        axes.set_title(f"depth {depth}: {ended} of {len(group)} runs ended")
        axes.set_xlabel("hidden layer (1 = next to the input)")
        axes.set_xticks(_ticks(depth - 1))
    panels[0].set_ylabel("mean cosine of features, all pairs")
    figure.legend(handles=_key(), loc="outside lower center", ncols=2)
    return figure


def _depths(depths: list[int]) -> list[int]:
    """At most three depths with three hidden layers or more: first, middle and last of them."""
    deep = [int(depth) for depth in depths if depth > 3] or [int(depths[-1])]
    picked = np.linspace(0, len(deep) - 1, min(PANELS, len(deep))).round().astype(int)
    return [deep[i] for i in picked]


def _ticks(hidden: int) -> list[int]:
    return list(range(1, hidden + 1, 1 if hidden <= 10 else 3))


def at_step(frame: pd.DataFrame, runs: pd.DataFrame, step_R: pd.Series) -> Floats:
    """Values of `feature_cos` of each run at its last record not after a step; (runs, layers)."""
    limit = pd.Series(step_R.to_numpy(dtype=float), index=runs["run_id"].to_numpy())
    known = frame[frame["step"].to_numpy() <= frame["run_id"].map(limit).to_numpy(dtype=float)]
    last = known.sort_values("step").groupby(["run_id", "layer"])[COLUMN].last().unstack()
    return last.loc[runs["run_id"].tolist()].to_numpy(dtype=float)


def wide_limit(cosine: float, hidden: int, width: int) -> tuple[Floats, Floats]:
    """Mean cosine by layer from that of layer 1, and its standard deviation between networks.

    A deviation c of one layer becomes f'(cosine) c in the next, f' = 1 - arccos(cosine) / pi, and
    the next layer adds its own, all independent.
    """
    cosines, variances = [cosine], [float(relu_cosine_variance(_before(cosine), width))]
    for _ in range(hidden - 1):
        slope = 1 - np.arccos(cosines[-1]) / np.pi
        added = float(relu_cosine_variance(cosines[-1], width))
        variances.append(slope**2 * variances[-1] + added)
        cosines.append(float(relu_cosine(cosines[-1])))
    return np.array(cosines), np.sqrt(variances)


def _before(cosine: float) -> float:
    """The cosine that the map takes to this one: what layer 1 reads."""
    grid = np.linspace(-1, 1, 20001)
    return float(np.interp(cosine, relu_cosine(grid), grid))


def _theory(axes: Axes, cosine: float, depth: int, width: int) -> None:
    layers = np.arange(1, depth)
    mean, sd = wide_limit(cosine, depth - 1, width)
    high = np.minimum(mean + 2 * sd, 1.0)
    axes.fill_between(layers, mean - 2 * sd, high, color="0.88", linewidth=0, zorder=0)
    axes.plot(layers, mean, color=style.INK, linewidth=1.4, zorder=1)


def _measured(axes: Axes, values_RxL: Floats, shift: float, look: dict[str, Any]) -> None:
    median, low, high = median_interval(values_RxL)
    layers = np.arange(1, values_RxL.shape[1] + 1) + shift
    axes.vlines(layers, low, high, color=look["color"], linewidth=1.8)
    axes.plot(layers, median, linestyle="none", zorder=3, **look)


def _key() -> list[Line2D | Patch]:
    later = "end of phase one, or of training"
    return [
        Line2D([], [], color=style.INK, label="infinitely wide layers, from layer 1 on"),
        Patch(color="0.88", label="± 2 standard deviations between networks of this width"),
        Line2D([], [], linestyle="none", label="step 0", **START),
        Line2D([], [], linestyle="none", label=later, **LATER),
    ]
