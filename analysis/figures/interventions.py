"""Does removing the common direction in the middle of phase one shorten what is left of it?

One network per seed is trained until `intervene_at`, changed once in one of several ways, and
trained on with the same batches. `remove_common_direction` takes from the weights the direction of
the inputs to which they respond most; `sham` takes random directions of as much energy; `none`
changes nothing; the other arms are named as in the sweep. An arm acts on all hidden layers or,
where it says so, on the middle one alone. Above: training loss (left) and between-class cosine of
features of the middle layer (right) around the intervention (upright line), medians over seeds
with 95 % bootstrap intervals, of means over 50 steps, taken on each side of the change alone.
Below, left: what is left of phase one after the intervention (ours: until the smoothed loss stays
below 0.99 of the prior loss for 200 steps), Kaplan-Meier medians with 95 % intervals; open
triangles had not ended at T; below 1 is drawn at 1. Right: that length over the sham's on the same
seed (the sham of the same layers), on a logarithmic axis: left of 1 the arm shortens what is left;
diamonds are medians over seeds with 95 % bootstrap intervals. Where one of a pair had not ended at
T its ratio is a bound, a triangle pointing to where it may lie. Bounds are not taken for values:
the lower end of an interval takes the least that each ratio can be (0 where the sham had not
ended), the upper end the largest (infinity where the arm had not; either where neither had, pairs
that are not drawn); a median that they leave open has no diamond. Seeds whose control arm had ended
phase one before the intervention are left out of all arms alike.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import forest, marks, style
from analysis.curves import Floats, floats, matrix, smooth
from analysis.phases import SIMILARITY, middle_records, with_phases
from analysis.remaining import (
    CONTROL,
    SHAM,
    MedianRatio,
    Ratios,
    in_phase_one,
    median_ratio,
    ratios,
    with_remaining,
)
from analysis.stats import median_interval
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("interventions",)
REMOVED = "remove_common_direction"
ORDER = (
    CONTROL,
    SHAM,
    REMOVED,
    "remove_feature_mean",
    "rescale",
    "reinit_dead",
    "enable_momentum",
)
ALL_LAYERS = 0
OPEN = 1.5  # how far past the outermost mark an interval without end is drawn
LOOKS: dict[str, dict[str, Any]] = {
    CONTROL: {"color": style.FAINT, "linestyle": "-"},
    SHAM: {"color": style.INK, "linestyle": "--"},
    REMOVED: {"color": style.ACCENT, "linestyle": "-"},
}
Groups = dict[str, pd.DataFrame]


def draw(results: Mapping[str, Results]) -> Figure:
    """Loss and similarity around the intervention; what is left of phase one, by arm."""
    sweep = results["interventions"]
    runs = with_phases(sweep)
    waiting = in_phase_one(runs)
    groups = _arms(with_remaining(runs[waiting].reset_index(drop=True)))
    heights = [3.0, 2.4 + 0.42 * len(groups)]
    figure = style.new_figure(height=sum(heights))
    figure.suptitle(_counts(runs, waiting), fontsize=11, x=0.01, ha="left")
    if groups:
        above, below = forest.halves(figure, heights)
        _around(above, sweep, groups)
        _rows(below, groups)
    return figure


def _counts(runs: pd.DataFrame, waiting: pd.Series) -> str:
    at = ", ".join(f"{step:.0f}" for step in sorted(runs["intervene_at"].astype(float).unique()))
    left, count = runs.loc[waiting, "seed"].nunique(), runs["seed"].nunique()
    return f"Intervention at step {at}: {left} of {count} seeds were in phase one, and are shown"


def _arms(runs: pd.DataFrame) -> Groups:
    """The runs of each arm, control and sham first; all layers before the middle one."""
    layer_R = floats(runs, "intervene_layer")
    groups = {
        (name, ALL_LAYERS if pd.isna(layer) and name == "enable_momentum" else layer): group
        for (name, layer), group in runs.groupby([runs["intervention"], layer_R], dropna=False)
    }
    order = sorted(groups, key=lambda arm: (ORDER.index(arm[0]), arm[1] != ALL_LAYERS))
    return {_name(*arm, groups[arm]): groups[arm] for arm in order}


def _name(arm: str, layer: float, group: pd.DataFrame) -> str:
    value = group["intervene_value"].iloc[0]
    number = "" if pd.isna(value) else f" {float(value):.4g}"
    if arm in (CONTROL, "enable_momentum"):
        return arm + number
    if layer == ALL_LAYERS:
        return f"{arm}{number}"
    return f"{arm}{number},\n" + ("middle layer" if pd.isna(layer) else f"layer {layer:.0f}")


def _around(figure: Any, sweep: Results, groups: Groups) -> None:
    left, right = figure.subplots(1, 2)
    shown = {name: groups[name] for name in LOOKS if name in groups}
    if not shown:
        return
    everyone = pd.concat(list(shown.values()))
    at = float(everyone["intervene_at"].iloc[0])
    window = (max(0.0, at - 0.8 * at), at + 2.5 * max(_usual(everyone), at))
    cosines = middle_records(sweep, everyone)
    for name, group in shown.items():
        _curve(left, sweep.steps(columns=["loss"]), "loss", group, at, name)
        if cosines is not None:
            _curve(right, cosines, SIMILARITY, group, at, name)
    prior = float(everyone["prior_loss"].iloc[0])
    left.axhline(prior, color=style.INK, linestyle=":", linewidth=1)
    left.set(ylabel="training loss (nats)", ylim=(0, 1.15 * prior))
    right.set_ylabel(f"{SIMILARITY},\nmiddle layer (cosine)")
    for axes in (left, right):
        axes.axvline(at, color=style.INK, linewidth=0.9)
        axes.set(xlabel="step (updates)", xlim=(window[0], min(window[1], _horizon(everyone))))
    left.legend(loc="lower left", frameon=True, edgecolor="none", framealpha=1)


def _usual(runs: pd.DataFrame) -> float:
    return float(runs["remaining"].median())


def _horizon(runs: pd.DataFrame) -> float:
    return float(runs["horizon"].max())


def _curve(
    axes: Axes, frame: pd.DataFrame, column: str, group: pd.DataFrame, at: float, name: str
) -> None:
    steps_M, values_RxM = matrix(frame, column, group["run_id"].tolist())
    values_RxM = _smooth_apart(values_RxM, steps_M, at)
    style.band(axes, steps_M, median_interval(values_RxM), label=name, linewidth=1.8, **LOOKS[name])


def _smooth_apart(values_RxM: Floats, steps_M: Floats, at: float) -> Floats:
    """Smooths what lies before `at` and what lies from it on, neither with the other."""
    parts = [steps_M < at, steps_M >= at]
    smoothed = [smooth(values_RxM[:, part], steps_M[part]) for part in parts if part.any()]
    return np.concatenate(smoothed, axis=1)


def _rows(figure: Any, groups: Groups) -> None:
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.2, 1])
    forest.lengths(left, {name: _from_then_on(group) for name, group in groups.items()})
    left.set_xlabel("what is left of phase one (updates)")
    for row, (name, group) in enumerate(groups.items()):
        sham = groups.get(_sham_of(name))
        if name.startswith(SHAM):
            forest.beside(right, row, "reference")
        elif sham is not None:
            _ratio_row(right, row, ratios(group, sham))
    right.axvline(1, color=style.INK, linewidth=0.8, zorder=0)
    right.set(xscale="log", xlabel="what is left, over the sham's\non the same seed (ratio)")
    right.grid(visible=False, axis="y")
    right.tick_params(axis="y", length=0)
    forest.name_rows(left, groups)
    diverged = any(bool(group["diverged"].any()) for group in groups.values())
    handles = [*marks.key(upward=False, diverged=diverged), *_bounds_key(groups)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def _sham_of(name: str) -> str:
    """The sham that acts on the same layers."""
    return f"{SHAM},\n{name.split(chr(10))[1]}" if "\n" in name else SHAM


def _from_then_on(group: pd.DataFrame) -> pd.DataFrame:
    """The runs as if step 0 were the intervention, for the marks of phase lengths."""
    at = group["intervene_at"].astype(float)
    return group.assign(
        phase1_end=group["remaining"].where(~group["open"]),
        horizon=group["horizon"].astype(float) - at,
        diverged_at=np.maximum(group["diverged_at"].astype(float) - at, 1.0),
    )


def _ratio_row(axes: Axes, row: int, pairs: Ratios) -> None:
    if len(pairs.ratio) == 0:
        forest.beside(axes, row, "neither ended")
        return
    offset = row + marks.jitter(len(pairs.ratio))
    for bound, look in _BOUNDS.items():
        chosen = pairs.bound == bound
        if chosen.any():
            axes.plot(pairs.ratio[chosen], offset[chosen], **look)
    middle = median_ratio(pairs)
    axes.hlines(row, *_drawn(middle, pairs), color=style.ACCENT, linewidth=2.2)
    if middle.least == middle.most:
        look = {"color": style.ACCENT, "markersize": 7, "markeredgecolor": "white"}
        axes.plot(middle.least, row, "D", zorder=3, **look)
    forest.beside(axes, row, _said(middle))


def _drawn(middle: MedianRatio, pairs: Ratios) -> tuple[float, float]:
    """Ends of the interval on a logarithmic axis; an open end reaches past the marks."""
    shortest, longest = pairs.ratio.min() / OPEN, pairs.ratio.max() * OPEN
    return middle.low or shortest, longest if np.isinf(middle.high) else middle.high


def _said(middle: MedianRatio) -> str:
    """The median, or what is known of it, above its interval."""
    if middle.least == middle.most:
        median = _short(middle.least)
    elif middle.least and np.isfinite(middle.most):
        median = f"{_short(middle.least)} to {_short(middle.most)}"
    elif np.isfinite(middle.most):
        median = f"at most {_short(middle.most)}"
    else:
        median = f"at least {_short(middle.least)}" if middle.least else "not known"
    if np.isnan(middle.low):
        return median
    return f"{median}\n({_short(middle.low)} to {_short(middle.high)})"


def _short(ratio: float) -> str:
    """Two decimals, or one digit where those would be 0."""
    if np.isinf(ratio):
        return "∞"
    return f"{ratio:.2f}" if ratio >= 0.05 else f"{ratio:.1g}"


_BOUNDS: dict[int, dict[str, Any]] = {
    0: {**style.ENDED, "color": style.FAINT},
    1: {**style.CENSORED, "marker": ">", "color": style.INK},
    -1: {**style.CENSORED, "marker": "<", "color": style.INK},
}


def _bounds_key(groups: Groups) -> list[Line2D]:
    shams = [group for name, group in groups.items() if name.startswith(SHAM)]
    if not any(bool(group["open"].any()) for group in shams):
        return []
    return [Line2D([], [], label="at most that: sham not ended", **_BOUNDS[-1])]
