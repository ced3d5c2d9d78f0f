"""Do activations differ in how alike features become, and in how long the loss waits?

The plain deep network of the figure on robustness with other activations. Solid lines: the plain
network's initialisation scale. Dashed lines: the scale at which a layer shrinks a small signal as
ReLU does at the plain scale (ours; GELU is x/2 and tanh x near 0, abs keeps the mean square), so
that activations are not told apart by how fast the signal dies alone; for ReLU and leaky ReLU it
is the same scale. Above: between-class cosine of features of the middle layer; in the middle:
training loss over the prior loss; both are means over 50 steps, medians over seeds with 95 %
bootstrap intervals shaded; the upright line of the same style is the median end of phase one
(Kaplan-Meier). Below: length of phase one of every run (ours: steps until the smoothed loss stays
below 0.99 of the prior loss for 200 steps); open triangles had not ended at T. Lengths of 0 are
drawn at 1. The sign of features matters for the cosine: those of ReLU and abs are never negative,
so at chance theirs is above 0 and that of tanh is not.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import forest, marks, style
from analysis.conditions import departures
from analysis.curves import Floats, matrix, smooth, thin
from analysis.phases import SIMILARITY, middle_records, with_phases
from analysis.stats import median_interval
from analysis.survival import kaplan_meier
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("robustness",)
OTHER_KEYS = ("width", "learning_rate", "loss", "label_noise", "classes", "dataset", "difficulty")
ORDER = ("relu", "leaky_relu", "gelu", "tanh", "abs")


def draw(results: Mapping[str, Results]) -> Figure:
    """Similarity and loss over steps, one column an activation; and phase lengths."""
    sweep = results["robustness"]
    runs = with_phases(sweep)
    runs = runs[departures(runs, OTHER_KEYS) == "plain"].reset_index(drop=True)
    names = [name for name in ORDER if name in set(runs["activation"])]
    groups = _groups(runs, names)
    figure = style.new_figure(height=6.2 + 0.3 * len(groups))
    above, below = forest.halves(figure, [4.6, 1.6 + 0.3 * len(groups)])
    _columns(above, sweep, runs, names)
    axes = below.subplots()
    forest.lengths(axes, groups)
    forest.name_rows(axes, groups)
    diverged = bool(runs["diverged"].any())
    below.legend(
        handles=marks.key(upward=False, diverged=diverged), loc="outside lower center", ncols=4
    )
    return figure


def _groups(runs: pd.DataFrame, names: list[str]) -> dict[str, pd.DataFrame]:
    """The runs of each activation and scale, activations in order, the plain scale first."""
    return {
        f"{name}, init_scale {scale:.4g}": group
        for name in names
        for scale, group in _scales(runs, name)
    }


def _scales(runs: pd.DataFrame, name: str) -> list[tuple[float, pd.DataFrame]]:
    """The runs of one activation by scale, that of the plain network first."""
    plain = float(runs["init_scale"].mode().iloc[0])
    groups = runs[runs["activation"] == name].groupby("init_scale")
    return sorted(((float(s), group) for s, group in groups), key=lambda item: item[0] != plain)


def _columns(figure: Figure, sweep: Results, runs: pd.DataFrame, names: list[str]) -> None:
    grid = figure.subplots(2, len(names), sharex=True, sharey="row", squeeze=False)
    tables = ((middle_records(sweep, runs), SIMILARITY), (sweep.steps(columns=["loss"]), "loss"))
    for (upper, lower), name in zip(grid.T, names, strict=True):
        upper.set_title(name)
        for (_, group), linestyle in zip(_scales(runs, name), style.LINES, strict=False):
            for axes, (frame, column) in zip((upper, lower), tables, strict=True):
                if frame is not None:
                    _curve(axes, frame, column, group, linestyle)
                _end(axes, group, linestyle)
        lower.axhline(1, color=style.INK, linestyle=":", linewidth=1)
        lower.set(xscale="log", xlim=(1, runs["horizon"].max()), xlabel="step + 1 (updates)")
    plain = float(runs["init_scale"].mode().iloc[0])
    figure.legend(handles=_key(plain), loc="outside upper center", ncols=2)
    grid[0, 0].set_ylabel("feature_cos_between,\nmiddle layer (cosine)")
    grid[1, 0].set(ylabel="training loss\n(of the prior loss)", ylim=(0, 1.2))


def _key(plain: float) -> list[Line2D]:
    matched = "a layer shrinks small signals as ReLU does there"
    return [
        Line2D([], [], color=style.INK, linewidth=1.8, label=f"init_scale {plain:.4g}"),
        Line2D([], [], color=style.ACCENT, linestyle="--", linewidth=1.8, label=matched),
    ]


def _curve(
    axes: Axes, frame: pd.DataFrame, column: str, group: pd.DataFrame, linestyle: str
) -> None:
    steps_M, values_RxM = matrix(frame, column, group["run_id"].tolist())
    shown = thin(steps_M, log=True)
    values_RxM = smooth(values_RxM, steps_M)[:, shown]
    if column == "loss":
        values_RxM = values_RxM / _prior(group)
    color = style.INK if linestyle == "-" else style.ACCENT
    look = {"linestyle": linestyle, "linewidth": 1.8}
    style.band(axes, steps_M[shown] + 1, median_interval(values_RxM), color=color, **look)


def _prior(group: pd.DataFrame) -> Floats:
    return group["prior_loss"].to_numpy(dtype=float)[:, None]


def _end(axes: Axes, group: pd.DataFrame, linestyle: str) -> None:
    end = kaplan_meier(group).median
    if np.isfinite(end):
        color = style.INK if linestyle == "-" else style.ACCENT
        axes.axvline(max(end, 1), color=color, linestyle=linestyle, linewidth=0.9, alpha=0.7)
