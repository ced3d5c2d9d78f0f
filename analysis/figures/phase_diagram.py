"""Where learning starts soon, late, or not within the budget

Length of phase one, by two keys of the sweep and one map per value of the others. A cell stands for
all seeds at its middle; cells are smaller around the line where learning within the budget begins
or ends, because the sweep was refined there. Above: median over seeds (Kaplan-Meier), in updates,
on a logarithmic scale (ours: steps until the smoothed loss stays below 0.99 of the prior loss for
200 steps). Hatched: no median, since more than half of the runs had not ended at T or had diverged;
a cross: half of the runs or more diverged before the end of phase one.

Middle: share of runs that had not ended at T; a dot marks cells in which any run diverged. A
network whose units all died in the first steps also sits at the prior loss and counts as not ended.
Below: how much seeds disagree on whether phase one ends within T, 2 min(p, 1 - p) of the share p
that does (ours): 0 where all seeds agree, 1 where half of them end it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from analysis import style
from analysis.curves import floats
from analysis.maps import BORDERS, Map, is_log, read_maps
from analysis.phases import with_phases
from analysis.survival import kaplan_meier
from tfc_jax.keys import KEYS
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("phase_diagram",)
HATCHED: dict[str, Any] = {"facecolor": "0.93", "edgecolor": "0.45", "hatch": "////"}
CROSS: dict[str, Any] = {"marker": "x", "markersize": 6, "markeredgewidth": 1.6}
DOT: dict[str, Any] = {"marker": "o", "markersize": 3}
FEW_DECADES = 30.0


def draw(results: Mapping[str, Results]) -> Figure:
    """Three rows of maps: median length, share not ended, disagreement of seeds."""
    runs = with_phases(results["phase_diagram"])
    maps = read_maps(results["phase_diagram"], runs)
    cells = [cell_values(one) for one in maps]
    figure = style.new_figure(height=10.6)
    grid = figure.subplots(3, len(maps), sharex=True, sharey=True, squeeze=False)
    for column, (one, values) in enumerate(zip(maps, cells, strict=True)):
        grid[0, column].set_title(one.title)
        _marks(grid[0, column], one, values["diverged"] >= 0.5, **CROSS)
        _marks(grid[1, column], one, values["diverged"] > 0, **DOT)
        grid[2, column].set_xlabel(_label(runs, one.x))
    for row, (norm, cmap, name, label) in zip(grid, _rows(runs), strict=True):
        row[0].set_ylabel(_label(runs, maps[0].y))
        drawn = [
            _heat(axes, one, values[name], norm=norm, cmap=cmap)
            for axes, one, values in zip(row, maps, cells, strict=True)
        ]
        figure.colorbar(drawn[0], ax=list(row), label=label)
    _frame(grid[0, 0], maps)
    figure.legend(handles=_key(), loc="outside lower center", ncols=3)
    return figure


def cell_values(one: Map) -> pd.DataFrame:
    """One row per cell: median (inf if there is none), censored, diverged, ended, disagreement."""
    grouped = one.runs.groupby("cell")
    cells = grouped[["censored", "diverged"]].mean().astype(float)
    medians = {cell: max(kaplan_meier(group).median, 1.0) for cell, group in grouped}
    ended = 1 - cells["censored"] - cells["diverged"]
    disagreement = 2 * np.minimum(ended, 1 - ended)
    return cells.assign(median=pd.Series(medians), ended=ended, disagreement=disagreement)


def _rows(runs: pd.DataFrame) -> Sequence[tuple[Normalize, str, str, str]]:
    horizon = float(runs["horizon"].max())
    lengths = floats(runs, "phase1_end")
    shortest = np.nanmin(lengths) if np.isfinite(lengths).any() else 1.0
    length = LogNorm(min(max(1.0, shortest), horizon / 2), horizon)
    whole = Normalize(0, 1)
    return (
        (length, "viridis", "median", "median length\nof phase one (updates)"),
        (whole, "Greys", "censored", f"share not ended\nat T = {horizon:.0f}"),
        (whole, "Purples", "disagreement", "disagreement of seeds\n2 min(p, 1 - p)"),
    )


def _heat(axes: Axes, one: Map, values: pd.Series, **look: Any) -> PatchCollection:
    """Draws the cells with a finite value in its colour, and hatches the others."""
    axes.grid(visible=False)
    boxes = [_rectangle(*borders) for borders in one.boxes[BORDERS].to_numpy()]
    finite = np.isfinite(values.to_numpy())
    known = PatchCollection(
        [box for box, is_known in zip(boxes, finite, strict=True) if is_known],
        edgecolor="0.8",
        linewidth=0.5,
        **look,
    )
    known.set_array(values.to_numpy()[finite])
    axes.add_collection(known)
    for box, is_known in zip(boxes, finite, strict=True):
        if not is_known:
            box.set(linewidth=0.5, **HATCHED)
            axes.add_patch(box)
    return known


def _rectangle(y_low: float, y_high: float, x_low: float, x_high: float) -> Rectangle:
    return Rectangle((x_low, y_low), x_high - x_low, y_high - y_low)


def _marks(axes: Axes, one: Map, chosen: pd.Series, **look: Any) -> None:
    x, y = (one.middles(at)[chosen.to_numpy()] for at in ("x", "y"))
    axes.plot(x, y, linestyle="none", color=style.ACCENT, **look)


def _frame(axes: Axes, maps: Sequence[Map]) -> None:
    """Scales, limits and ticks of the axes that all maps share."""
    boxes = pd.concat([one.boxes for one in maps])
    for at, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        low, high = boxes[f"{at}_low"].to_numpy(), boxes[f"{at}_high"].to_numpy()
        limits = {f"{at}lim": (low.min(), high.max())}
        if is_log(low, high):
            axes.set(**{f"{at}scale": "log"})
            if high.max() / low.min() < FEW_DECADES:
                axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.set(**limits)


def _label(runs: pd.DataFrame, key: str) -> str:
    """Names an axis with its unit; init_scale is a multiple of the sweep's initialisation."""
    if key == "init_scale":
        laws = " or ".join(sorted(runs["init"].unique())) if "init" in runs else "init"
        return f"init_scale (× {laws})"
    unit = KEYS[key].unit
    return f"{key} ({unit})" if unit else key


def _key() -> list[Any]:
    hatched = Patch(label="median not reached", **HATCHED)
    look: dict[str, Any] = {"linestyle": "none", "color": style.ACCENT}
    crossed = Line2D([], [], label="half or more diverged", **CROSS, **look)
    dotted = Line2D([], [], label="any diverged", **DOT, **look)
    return [hatched, crossed, dotted]
