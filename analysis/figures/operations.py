"""What four operations do to the wait, and to how alike features get

A plain ReLU network, and the same with one operation added: batch normalisation, momentum, a larger
initialisation, L2. Left: length of phase one (ours: steps until the smoothed loss stays below 0.99
of the prior loss for 200 steps); open triangles are runs that had not ended at T, crosses runs that
diverged, diamonds Kaplan-Meier medians with 95 % intervals. Middle: size of the effect against the
plain network. Ratio of medians; Cliff's delta, over all pairs of runs, is 1 if the condition is
always longer than the plain one, -1 if always shorter; p of the log-rank test stratified by seed,
Holm-corrected, tells whether the direction is chance: with one pair of runs per seed it is smallest
as soon as all seeds move the same way, however little. Right: the largest between-class cosine that
features of the middle layer reach (mean over 50 steps), median over seeds with its 95 % bootstrap
interval; the upright bar is where it starts. An operation that removes the wait need not remove the
rise of similarity: the two panels tell. Momentum is also shown at the learning rate at which its
effective step learning_rate / (1 - momentum) is that of the plain run.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import marks, style
from analysis.conditions import operations
from analysis.phases import with_phases
from analysis.stats import holm, median_interval
from analysis.survival import cliffs_delta, kaplan_meier, stratified_logrank
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("operations",)


def draw(results: Mapping[str, Results]) -> Figure:
    """Phase length, effect against plain, and peak similarity of the middle layer, by operation."""
    runs = with_phases(results["operations"])
    groups = operations(runs)
    figure = style.new_figure(height=1.7 + 0.46 * len(groups))
    left, middle, right = figure.subplots(1, 3, sharey=True, width_ratios=[1.45, 0.8, 1])
    _lengths(left, groups)
    _effects(middle, list(groups.values()))
    _peaks(right, groups)
    left.set_yticks(range(len(groups)), [name.replace(", ", ",\n") for name in groups])
    left.set_ylim(len(groups) - 0.4, -0.6)
    left.tick_params(axis="y", length=0)
    figure.legend(
        handles=marks.key(upward=False, diverged=bool(runs["diverged"].any())),
        loc="outside lower center",
        ncols=4,
    )
    return figure


def _lengths(axes: Axes, groups: Mapping[str, pd.DataFrame]) -> None:
    summaries = [kaplan_meier(group) for group in groups.values()]
    for row, group in enumerate(groups.values()):
        marks.run_marks(axes, row, group, upward=False)
    marks.median_marks(axes, range(len(groups)), summaries, upward=False, joined=False)
    horizon = max(s.horizon for s in summaries)
    axes.axvline(horizon, color=style.INK, linewidth=0.8, zorder=0)
    axes.set(xscale="log", xlim=(0.9, 1.25 * horizon))
    axes.set_xlabel("length of phase one (updates)")
    axes.grid(visible=False, axis="y")


def _effects(axes: Axes, groups: Sequence[pd.DataFrame]) -> None:
    """A table: ratio of medians, Cliff's delta and corrected p against the first group."""
    plain, *others = groups
    p_values = holm([stratified_logrank(group, plain).p for group in others])
    rows = [["", "reference", ""]]
    for group, p in zip(others, p_values, strict=True):
        test = "no test" if np.isnan(p) else f"{p:.2g}"
        rows.append([_ratio(group, plain), f"{cliffs_delta(group, plain):+.2f}", test])
    axes.axis("off")
    axes.set(xlim=(0, 1))
    at = (0.18, 0.55, 0.88)
    for x, text in zip(at, ("× median", "delta", "p"), strict=True):
        axes.annotate(text, (x, -0.55), ha="center", va="bottom", annotation_clip=False)
    for row, texts in enumerate(rows):
        for x, text in zip(at, texts, strict=True):
            axes.text(x, row, text, ha="center", va="center")


def _ratio(group: pd.DataFrame, plain: pd.DataFrame) -> str:
    """Ratio of medians; one that was not reached is at least its horizon."""
    one, other = kaplan_meier(group), kaplan_meier(plain)
    top, below = (max(min(s.median, s.horizon), 1.0) for s in (one, other))
    sign = {(True, True): "", (False, True): "> ", (True, False): "< "}
    known = sign.get((bool(np.isfinite(one.median)), bool(np.isfinite(other.median))))
    return "unknown" if known is None else f"{known}{top / below:.2g}"


def _peaks(axes: Axes, groups: Mapping[str, pd.DataFrame]) -> None:
    for row, group in enumerate(groups.values()):
        start, peak = (
            group[f"middle_cos_between_{name}"].to_numpy(dtype=float) for name in ("start", "peak")
        )
        axes.plot(peak, row + marks.jitter(len(peak)), color=style.FAINT, **style.ENDED)
        median, low, high = (float(v) for v in median_interval(peak))
        axes.hlines(row, low, high, color=style.ACCENT, linewidth=2.2)
        axes.plot(
            median, row, "D", color=style.ACCENT, markersize=7, markeredgecolor="white", zorder=3
        )
        begin = float(np.median(start))
        axes.vlines(begin, row - 0.42, row + 0.42, color=style.INK, linewidth=2)
    axes.set_xlabel("largest feature_cos_between,\nmiddle layer (bar: at the start)")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
