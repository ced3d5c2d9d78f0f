"""The runs of a sweep as arrays, so that much can be said of a million without making one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tfc_jax.config import Outline, Sweep
from tfc_jax.grid import Axis, Grid
from tfc_jax.keys import DIGITS, Run
from tfc_jax.run_ids import RunIds, as_text

Places = NDArray[np.int64]  # of runs in their sweep, from 0


class Coded(NamedTuple):
    """The values of a key.

    Attributes:
      values: distinct; no run needs to have each.
      code: place in `values`, one per run.
    """

    values: Sequence[Any]
    code: NDArray[np.int64]


@dataclass(frozen=True)
class RunArrays:
    """Runs in order.

    Attributes:
      ids: (R,), texts.
      column: of a key by its name, for runs at some places.
    """

    ids: pa.Array
    column: Callable[[str, Places], Coded]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def everywhere(self) -> Places:
        return np.arange(len(self))

    def places(self, run_ids: pa.ChunkedArray) -> Places:
        """Returns the place of each run, by its id; -1 for those of no run."""
        found = pc.index_in(run_ids.cast(pa.string()), value_set=self.ids)
        return np.asarray(pc.fill_null(found, -1)).astype(np.int64)


def of_outline(outline: Outline) -> RunArrays:
    """Returns the runs of a sweep that refines nothing."""
    points = np.flatnonzero(outline.keep)

    def column(name: str, places: Places) -> Coded:
        return _of_grid(outline.grid, name, points[places])

    return RunArrays(_texts(outline.run_ids), column)


def of_sweep(sweep: Sweep) -> RunArrays:
    """Returns the runs of a sweep; their ids are made only if it does not know them."""
    return of_runs(sweep.runs, None if sweep.ids is None else _texts(sweep.ids))


def of_runs(runs: Sequence[Run], ids: pa.Array | None = None) -> RunArrays:
    """Returns runs that are there.

    Args:
      ids: of the runs, where they are known.
    """

    def column(name: str, places: Places) -> Coded:
        return _coded([getattr(runs[place], name) for place in places.tolist()])

    if ids is None:
        ids = pa.array([run.run_id for run in runs], pa.string())
    return RunArrays(ids, column)


def _of_grid(grid: Grid, name: str, points: NDArray[np.int64]) -> Coded:
    """The values of a key at points, which count with the last axis moving fastest."""
    stride = 1
    for axis in reversed(grid.axes):
        if name in axis.keys:
            values, code = _coded(_values(axis, name))
            return Coded(values, code[points // stride % len(axis.rows)])
        stride *= len(axis.rows)
    return Coded([grid.base[name]], np.zeros(len(points), np.int64))


def _values(axis: Axis, name: str) -> list[Any]:
    place = axis.keys.index(name)
    return [row[place] for row in axis.rows]


def _coded(values: Sequence[Any]) -> Coded:
    place = {value: i for i, value in enumerate(dict.fromkeys(values))}
    return Coded(list(place), np.array([place[value] for value in values], np.int64))


def _texts(ids: RunIds) -> pa.Array:
    ends = np.arange(0, DIGITS * len(ids) + 1, DIGITS, dtype=np.int32)
    return pa.StringArray.from_buffers(len(ids), pa.py_buffer(ends), pa.py_buffer(as_text(ids)))
