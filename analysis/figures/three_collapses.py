"""Temporary feature collapse, neural collapse and condensation on one time axis

Top: temporary feature collapse, cosines of features of the middle layer between classes and within
a class. Second: neural collapse at the end of training, cosines in the last hidden layer after its
mean feature is taken off (without which features after a ReLU can have no cosine below 0); between
K classes -1/(K-1) is the limit. Third: the same in the measures of Papyan, Han and Donoho on the
training probe: nc1, covariance within classes against between; nc2, unequal lengths of the class
means, and distance of their angles from equal; nc3, weights against class means; nc4, samples whose
nearest class mean is not the answer. All are 0 in complete neural collapse; zeros are drawn at the
smallest value above 0. Bottom: condensation (ours), weights that gather in few directions: the
share of the energy of W in its first direction (common_strength_w) and the effective rank of the
features, middle layer, over their values at step 0.

Medians over seeds with 95 % bootstrap intervals. Step + 1 on a logarithmic axis. Phase one is
shaded up to its end (ours: the smoothed loss stays below 0.99 of the prior loss for 200 steps),
Kaplan-Meier median of all runs; the dotted line is the first look at which the median run answers
more than 99 % of its training probe correctly.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from analysis import style
from analysis.curves import Floats, matrix, middle_layer
from analysis.stats import median_interval
from analysis.survival import Survival
from analysis.timeline import phase_end, setting, whole_runs
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("three_collapses",)
LEARNED = 0.99
NC = {
    "nc1": "nc1 variability",
    "nc2_equinorm": "nc2 lengths",
    "nc2_equiangular": "nc2 angles",
    "nc3": "nc3 duality",
    "nc4": "nc4 nearest mean",
}
MARKERS = ("o", "s", "^", "D", "v")


def draw(results: Mapping[str, Results]) -> Figure:
    """Four panels over log steps: similarity, last layer's cosines, nc1 to nc4, condensation."""
    sweep = results["three_collapses"]
    runs, seeds = whole_runs(sweep)
    depth = int(runs["depth"].iloc[0])
    ids = runs["run_id"].tolist()
    figure = style.new_figure(height=10.4)
    panels = figure.subplots(4, 1, sharex=True)
    probe = sweep.probe(columns=["train_accuracy", *NC])
    _temporary(panels[0], _layer(sweep, "layers", middle_layer(depth)), ids)
    _neural(panels[1], _layer(sweep, "layers", max(depth - 1, 1)), probe, ids)
    _measures(panels[2], probe, ids)
    _condensation(panels[3], sweep, middle_layer(depth), ids)
    boundary, learned = phase_end(sweep), _learned(probe, ids)
    panels[-1].set(xscale="log", xlabel="step + 1 (updates)", xlim=(1, boundary.horizon))
    for axes in panels:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        _mark(axes, boundary, learned)
    panels[0].set_title(_title(f"{setting(runs)}. Median over {seeds}", boundary, learned))
    return figure


def _layer(sweep: Results, table: str, layer: int) -> pd.DataFrame:
    return sweep.table(table, where=f"layer == {layer}")


def _line(
    axes: Axes, frame: pd.DataFrame, column: str, run_ids: list[str], i: int, label: str
) -> None:
    """The i-th line of a panel: each has a colour and a line style of its own."""
    steps_M, values_RxM = matrix(frame, column, run_ids)
    _draw(axes, steps_M, values_RxM, i, label)


def _draw(axes: Axes, steps_M: Floats, values_RxM: Floats, i: int, label: str) -> None:
    look: dict[str, Any] = {"color": style.ordered_colors(len(MARKERS))[i], "label": label}
    look |= {"marker": MARKERS[i], "markevery": 0.09, "markersize": 5}
    look["linestyle"] = style.LINES[i % len(style.LINES)]
    style.band(axes, steps_M + 1, median_interval(values_RxM), **look)


def _temporary(axes: Axes, frame: pd.DataFrame, run_ids: list[str]) -> None:
    _line(axes, frame, "feature_cos_between", run_ids, 0, "between classes")
    _line(axes, frame, "feature_cos_within", run_ids, 3, "within a class")
    axes.set_ylabel("temporary feature collapse\ncosine, middle layer")


def _neural(axes: Axes, frame: pd.DataFrame, probe: pd.DataFrame, run_ids: list[str]) -> None:
    _line(axes, frame, "feature_cos_between_centered", run_ids, 0, "between classes")
    _line(axes, frame, "feature_cos_within_centered", run_ids, 3, "within a class")
    _line(axes, probe, "train_accuracy", run_ids, 1, "training accuracy")
    axes.axhline(0, color=style.INK, linewidth=0.8)
    axes.set_ylabel("neural collapse\ncosine, last hidden layer,\nless the mean feature")


def _measures(axes: Axes, probe: pd.DataFrame, run_ids: list[str]) -> None:
    for i, (column, name) in enumerate(NC.items()):
        if probe[column].notna().any():
            steps_M, values_RxM = matrix(probe, column, run_ids)
            _draw(axes, steps_M, _positive(values_RxM), i, name)
    axes.set(yscale="log", ylabel="neural collapse\nnc1 to nc4")


def _positive(values_RxM: Floats) -> Floats:
    """Zeros, which a logarithmic axis does not have, at the smallest value above 0."""
    above = values_RxM[values_RxM > 0]
    return np.where(values_RxM == 0, above.min(initial=1.0), values_RxM)


def _condensation(axes: Axes, sweep: Results, middle: int, run_ids: list[str]) -> None:
    sources = {
        "common_strength_w": ("layers", "strength of W's\nfirst direction"),
        "erank": ("probe_layers", "effective rank\nof features"),
    }
    for i, (column, (table, name)) in zip((0, 3), sources.items(), strict=True):
        steps_M, values_RxM = matrix(_layer(sweep, table, middle), column, run_ids)
        _draw(axes, steps_M, values_RxM / values_RxM[:, :1], i, name)
    axes.axhline(1, color=style.INK, linewidth=0.8)
    axes.set(yscale="log", ylabel="condensation\nratio to step 0, middle layer")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _learned(probe: pd.DataFrame, run_ids: list[str]) -> float:
    """First look at which the median training accuracy is above 0.99; NaN if none."""
    steps_M, accuracy_RxM = matrix(probe, "train_accuracy", run_ids)
    above_M = np.median(accuracy_RxM, axis=0) > LEARNED
    return float(steps_M[above_M.argmax()]) if above_M.any() else float("nan")


def _mark(axes: Axes, boundary: Survival, learned: float) -> None:
    if np.isfinite(boundary.median):
        axes.axvspan(1, boundary.median + 1, color=style.ACCENT, alpha=0.09, linewidth=0, zorder=0)
        axes.axvline(boundary.median + 1, color=style.ACCENT, linewidth=1.3, zorder=1)
    if np.isfinite(learned):
        axes.axvline(learned + 1, color=style.INK, linestyle=":", linewidth=1.3, zorder=1)


def _title(start: str, boundary: Survival, learned: float) -> str:
    parts = []
    if np.isfinite(boundary.median):
        parts.append(f"end of phase one: {boundary.median:.0f} (line)")
    if np.isfinite(learned):
        parts.append(f"99 % training accuracy: {learned:.0f} (dotted)")
    return f"{start}\n{', '.join(parts)}" if parts else start
