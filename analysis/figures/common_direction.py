"""Does the common direction of the weights strengthen, and does it lead the features?

Top: share of the energy of W and of its update that lies in their first singular direction (1 is
rank one). Middle: |cos| of those two directions ("W and update", common_alignment: the loop in
which an update strengthens what is common already) and of W's with the mean feature that the layer
reads ("W and mean input", common_feature_alignment). Medians over seeds of means over 50 steps,
with 95 % bootstrap intervals shaded. Vertical line: end of phase one (ours: the smoothed loss stays
below 0.99 of the prior loss for 200 steps), Kaplan-Meier median of all runs with its 95 % interval
shaded.

Bottom: lead and lag (ours). Growth of common_alignment at step t is correlated with growth of
feature_cos_between of the same layer at step t + lag, per run, over its steps up to twice the
length of its phase one (or all, if it did not end). Growth is the difference of neighbouring
records of curves smoothed over a fifth of phase one. Left: the correlation, median over seeds with
95 % bootstrap interval. Right: each run's lag at its peak, positive where alignment leads, and
the median with its interval of the runs that have a peak inside the range. Noise of the batch that
both curves share correlates at lag 0.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import marks, style
from analysis.curves import WINDOW, Floats, floats, matrix, middle_layer, smooth, thin
from analysis.leadlag import cross_correlation, peaks
from analysis.stats import median_interval
from analysis.timeline import (
    by_layer,
    mark_end,
    phase_end,
    setting,
    some_layers,
    title_end,
    whole_runs,
)
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("two_phase",)
STRENGTHS = {"common_strength_w": "W", "common_strength_dw": "its update"}
ALIGNMENTS = {"common_alignment": "W and update", "common_feature_alignment": "W and mean input"}
SIMILARITY = "feature_cos_between"


def draw(results: Mapping[str, Results]) -> Figure:
    """Strengths and alignments over steps for two layers; lead and lag for several."""
    sweep = results["two_phase"]
    runs, seeds = whole_runs(sweep)
    depth = int(runs["depth"].iloc[0])
    layers = sweep.layers(f"layer < {depth}", [*STRENGTHS, *ALIGNMENTS, SIMILARITY])
    figure = style.new_figure(height=9.8)
    grid = figure.subplots(3, 2)
    boundary = phase_end(sweep)
    for axes, layer in zip(grid[:2].T, (1, middle_layer(depth)), strict=True):
        frame = layers[layers["layer"] == layer]
        name = f"layer {layer} (middle)" if layer > 1 else f"layer {layer}"
        for panel, columns in zip(axes, (STRENGTHS, ALIGNMENTS), strict=True):
            _curves(panel, frame, columns, runs["run_id"].tolist())
            mark_end(panel, boundary)
            _label(panel, name)
            panel.set_xlabel("step (updates)")
        axes[0].set(yscale="log", ylim=(None, 1.6))
        axes[1].set(ylim=(0, 1))
    grid[0, 0].set(ylabel="share of energy in the\nfirst direction")
    grid[1, 0].set(ylabel="|cosine| of\nfirst directions")
    grid[0, 0].legend(loc="center right")
    grid[1, 0].legend(loc="upper right")
    text = f"{setting(runs)}. Median over {seeds}"
    figure.suptitle(text, x=0.01, ha="left", fontsize=11)
    title_end(grid[0, 0], boundary)
    _lead(grid[2, 0], grid[2, 1], layers, runs, depth)
    return figure


def _label(axes: Axes, text: str) -> None:
    box: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2}
    axes.annotate(text, (0.02, 0.97), xycoords="axes fraction", va="top", weight="bold", bbox=box)


def _curves(
    axes: Axes, frame: pd.DataFrame, columns: Mapping[str, str], run_ids: list[str]
) -> None:
    looks: list[dict[str, Any]] = [
        {"color": style.INK, "linestyle": "-", "linewidth": 2},
        {"color": style.ordered_colors(3)[1], "linestyle": "--", "linewidth": 2},
    ]
    for (column, name), look in zip(columns.items(), looks, strict=True):
        steps_M, values_RxM = matrix(frame, column, run_ids)
        shown = thin(steps_M)
        summary = median_interval(smooth(values_RxM, steps_M)[:, shown])
        style.band(axes, steps_M[shown], summary, label=name, **look)


def _lead(left: Axes, right: Axes, layers: pd.DataFrame, runs: pd.DataFrame, depth: int) -> None:
    """Correlation against lag for some layers, and the peaks of all runs for every layer."""
    run_ids = runs["run_id"].tolist()
    alignments, similarities = (
        by_layer(layers, name, run_ids) for name in ("common_alignment", SIMILARITY)
    )
    chosen = some_layers(depth)
    colors = dict(zip(chosen, style.ordered_colors(len(chosen)), strict=True))
    lines = dict(zip(chosen, style.LINES, strict=False))
    labels: list[str] = []
    for layer in sorted(alignments):
        steps_M, a_RxM = alignments[layer]
        curves = _growing_together(runs, steps_M, a_RxM, similarities[layer][1])
        if layer in colors:
            look = {"color": colors[layer], "linestyle": lines[layer], "label": f"layer {layer}"}
            style.band(left, curves[0], median_interval(curves[1]), **look)
        lag_R = peaks(*curves)
        _peaks(right, layer, lag_R)
        labels.append(f"{layer}\n{np.isfinite(lag_R).sum()}/{len(lag_R)}")
    for axis, line in ((left, left.axvline), (right, right.axhline)):
        line(0, color=style.INK, linewidth=0.8)
        axis.margins(0.03)
    left.axhline(0, color=style.INK, linewidth=0.8)
    left.set(xlabel="lag of features after alignment (updates)", ylabel="correlation of growth")
    left.set_ylim(-1, 1)
    left.legend(loc="upper center", ncols=2)
    right.set(
        xlabel="layer; below it, the runs that have a peak", ylabel="lag at the peak (updates)"
    )
    right.set_title("above 0: alignment leads")
    right.set_xticks(sorted(alignments), labels)


def _growing_together(
    runs: pd.DataFrame, steps_M: Floats, a_RxM: Floats, b_RxM: Floats
) -> tuple[Floats, Floats]:
    """Lags and correlations, over each run's steps up to twice its phase one."""
    end_R = floats(runs, "phase1_end")
    length = float(np.nanmedian(end_R)) if np.isfinite(end_R).any() else steps_M[-1] / 2
    counted_RxM = steps_M <= np.where(np.isfinite(end_R), 2 * end_R, np.inf)[:, None]
    a_RxM, b_RxM = (np.where(counted_RxM, x_RxM, np.nan) for x_RxM in (a_RxM, b_RxM))
    window = max(WINDOW, round(length / 5))
    return cross_correlation(a_RxM, b_RxM, steps_M, length / 2, window)


def _peaks(axes: Axes, layer: int, lag_R: Floats) -> None:
    known = lag_R[np.isfinite(lag_R)]
    if not len(known):
        return
    axes.plot(layer + marks.jitter(len(known)), known, color=style.FAINT, **style.ENDED)
    median, low, high = (float(x) for x in median_interval(known))
    axes.vlines(layer, low, high, color=style.ACCENT, linewidth=2.2)
    axes.plot(layer, median, "D", color=style.ACCENT, markersize=7, markeredgecolor="white")
