"""Rows of conditions: the length of phase one, and a number per run with its interval."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import marks, style
from analysis.curves import floats
from analysis.stats import median_interval
from analysis.survival import kaplan_meier

Groups = Mapping[str, pd.DataFrame]


def halves(figure: Figure, heights: Sequence[float]) -> tuple[Any, Any]:
    """Splits a figure into a part above and a part below, each with its own layout and legend."""
    above, below = figure.subfigures(2, 1, height_ratios=list(heights))  # type: ignore[misc]
    return above, below


def name_rows(axes: Axes, groups: Groups) -> None:
    """Names the rows, the first on top."""
    axes.set_yticks(range(len(groups)), list(groups))
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def mark_reference(axes: Axes, row: int, value: float) -> None:
    """Shades the row that the others are compared with, and draws a line at its median."""
    axes.axhspan(row - 0.5, row + 0.5, color="0.93", linewidth=0, zorder=-2)
    if np.isfinite(value):
        axes.axvline(value, color=style.INK, linestyle=":", linewidth=1, zorder=-1)


def lengths(axes: Axes, groups: Groups, reference: str | None = None) -> None:
    """Length of phase one of every run, Kaplan-Meier medians, and how many did not end it."""
    summaries = {name: kaplan_meier(group) for name, group in groups.items()}
    for row, (name, group) in enumerate(groups.items()):
        marks.run_marks(axes, row, group, upward=False)
        if name == reference:
            mark_reference(axes, row, summaries[name].median)
    rows, columns = range(len(groups)), list(summaries.values())
    marks.median_marks(axes, rows, columns, upward=False, joined=False)
    horizon = max(s.horizon for s in columns)
    axes.axvline(horizon, color=style.INK, linewidth=0.8, zorder=0)
    axes.set(xscale="log", xlim=(_shortest(groups), 1.25 * horizon))
    axes.set_xlabel("length of phase one (updates)")
    for row, group in enumerate(groups.values()):
        beside(axes, row, _unended(group))
    beside(axes, -0.62, "not ended", va="bottom")


def _shortest(groups: Groups) -> float:
    """Left end of the logarithmic axis; lengths of 0 are drawn at 1."""
    lengths = pd.concat([group["phase1_end"] for group in groups.values()]).astype(float)
    shortest = float(lengths.min())
    return 0.7 * max(shortest, 1.3) if np.isfinite(shortest) else 0.9


def separate(axes: Axes, families: Sequence[str]) -> None:
    """Draws a thin line between rows of different families."""
    for row, (above, below) in enumerate(pairwise(families)):
        if above != below:
            axes.axhline(row + 0.5, color="0.8", linewidth=0.7, zorder=-1)


def _unended(group: pd.DataFrame) -> str:
    return f"{int(group['phase1_end'].isna().sum())} of {len(group)}"


def beside(axes: Axes, row: float, text: str, va: str = "center") -> None:
    """Writes to the right of a row."""
    axes.annotate(
        text,
        (1.02, row),
        xycoords=("axes fraction", "data"),
        va=va,
        color=style.INK,
        fontsize=9.5,
        annotation_clip=False,
    )


def values(axes: Axes, groups: Groups, column: str, reference: str | None = None) -> None:
    """One number of every run, its median over runs and the 95 % bootstrap interval."""
    for row, (name, group) in enumerate(groups.items()):
        every = floats(group, column)
        known = every[np.isfinite(every)]
        if len(known) == 0:
            beside(axes, row, "none")
            continue
        axes.plot(known, row + marks.jitter(len(known)), color=style.FAINT, **style.ENDED)
        median, low, high = (float(v) for v in median_interval(known))
        axes.hlines(row, low, high, color=style.ACCENT, linewidth=2.2)
        axes.plot(
            median, row, "D", color=style.ACCENT, markersize=7, markeredgecolor="white", zorder=3
        )
        if name == reference:
            mark_reference(axes, row, median)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=5)


def reference_key() -> Line2D:
    """Legend entry for the line at the reference's median."""
    return Line2D([], [], color=style.INK, linestyle=":", linewidth=1, label="median of reference")
