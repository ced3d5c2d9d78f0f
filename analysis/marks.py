"""Phase lengths of single runs and of conditions, drawn so that censoring shows."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis import style
from analysis.curves import Floats, floats
from analysis.survival import Survival

SPREAD = 0.32


def jitter(count: int) -> Floats:
    """Offsets within a condition, evenly spaced in the order of the runs, never random."""
    return np.linspace(-SPREAD, SPREAD, count) if count > 1 else np.zeros(1)


def run_marks(axes: Axes, position: float, runs: pd.DataFrame, *, upward: bool = True) -> None:
    """Marks every run of one condition at `position`: ended, censored or diverged.

    Args:
      upward: lengths run along y and censored triangles point up; else along x, pointing right.
    """
    offset = position + jitter(len(runs))
    length = floats(runs, "phase1_end")
    horizon = runs["horizon"].to_numpy(dtype=float)
    diverged = runs["diverged"].to_numpy(dtype=bool)
    diverged_at = floats(runs, "diverged_at")
    kinds = (
        (np.isfinite(length), length, {**style.ENDED, "color": style.FAINT}),
        (
            runs["censored"].to_numpy(dtype=bool),
            horizon,
            {**style.CENSORED, "marker": "^" if upward else ">", "color": style.INK},
        ),
        (diverged, diverged_at, {**style.DIVERGED, "color": style.INK}),
    )
    for chosen, at, look in kinds:
        if not chosen.any():  # an empty unclipped line counts as a point at the figure's corner
            continue
        pair = (offset[chosen], np.maximum(at[chosen], 1.0))
        axes.plot(*(pair if upward else pair[::-1]), clip_on=False, **look)


def median_marks(
    axes: Axes,
    positions: Sequence[float],
    summaries: Sequence[Survival],
    *,
    upward: bool = True,
    joined: bool = True,
) -> None:
    """Draws Kaplan-Meier medians with intervals; an interval without upper end reaches T."""
    at = np.array(positions, dtype=float)
    top = np.array([s.horizon for s in summaries])
    low, median, high = (
        np.maximum(np.minimum([getattr(s, name) for s in summaries], top), 1.0)
        for name in ("low", "median", "high")
    )
    known = np.array([np.isfinite(s.median) for s in summaries])
    bars = axes.vlines if upward else axes.hlines
    bars(at, low, high, color=style.ACCENT, linewidth=2.2)
    x, y = (at[known], median[known]) if upward else (median[known], at[known])
    axes.plot(
        x, y, "D-" if joined else "D", color=style.ACCENT, markersize=7, markeredgecolor="white"
    )


def key(*, upward: bool = True, diverged: bool = False) -> list[Line2D]:
    """Legend entries for what `run_marks` and `median_marks` draw."""
    triangle = "^" if upward else ">"
    entries = [
        Line2D([], [], color=style.FAINT, label="one run", **style.ENDED),
        Line2D([], [], color=style.INK, marker=triangle, label="not ended at T", **style.CENSORED),
        Line2D([], [], color=style.INK, label="diverged", **style.DIVERGED),
        Line2D(
            [],
            [],
            color=style.ACCENT,
            marker="D",
            markersize=7,
            markeredgecolor="white",
            linewidth=2.2,
            label="median and 95 % interval",
        ),
    ]
    return entries if diverged else [entries[0], entries[1], entries[3]]
