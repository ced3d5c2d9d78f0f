"""The rows of the runs table that are of a sweep, as arrays: what status counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tfc_jax.glance import Asked
from tfc_jax.layout import checked_pack
from tfc_jax.run_arrays import Places, RunArrays

STATUSES = ("done", "diverged", "running", "failed", "pending")
DONE, DIVERGED, RUNNING, FAILED, PENDING = range(len(STATUSES))
COUNTED = ("run_id", "pack", "status", "steps_done")  # columns that tell the status of runs

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class StoredRuns:
    """Rows of runs, pack by pack in the order of their ids.

    Attributes:
      ids: (N,), texts.
      place: (N,), in the sweep.
      status: (N,), place in STATUSES; a finished run of which more steps are wanted is pending.
      bad: (N,), whether the row says diverged.
      steps_done, prior_loss, built_width: (N,); NaN where a row does not say the last two.
      packs: (P,), sorted.
      first: (P,), the first row of each pack.
    """

    ids: pa.ChunkedArray
    place: Places
    status: Codes
    bad: NDArray[np.bool_]
    steps_done: Codes
    prior_loss: NDArray[np.float64]
    built_width: NDArray[np.float64]
    packs: list[str]
    first: Codes

    @classmethod
    def of(cls, table: pa.Table, asked: Asked) -> "StoredRuns":
        """Returns the rows of RUN_COLUMNS that are of runs which the sweep asks for.

        Raises:
          InputError: a pack's id is none.
        """
        place = asked.runs.places(table["run_id"])
        if not (place >= 0).all():
            table, place = table.filter(pa.array(place >= 0)), place[place >= 0]
        packs, pack = _coded(table["pack"].cast(pa.string()))
        if not (np.diff(pack) >= 0).all():  # files are read in the order of their names
            order = np.argsort(pack, kind="stable")
            table, place, pack = table.take(pa.array(order)), place[order], pack[order]
        steps_done = _whole(table["steps_done"])
        told = _codes(table["status"].cast(pa.string()), STATUSES)
        return cls(
            ids=table["run_id"].cast(pa.string()),
            place=place,
            status=_status(told, steps_done, asked.steps),
            bad=told == DIVERGED,
            steps_done=steps_done,
            prior_loss=_numbers(table["prior_loss"]),
            built_width=_numbers(table["built_width"]),
            packs=list(map(checked_pack, packs)),
            first=np.searchsorted(pack, np.arange(len(packs))),
        )

    @cached_property
    def sizes(self) -> Codes:
        """Rows of each pack: (P,)."""
        return np.diff(self.first, append=len(self.place))

    def counts(self, n: int) -> dict[str, int]:
        """Returns the number of runs by status.

        Args:
          n: how many there are, with those that have not started.
        """
        return _counts(self.place, self.status, n)

    def rows_of(self, run_ids: Sequence[str]) -> Codes:
        """Returns the row of each run; -1 for those without one."""
        asked = pa.array(run_ids, pa.string())
        row = pc.index_in(self.ids, value_set=asked)
        at = np.flatnonzero(np.asarray(row.is_valid()))
        found = np.full(len(run_ids), -1)
        found[np.asarray(row.drop_null(), np.int64)] = at
        return found

    def of_packs(self, steps: int) -> tuple[list[Any], ...]:
        """Returns of every pack its runs, steps, whether one failed, all are done; bad runs."""
        if not self.packs:
            return [], [], [], [], []
        done = np.minimum(self.steps_done[self.first], steps)
        has_failed = np.logical_or.reduceat(self.status == FAILED, self.first)
        is_done = np.logical_and.reduceat(self.status <= DIVERGED, self.first)
        bad = np.add.reduceat(self.bad.astype(np.int64), self.first)
        return tuple(of.tolist() for of in (self.sizes, done, has_failed, is_done, bad))


def counts_by_status(table: pa.Table, runs: RunArrays, steps: int) -> dict[str, int]:
    """Returns the number of runs by status, from rows of the runs table: COUNTED."""
    place = runs.places(table["run_id"])
    told = _codes(table["status"].cast(pa.string()), STATUSES)
    status = _status(told, _whole(table["steps_done"]), steps)
    return _counts(place[place >= 0], status[place >= 0], len(runs))


def _status(told: Codes, steps_done: Codes, steps: int) -> Codes:
    """What rows tell, but `pending` for finished runs of which more steps are wanted now."""
    is_short = (told <= DIVERGED) & (steps_done < steps)
    return np.where(is_short, PENDING, told)


def _counts(place: Places, status: Codes, n: int) -> dict[str, int]:
    """Of a run with two rows the last one counts."""
    status_R = np.full(n, PENDING)
    status_R[place] = status
    counts = np.bincount(status_R, minlength=len(STATUSES))
    return dict(zip(STATUSES, counts.tolist(), strict=True))


def _coded(texts: pa.ChunkedArray) -> tuple[list[str], Codes]:
    """Returns the distinct texts, sorted, and the place of each text in them."""
    names = sorted(pc.unique(texts).to_pylist())
    return names, _codes(texts, names)


def _codes(texts: pa.ChunkedArray, names: Sequence[str]) -> Codes:
    """The place of each text, one of the names, in them."""
    return np.asarray(pc.index_in(texts, value_set=pa.array(names, pa.string()))).astype(np.int64)


def _whole(column: pa.ChunkedArray) -> Codes:
    return np.asarray(column.cast(pa.int64(), safe=False))


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy())
