"""Curves of any sweep by condition, for its report page."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import style
from analysis.curves import Floats, matrix, smooth, thin
from analysis.stats import median_interval

NAMED = 10


def draw_curves(
    frame: pd.DataFrame,
    column: str,
    groups: Mapping[str, pd.DataFrame],
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Median over the runs of each condition, mean over 50 steps, on a logarithmic step axis.

    Up to ten conditions are named and carry their 95 % bootstrap interval; more are drawn thin,
    dark to light in their order. A curve ends where the first of its runs diverged.

    Args:
      frame: run_id, step and `column`; at least one row.
      groups: the runs of each condition, by its name.
      limits: of the vertical axis, where the data's own would hide the rest.
    """
    curves = _by_condition(frame, column, groups)
    figure = style.new_figure(height=4.2 if len(groups) == 1 else 5.2)
    axes = figure.subplots()
    for i, (color, (name, (x, values_RxM))) in enumerate(
        zip(style.ordered_colors(len(groups)), curves.items(), strict=True)
    ):
        if len(groups) > NAMED:
            axes.plot(x, np.median(values_RxM, axis=0), color=color, linewidth=0.8)
            continue
        look = {"linestyle": style.LINES[i % len(style.LINES)], "linewidth": 1.8}
        style.band(axes, x, median_interval(values_RxM), color=color, label=name, **look)
    axes.set(xscale="log", xlim=(1, x[-1]), xlabel="step + 1 (updates)", ylabel=column)
    axes.set_ylim(limits)
    if len(groups) > NAMED:
        axes.set_title(f"{len(groups)} conditions, in the order of the table from dark to light")
    elif len(groups) > 1:
        figure.legend(loc="outside lower center", ncols=1 if max(map(len, groups)) > 30 else 3)
    return figure


def _by_condition(
    frame: pd.DataFrame, column: str, groups: Mapping[str, pd.DataFrame]
) -> dict[str, tuple[Floats, Floats]]:
    """Steps plus one and smoothed values of the runs of each condition, thinned."""
    run_ids = [run_id for runs in groups.values() for run_id in runs["run_id"]]
    steps_M, values_RxM = matrix(frame, column, run_ids)
    shown = thin(steps_M, log=True)
    values_RxM = smooth(values_RxM, steps_M)[:, shown]
    stops = np.cumsum([len(runs) for runs in groups.values()])
    parts = np.split(values_RxM, stops[:-1])
    return {name: (steps_M[shown] + 1, part) for name, part in zip(groups, parts, strict=True)}
