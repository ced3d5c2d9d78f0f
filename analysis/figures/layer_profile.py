"""How unlike the features of each layer are, over training and over depth

Above: feature_deficit, 1 - mean cosine over all pairs of samples of the batch, mean over 50 steps,
median over seeds, on a logarithmic colour scale: the darker, the more alike. Each row is a hidden
layer. The vertical line is the end of phase one (ours: the smoothed loss stays below 0.99 of the
prior loss for 200 steps), Kaplan-Meier median of all runs with its 95 % interval dashed.

Below: the same runs layer by layer, features of different classes only, at moments of each run's
own timeline (ours: its start, its end of phase one, and its last step; quarters where no run
ended); median over seeds, bars are the 95 % bootstrap interval.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from analysis import style
from analysis.curves import Floats, middle_layer, smooth, thin
from analysis.stats import median_interval
from analysis.survival import Survival
from analysis.timeline import (
    at,
    by_layer,
    mark_end,
    moments,
    name_end,
    phase_end,
    setting,
    whole_runs,
)
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("two_phase",)
COLUMNS = ("feature_deficit", "feature_cos_between")
LOOKS = (("o", "-"), ("s", "--"), ("^", "-."))


def draw(results: Mapping[str, Results]) -> Figure:
    """Layer by step map of the deficit, and the profile over layers at three moments."""
    sweep = results["two_phase"]
    runs, seeds = whole_runs(sweep)
    depth = int(runs["depth"].iloc[0])
    layers = sweep.layers(where=f"layer < {depth}", columns=list(COLUMNS))
    figure = style.new_figure(height=7.8)
    above, below = figure.subplots(2, 1, height_ratios=[1.15, 1])
    above.set_title(f"{setting(runs)}. Median over {seeds}")
    colors = _map(above, layers, runs)
    _mark(above, phase_end(sweep))
    figure.colorbar(colors, ax=above, label="feature_deficit\n(1 - mean cosine)", pad=0.015)
    _profiles(below, layers, runs)
    for axis in (above.yaxis, below.xaxis):
        middle = middle_layer(depth)
        names = [f"{n} middle" if n == middle else f"{n}" for n in range(1, depth)]
        axis.set_ticks(range(1, depth), names)
    return figure


def _map(axes: Axes, layers: pd.DataFrame, runs: pd.DataFrame) -> ScalarMappable:
    rows: list[Floats] = []
    for steps_M, deficit_RxM in by_layer(layers, COLUMNS[0], runs["run_id"].tolist()).values():
        shown = thin(steps_M)
        rows.append(np.median(smooth(deficit_RxM, steps_M)[:, shown], axis=0))
    median_LxM = np.ma.masked_invalid(np.stack(rows))
    low, high = float(median_LxM.min()), float(median_LxM.max())
    norm = LogNorm(low, high) if 0 < low < high else None
    layer_L = np.arange(1, len(rows) + 1)
    colors = axes.pcolormesh(
        steps_M[shown], layer_L, median_LxM, norm=norm, cmap="cividis", rasterized=True
    )
    axes.set(xlabel="step (updates)", ylabel="layer (1 = next to the input)")
    axes.grid(visible=False)
    return colors


def _mark(axes: Axes, boundary: Survival) -> None:
    """On a map a shade would not show: the interval has lines of its own."""
    mark_end(axes, boundary)
    for edge in (boundary.low, boundary.high):
        if np.isfinite(boundary.median) and edge < axes.get_xlim()[1]:
            axes.axvline(edge, color="white", linestyle="--", linewidth=1.2)
    name_end(axes, boundary)
    for text in axes.texts:
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2})


def _profiles(axes: Axes, layers: pd.DataFrame, runs: pd.DataFrame) -> None:
    matrices = by_layer(layers, COLUMNS[1], runs["run_id"].tolist())
    chosen = list(moments(runs).items())
    chosen = [chosen[0], chosen[2], chosen[-1]]
    for i, (color, (name, step_R)) in enumerate(
        zip(style.ordered_colors(len(chosen)), chosen, strict=True)
    ):
        columns = [at(steps_M, smooth(x, steps_M), step_R) for steps_M, x in matrices.values()]
        cos_RxL = np.stack(columns, axis=1)
        cos_RxL = cos_RxL[np.isfinite(step_R)]
        median_L, low_L, high_L = median_interval(cos_RxL)
        marker, line = LOOKS[i]
        layer_L = np.array(list(matrices), dtype=float) + 0.06 * (i - 1)
        bars = np.maximum(np.stack([median_L - low_L, high_L - median_L]), 0)
        axes.errorbar(
            layer_L,
            median_L,
            yerr=bars,
            color=color,
            marker=marker,
            linestyle=line,
            capsize=3,
            label=name,
        )
    axes.set(xlabel="layer (1 = next to the input)", ylabel="feature_cos_between (cosine)")
    axes.legend(loc="best")
