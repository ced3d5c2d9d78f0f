"""Where learning starts soon, late, or not within the budget

Length of phase one on digits for a small ReLU network, by initialisation scale (times Xavier),
learning rate and depth. Above: median over seeds (Kaplan-Meier), in updates, on a logarithmic
scale (ours: steps until the smoothed loss stays below 0.99 of the prior loss for 200 steps).
Hatched: no median, since half of the runs or more had not ended at T or had diverged; a cross:
half of the runs or more diverged before the end of phase one. Below: share of runs that had not
ended at T; a dot marks cells in which any run diverged. A network whose units all died in the
first steps also sits at the prior loss and counts as not ended.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis import style
from analysis.curves import Floats
from analysis.phases import with_phases
from analysis.survival import kaplan_meier
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("phase_diagram",)
AXES = ("init_scale", "learning_rate")


def draw(results: Mapping[str, Results]) -> Figure:
    """Heat maps of median phase length and censored share over the two axes, one column a depth."""
    runs = with_phases(results["phase_diagram"])
    depths = sorted(runs["depth"].unique())
    tables = {depth: _cells(runs[runs["depth"] == depth]) for depth in depths}
    horizon = float(runs["horizon"].max())
    figure = style.new_figure(height=8.2)
    grid = figure.subplots(2, len(depths), sharex=True, sharey=True, squeeze=False)
    lengths = LogNorm(max(1.0, np.nanmin(runs["phase1_end"].astype(float))), horizon)
    for column, (depth, cells) in enumerate(tables.items()):
        grid[0, column].set_title(f"depth {depth}")
        length = _heat(grid[0, column], cells, "median", cmap="viridis", norm=lengths)
        _hatch(grid[0, column], cells)
        share = _heat(grid[1, column], cells, "censored", cmap="Greys", vmin=0, vmax=1)
        _dots(grid[1, column], cells)
        grid[1, column].set_xlabel("learning_rate (per update)")
    for row in grid:
        row[0].set_ylabel("init_scale (× Xavier)")
    figure.colorbar(length, ax=list(grid[0]), label="median length of phase one (updates)")
    figure.colorbar(share, ax=list(grid[1]), label=f"share not ended at T = {horizon:.0f}")
    figure.legend(handles=_key(), loc="outside lower center", ncols=3)
    return figure


def _cells(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per cell: median length (inf if there is none), shares censored and diverged."""
    grouped = runs.groupby(list(AXES))
    medians = {cell: max(kaplan_meier(group).median, 1.0) for cell, group in grouped}
    cells = grouped[["censored", "diverged"]].mean().astype(float)
    return cells.assign(median=pd.Series(medians))


def _edges(centres: Floats) -> Floats:
    """Cell borders half way between centres on a logarithmic axis."""
    log = np.log(centres)
    half = np.diff(log) / 2
    return np.exp(np.concatenate([[log[0] - half[0]], log[:-1] + half, [log[-1] + half[-1]]]))


def _heat(axes: Axes, cells: pd.DataFrame, column: str, **look: Any) -> Any:
    table = cells[column].unstack(AXES[1])
    values = np.ma.masked_invalid(table.to_numpy(dtype=float))
    x, y = (_edges(index.to_numpy(dtype=float)) for index in (table.columns, table.index))
    axes.set(xscale="log", yscale="log")
    axes.grid(visible=False)
    axes.set_yticks(table.index, [f"{v:.2g}" for v in table.index])
    axes.set_yticks([], minor=True)
    return axes.pcolormesh(x, y, values, edgecolors="0.8", linewidth=0.5, **look)


def _hatch(axes: Axes, cells: pd.DataFrame) -> None:
    """Hatches the cells without a median and crosses those where half or more diverged."""
    table = cells["median"].unstack(AXES[1])
    x, y = (_edges(index.to_numpy(dtype=float)) for index in (table.columns, table.index))
    missing = np.ma.masked_where(np.isfinite(table.to_numpy()), np.ones(table.shape))
    axes.pcolor(x, y, missing, cmap=ListedColormap(["0.93"]), edgecolor="0.45", hatch="////")
    _points(axes, cells[cells["diverged"] >= 0.5], marker="x", markersize=9, markeredgewidth=2)


def _dots(axes: Axes, cells: pd.DataFrame) -> None:
    _points(axes, cells[cells["diverged"] > 0], marker="o", markersize=4)


def _points(axes: Axes, cells: pd.DataFrame, **look: Any) -> None:
    scale, rate = (cells.index.get_level_values(name) for name in AXES)
    axes.plot(rate, scale, linestyle="none", color=style.ACCENT, **look)


def _key() -> list[Any]:
    hatched = Patch(facecolor="0.93", edgecolor="0.45", hatch="////", label="median not reached")
    look: dict[str, Any] = {"linestyle": "none", "color": style.ACCENT}
    crossed = Line2D([], [], marker="x", markeredgewidth=2, label="half or more diverged", **look)
    dotted = Line2D([], [], marker="o", markersize=4, label="any diverged", **look)
    return [hatched, crossed, dotted]
