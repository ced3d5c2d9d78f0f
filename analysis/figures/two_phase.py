"""Learning in two phases: the loss waits while features become alike

A bias-free ReLU network, plain SGD. First the loss stays at that of the best constant predictor
while the features of samples, also of different classes, grow more alike; then the loss falls.
Lines are medians over seeds; shaded around the loss and the middle layer (thick) is the 95 %
bootstrap interval of the median. Similarities are means over 50 steps, of the training batch. The
vertical line is the end of phase one (ours: the smoothed loss stays below 0.99 of the prior loss
for 200 steps), Kaplan-Meier median of all runs with its 95 % interval shaded.

Feature gradients are told apart by class, since at a uniform output they agree within a class and
oppose between classes whatever the features do. Hidden layers only: the last layer holds the
logits.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.curves import matrix, middle_layer, smooth, thin
from analysis.stats import median_interval
from analysis.timeline import mark_end, name_end, phase_end, setting, whole_runs
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("two_phase",)
PANELS = {
    "feature_cos_between": "features,\nbetween classes",
    "grad_cos_within": "feature gradients,\nwithin a class",
    "grad_cos_between": "feature gradients,\nbetween classes",
}


def draw(results: Mapping[str, Results]) -> Figure:
    """Loss, feature and gradient similarity per layer over steps, with the phase boundary."""
    sweep = results["two_phase"]
    runs, seeds = whole_runs(sweep)
    depth = int(runs["depth"].iloc[0])
    figure = style.new_figure(height=10.2)
    top, *lower = figure.subplots(4, 1, sharex=True, height_ratios=[1.15, 1.4, 1, 1])
    top.set_title(f"{setting(runs)}. {seeds}: thin lines; their median: thick")
    _loss(top, sweep, runs["run_id"].tolist(), float(runs["prior_loss"].iloc[0]))
    _similarities(lower, sweep, runs["run_id"].tolist(), depth)
    boundary = phase_end(sweep)
    for axes in (top, *lower):
        mark_end(axes, boundary)
    name_end(top, boundary)
    style.layer_colorbar(figure, lower, list(range(1, depth)), middle_layer(depth))
    lower[-1].set_xlabel("step (updates)")
    figure.align_ylabels([top, *lower])
    return figure


def _loss(axes: Axes, sweep: Results, run_ids: list[str], prior: float) -> None:
    steps_T, loss_RxT = matrix(sweep.steps(columns=["loss"]), "loss", run_ids)
    shown = thin(steps_T)
    loss_RxM = smooth(loss_RxT, steps_T)[:, shown]
    axes.plot(steps_T[shown], loss_RxM.T, color=style.FAINT, linewidth=0.5, alpha=0.6)
    style.band(axes, steps_T[shown], median_interval(loss_RxM), color=style.INK, linewidth=2)
    axes.axhline(prior, color=style.INK, linestyle=":", linewidth=1)
    axes.annotate(
        "loss of the best constant predictor",
        (steps_T[-1], prior),
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
        va="bottom",
    )
    axes.set(ylabel="training loss (nats)", ylim=(0, 1.18 * prior), xlim=(0, steps_T[-1]))


def _similarities(panels: list[Axes], sweep: Results, run_ids: list[str], depth: int) -> None:
    middle = middle_layer(depth)
    colors = style.ordered_colors(depth - 1)
    columns = ["feature_cos", *PANELS]
    layers = sweep.layers(where=f"layer < {depth}", columns=columns)
    for layer, frame in layers.groupby("layer"):
        line = {"color": colors[layer - 1], "zorder": 3 if layer == middle else 2}
        for axes, column in zip(panels, PANELS, strict=True):
            _curve(axes, frame, column, run_ids, thick=layer == middle, **line)
        if layer == middle:
            label = f"layer {middle}, all pairs"
            _curve(panels[0], frame, "feature_cos", run_ids, linestyle="--", label=label, **line)
    for axes, name in zip(panels, PANELS.values(), strict=True):
        axes.set_ylabel(f"cosine of {name}")
    panels[0].legend(loc="lower left")
    for axes in panels[1:]:
        axes.axhline(0, color=style.INK, linewidth=0.8)


def _curve(
    axes: Axes,
    frame: pd.DataFrame,
    column: str,
    run_ids: list[str],
    *,
    thick: bool = False,
    **line: Any,
) -> None:
    steps_M, cos_RxM = matrix(frame, column, run_ids)
    shown = thin(steps_M)
    cos_RxM = smooth(cos_RxM, steps_M)[:, shown]
    if thick:
        style.band(axes, steps_M[shown], median_interval(cos_RxM), linewidth=2.6, **line)
    else:
        axes.plot(steps_M[shown], np.median(cos_RxM, axis=0), **line)
