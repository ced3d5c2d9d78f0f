"""Maps of a sweep over two of its keys: cells of one size or several, and their runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.conditions import describe, varied
from analysis.curves import Floats
from tfc_jax.errors import InputError
from tfc_jax.keys import KEYS
from tfc_jax.results import Results

PREFERRED = ("init_scale", "learning_rate")
_ENDS = ("low", "high")
BORDERS = [f"{at}_{end}" for at in ("y", "x") for end in _ENDS]
LOG_SPAN = 4.0  # an axis that spans more is logarithmic


@dataclass(frozen=True)
class Map:
    """One map of a sweep.

    Attributes:
      title: the keys that tell it from the other maps; empty if there is one.
      y, x: keys along the axes.
      boxes: by cell, the borders y_low, y_high, x_low, x_high.
      runs: with a column `cell`; other cells have no run.
    """

    title: str
    y: str
    x: str
    boxes: pd.DataFrame
    runs: pd.DataFrame

    def middles(self, at: str) -> Floats:
        """Middles of the cells along `y` or `x`, as the axis has it."""
        low, high = (self.boxes[f"{at}_{end}"].to_numpy(dtype=float) for end in _ENDS)
        return np.sqrt(low * high) if is_log(low, high) else (low + high) / 2


def read_maps(results: Results, runs: pd.DataFrame) -> list[Map]:
    """Returns the maps of a sweep: one per value of the keys that are not its axes, seed apart.

    Of a sweep that refined, the axes are those of `refine` (the first upward) and the cells its
    leaves. Else the axes are init_scale and learning_rate if both vary, or the two numbers that
    take most values, and the borders lie half way between values.

    Raises:
      InputError: fewer than two numbers vary.
    """
    if results.has("cells", "cell"):
        cells = results.table("cells")
        names = [c.removesuffix("_low") for c in cells.columns if c.endswith("_low")]
        if len(names) >= 2:
            return _maps(runs.merge(_renamed(cells, *names[:2]), on="run_id"), *names[:2])
    y, x = _axes(results, runs)
    return _maps(_boxed(_boxed(runs, y, "y"), x, "x"), y, x)


def is_log(low: Floats, high: Floats) -> bool:
    """Whether an axis from the least `low` to the greatest `high` is logarithmic (ours)."""
    return bool(low.min() > 0 and high.max() / low.min() > LOG_SPAN)


def _renamed(cells: pd.DataFrame, y: str, x: str) -> pd.DataFrame:
    names = {f"{key}_{end}": f"{at}_{end}" for at, key in (("y", y), ("x", x)) for end in _ENDS}
    return cells[["run_id", *names]].rename(columns=names)


def _axes(results: Results, runs: pd.DataFrame) -> Sequence[str]:
    numbers = [key for key in varied(runs, list(KEYS)) if KEYS[key].kind == "number"]
    if set(PREFERRED) <= set(numbers):
        return PREFERRED
    if len(numbers) < 2:
        raise InputError(
            f"{results.path}: a map needs two keys that are numbers and vary, but these vary: "
            f"{', '.join(numbers) or 'none'}. Give grid two of them."
        )
    return sorted(numbers, key=lambda key: -runs[key].nunique())[:2]


def _boxed(runs: pd.DataFrame, key: str, at: str) -> pd.DataFrame:
    """Adds the borders of each run's cell along one axis, half way between the values there are."""
    values = np.unique(runs[key].to_numpy(dtype=float))
    edges = borders(values)
    place = np.searchsorted(values, runs[key].to_numpy(dtype=float))
    return runs.assign(**{f"{at}_low": edges[place], f"{at}_high": edges[place + 1]})


def borders(values: Floats) -> Floats:
    """Borders half way between ascending values, on a logarithmic axis where `is_log` says so.

    The outer ones mirror the next; a single value gets borders a factor of 2 (or 1) apart.
    """
    if len(values) == 1:
        (value,) = values
        half = np.sqrt(2)
        return np.array([value / half, value * half] if value > 0 else [value - 0.5, value + 0.5])
    log = is_log(values, values)
    at = np.log(values) if log else values
    inner = (at[1:] + at[:-1]) / 2
    edges = np.concatenate([[2 * at[0] - inner[0]], inner, [2 * at[-1] - inner[-1]]])
    return np.exp(edges) if log else edges


def _maps(runs: pd.DataFrame, y: str, x: str) -> list[Map]:
    others = [key for key in varied(runs, list(KEYS)) if key not in (y, x, "steps")]
    groups: list[tuple[Any, pd.DataFrame]] = (
        list(runs.groupby(others, dropna=False)) if others else [((), runs)]
    )
    return [
        _one_map(describe(dict(zip(others, values, strict=True))), part, y, x)
        for values, part in groups
    ]


def _one_map(title: str, runs: pd.DataFrame, y: str, x: str) -> Map:
    runs = runs.assign(cell=runs.groupby(BORDERS).ngroup())
    boxes = runs.groupby("cell")[BORDERS].first()
    return Map(title, y, x, boxes, runs)
