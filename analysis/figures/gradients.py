"""Do the gradients of different samples point the same way, and do they cancel?

Above: cosine of feature gradients of two samples of one class, and of different classes. Where the
output is uniform, gradients of the logits (the last layer, dashed) agree within a class and have
cosine -1/(K-1) between K classes, whatever the features do; lower layers mix these through their
gates.

Below: the same question for gradients of the weights. cancellation is the squared norm of the
batch's summed gradient over n times the sum of the squared norms of its n samples' gradients: 1 if
all are equal, 1/n (dotted) if they are orthogonal, less if they cancel. weight_grad_cos is the
mean cosine of two samples' weight gradients; 0 (dotted) if they are orthogonal.

Layers that stand for all (ours: the first, the middle and the last hidden one, and one between).
Medians over seeds of means over 50 steps; shaded around the middle layer: 95 % bootstrap interval.
Vertical line: end of phase one (ours: the smoothed loss stays below 0.99 of the prior loss for 200
steps), Kaplan-Meier median of all runs with its 95 % interval shaded.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.curves import middle_layer, smooth, thin
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
PANELS = {
    "grad_cos_within": "feature gradients\nwithin a class (cosine)",
    "grad_cos_between": "feature gradients\nbetween classes (cosine)",
    "cancellation": "weight gradients\ncancellation (share)",
    "weight_grad_cos": "weight gradients\nall pairs (cosine)",
}


def draw(results: Mapping[str, Results]) -> Figure:
    """Four similarities of gradients over steps, a line per layer."""
    sweep = results["two_phase"]
    runs, seeds = whole_runs(sweep)
    depth = int(runs["depth"].iloc[0])
    figure = style.new_figure(height=7.4)
    grid = figure.subplots(2, 2, sharex=True)
    panels = dict(zip(PANELS, grid.ravel(), strict=True))
    layers = sweep.layers(columns=list(PANELS))
    boundary = phase_end(sweep)
    for column, axes in panels.items():
        _lines(axes, layers, column, runs, depth)
        axes.set_ylabel(PANELS[column])
        mark_end(axes, boundary)
    _references(panels, runs, _classes(sweep))
    title_end(grid[0, 0], boundary)
    text = f"{setting(runs)}. Median over {seeds}"
    figure.suptitle(text, x=0.01, ha="left", fontsize=11)
    figure.align_ylabels(list(grid.flat))
    for axes in grid[1]:
        axes.set_xlabel("step (updates)")
    handles, labels = panels["grad_cos_within"].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _lines(axes: Axes, layers: pd.DataFrame, column: str, runs: pd.DataFrame, depth: int) -> None:
    matrices = by_layer(layers, column, runs["run_id"].tolist())
    chosen = some_layers(depth)
    colors = style.ordered_colors(len(chosen))
    looks: dict[int, dict[str, Any]] = {
        layer: {"color": color, "linestyle": line}
        for layer, color, line in zip(chosen, colors, ("-", "-.", "-", "-"), strict=False)
    }
    looks[depth] = {"color": style.INK, "linestyle": "--"}
    for layer, look in looks.items():
        steps_M, values_RxM = matrices[layer]
        shown = thin(steps_M)
        values_RxM = smooth(values_RxM, steps_M)[:, shown]
        if layer == middle_layer(depth):
            label = f"layer {layer} (middle)"
            style.band(
                axes,
                steps_M[shown],
                median_interval(values_RxM),
                label=label,
                linewidth=2.6,
                **look,
            )
        else:
            label = f"layer {layer} (logits)" if layer == depth else f"layer {layer}"
            axes.plot(steps_M[shown], np.median(values_RxM, axis=0), label=label, **look)


def _classes(sweep: Results) -> int | None:
    """Number of classes, where the sweep recorded the table that holds it."""
    if not sweep.has("classes", "class_cos"):
        return None
    return int(sweep.table("classes", where="step == 0", columns=[])["class_a"].nunique())


def _references(panels: Mapping[str, Axes], runs: pd.DataFrame, classes: int | None) -> None:
    if classes:
        uniform = -1 / (classes - 1)
        _reference(panels["grad_cos_between"], uniform, f"-1/(K-1), K = {classes}", above=True)
    if "batch_size" in runs:
        samples = int(runs["batch_size"].iloc[0])
        _reference(panels["cancellation"], 1 / samples, f"1/n, n = {samples}")
        panels["cancellation"].set_yscale("log")
    _reference(panels["weight_grad_cos"], 0, "orthogonal")
    panels["weight_grad_cos"].margins(y=0.1)


def _reference(axes: Axes, value: float, text: str, *, above: bool = False) -> None:
    axes.axhline(value, color=style.INK, linestyle=":", linewidth=1.2)
    axes.annotate(
        text,
        (0.99 if above else 0.01, value),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3 if above else -3),
        textcoords="offset points",
        ha="right" if above else "left",
        va="bottom" if above else "top",
    )
