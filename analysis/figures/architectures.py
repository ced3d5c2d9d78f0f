"""Which architectures wait before they learn, and do their features grow alike meanwhile?

Every architecture learns the same task by plain SGD; names are those of the sweep. Small panels:
training loss over the prior loss (solid) and between-class cosine of features of the middle layer
(dashed), means over 50 steps, medians over seeds with 95 % bootstrap intervals shaded; the upright
line is the median end of phase one (Kaplan-Meier). Below, left: length of phase one (ours: steps
until the smoothed loss stays below 0.99 of the prior loss for 200 steps); open triangles had not
ended at T, counted beside the panel; diamonds are medians with 95 % intervals; lengths of 0 are
drawn at 1. Right: change of that cosine over phase one, from step 0 to its end or, where it did
not end, to the last step (ours); diamonds are medians over seeds with 95 % bootstrap intervals;
the shaded row is the reference. A cosine that starts near 1 cannot rise, and a phase that is over
at once leaves no time for it. A row names layers × width, init_scale and learning_rate. Where a
scale is an architecture's own, chosen so that it learns within T, its length says that it waits,
not how long compared with others; and a rate that is large for an architecture can by itself make
it wait. Features of convolutions are all their pixels and channels, of recurrent networks the
states of all time steps, of the transformer all tokens; the middle layer is the ceil(L/2)-th of
the L layers that are recorded (blocks, in networks of blocks). `residual` mixes what a block adds
by a second matrix, `residual_simple` does not.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import forest, marks, style
from analysis.conditions import describe, varied
from analysis.curves import matrix, smooth, thin
from analysis.phases import SIMILARITY, middle_records, with_phases
from analysis.plateau import with_rise
from analysis.stats import median_interval
from analysis.survival import kaplan_meier
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("architectures",)
ORDER = (
    "mlp",
    "cnn",
    "vgg11",
    "rnn",
    "lstm",
    "gru",
    "residual",
    "residual_simple",
    "resnet",
    "vit",
)
PER_ROW = 4


def draw(results: Mapping[str, Results]) -> Figure:
    """Loss and similarity of each architecture over steps; phase lengths and rises."""
    sweep = results["architectures"]
    runs = with_rise(sweep, with_phases(sweep))
    groups = _groups(runs)
    n_rows = -(-len(groups) // PER_ROW)
    heights = [0.5 + 1.75 * n_rows, 1.7 + 0.42 * len(groups)]
    figure = style.new_figure(height=sum(heights))
    above, below = forest.halves(figure, heights)
    _small_panels(above, sweep, groups, n_rows)
    _rows(below, {_label(name, group): group for name, group in groups.items()})
    return figure


def _groups(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs of each architecture, plain ones first; by data set and by rate if several."""
    groups: dict[str, pd.DataFrame] = {}
    for architecture in sorted(set(runs["architecture"]), key=ORDER.index):
        own = runs[runs["architecture"] == architecture]
        keys = [*varied(runs, ["dataset"]), *varied(own, ["learning_rate"])]
        for values, group in own.groupby(keys or ["architecture"]):
            named = [describe({"rate": v}) if isinstance(v, float) else str(v) for v in values]
            groups[", ".join([architecture, *named] if keys else named)] = group
    return groups


def _label(name: str, group: pd.DataFrame) -> str:
    """Names a row by its shape and its rates."""
    run = group.iloc[0]
    shape = f"{run['depth']} × {run['width']}"
    return f"{name}, {shape}\nscale {run['init_scale']:.4g}, rate {run['learning_rate']:.4g}"


def _small_panels(
    figure: Any, sweep: Results, groups: Mapping[str, pd.DataFrame], n_rows: int
) -> None:
    columns = min(PER_ROW, len(groups))
    grid = figure.subplots(n_rows, columns, sharex=True, sharey=True, squeeze=False)
    losses = sweep.steps(columns=["loss"])
    everyone = pd.concat(list(groups.values()))
    cosines = middle_records(sweep, everyone)
    for axes, (name, group) in zip(grid.flat, groups.items(), strict=False):
        axes.set_title(name)
        _curve(axes, losses, "loss", group, color=style.INK, linestyle="-")
        if cosines is not None:
            _curve(axes, cosines, SIMILARITY, group, color=style.ACCENT, linestyle="--")
        end = kaplan_meier(group).median
        if np.isfinite(end):
            axes.axvline(max(end, 1), color=style.INK, linewidth=0.9, alpha=0.7)
    for axes in grid.flat[len(groups) :]:
        axes.set_visible(False)
    grid[0, 0].set(xscale="log", xlim=(1, everyone["horizon"].max()), ylim=(-0.05, 1.15))
    figure.supxlabel("step + 1 (updates)", fontsize=10.5)
    figure.legend(handles=_lines(), loc="outside upper center", ncols=3)


def _curve(axes: Axes, frame: pd.DataFrame, column: str, group: pd.DataFrame, **look: Any) -> None:
    steps_M, values_RxM = matrix(frame, column, group["run_id"].tolist())
    shown = thin(steps_M, log=True)
    values_RxM = smooth(values_RxM, steps_M)[:, shown]
    if column == "loss":
        values_RxM = values_RxM / group["prior_loss"].to_numpy(dtype=float)[:, None]
    style.band(axes, steps_M[shown] + 1, median_interval(values_RxM), linewidth=1.8, **look)


def _lines() -> list[Line2D]:
    return [
        Line2D([], [], color=style.INK, label="training loss (of the prior loss)"),
        Line2D([], [], color=style.ACCENT, linestyle="--", label=f"{SIMILARITY}, middle layer"),
        Line2D([], [], color=style.INK, linewidth=0.9, alpha=0.7, label="median end of phase one"),
    ]


def _rows(figure: Any, groups: Mapping[str, pd.DataFrame]) -> None:
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    plain = next(iter(groups))
    forest.lengths(left, groups, reference=plain)
    forest.values(right, groups, "cos_rise", reference=plain)
    right.axvline(0, color=style.INK, linewidth=0.8, zorder=0)
    right.set_xlabel("rise of feature_cos_between,\nmiddle layer, over phase one (cosine)")
    forest.name_rows(left, groups)
    diverged = any(bool(group["diverged"].any()) for group in groups.values())
    handles = [*marks.key(upward=False, diverged=diverged), forest.reference_key()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
