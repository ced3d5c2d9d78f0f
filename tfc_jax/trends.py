"""Curves of a sweep at a glance: losses and similarities of a sample of what is committed.

Of every table at most 64 parts are read, each once: of evenly spread packs, and of a pack with many
parts evenly spread ones, the newest always among them. The end of the loss, by which a run is on
the plateau or not, comes from the newest part of each of up to 256 packs, running ones first.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfc_jax.glance import Cache
from tfc_jax.layout import Folder, pack_of
from tfc_jax.schema import KEY_COLUMNS
from tfc_jax.stored_columns import check_columns
from tfc_jax.untrusted import reading

BINS = 120  # points of a curve, which is more than a terminal shows
CURVE_PARTS, END_PARTS = 64, 256
END_STEPS = 50
LOSS, SIMILARITY = "loss", "feature_cos_between"


@dataclass(frozen=True)
class Curve:
    """Median over runs by step.

    Attributes:
      column: what it is the median of.
      steps: the first step of each bin in which something is measured.
      values: the medians of the runs' means there, finite.
      runs: how many runs are in the sample.
    """

    column: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    runs: int


@dataclass(frozen=True)
class Part:
    """One data file, binned.

    Attributes:
      bins: (R, M), mean of each run over the finite values of each bin, else NaN.
      ends: (R,), mean of the last 50 values of the part, or of all if fewer.
    """

    run_ids: tuple[str, ...]
    bins: np.ndarray
    ends: np.ndarray


class Trends:
    """Reads the curves of one folder again and again.

    Args:
      steps: of a run, over which the bins are spread.
      middle: the middle layer of each pack's runs, by its id.
    """

    def __init__(self, folder: Folder, steps: int, middle: Mapping[str, int]) -> None:
        self._folder, self.steps, self._middle = folder, steps, middle
        self._parts = {
            "steps": Cache(partial(self._read, LOSS)),
            "layers": Cache(partial(self._read, SIMILARITY)),
        }
        self._ends = Cache(partial(self._read, LOSS))

    def curves(self, packs: Sequence[str]) -> tuple[Curve, ...]:
        """Returns the loss, and the similarity of the middle layer where it is recorded."""
        found = []
        spread = _spread(packs)
        for table, column in (("steps", LOSS), ("layers", SIMILARITY)):
            names = self._folder.part_names(table, spread)
            paths = [self._folder.table(table) / name for name in _sample(names, spread)]
            parts = [p for p in self._parts[table].read(paths).values() if p is not None]
            if parts:
                found.append(_curve(column, parts, self.steps))
        return tuple(found)

    def ends(self, packs: Sequence[str]) -> dict[str, float]:
        """Returns the mean of each run's last committed losses, by run_id.

        Args:
          packs: the first 256 of them that have a part are read.
        """
        names = self._folder.part_names("steps", packs[:END_PARTS])
        if len(names) < min(END_PARTS, len(packs)):  # some have none yet
            names = self._folder.part_names("steps", packs)
        started = islice((pack for pack in packs if pack in names), END_PARTS)
        newest = [self._folder.table("steps") / names[pack][-1] for pack in started]
        read = [part for part in self._ends.read(newest).values() if part is not None]
        return {run: float(end) for p in read for run, end in zip(p.run_ids, p.ends, strict=True)}

    def _read(self, column: str, path: Path) -> Part | None:
        """Reads a part; None if it does not hold the column, or no value of the middle layer."""
        with reading(self._folder.root, path):
            return self._part(column, path)

    def _part(self, column: str, path: Path) -> Part | None:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            needed = [key.name for key in KEY_COLUMNS[path.parent.name]]
            check_columns(file.schema_arrow, path, needed=needed)
            if column not in file.schema_arrow.names:
                return None
            table = file.read(columns=[*needed, column])
        run_ids = table["run_id"].cast(pa.string()).unique().to_pylist()
        if "layer" in needed:
            middle = self._middle.get(pack_of(path) or "", 0)  # a pack has one depth
            table = table.filter(pc.equal(table["layer"], middle))
        return _binned(table, column, run_ids, self.steps) if table.num_rows else None


def _binned(table: pa.Table, column: str, run_ids: Sequence[str], steps: int) -> Part:
    texts, known = table["run_id"].cast(pa.string()), pa.array(run_ids, pa.string())
    row = np.asarray(pc.index_in(texts, value_set=known))
    step = table["step"].to_numpy()
    value = table[column].to_numpy().astype(float)
    n_bins, n_runs = min(BINS, steps), len(run_ids)
    at = row * n_bins + np.minimum(step * n_bins // steps, n_bins - 1)
    mean_N = _means(at, value, n_runs * n_bins, np.isfinite(value))
    late = step > step.max() - END_STEPS
    return Part(
        run_ids=tuple(run_ids),
        bins=mean_N.reshape(n_runs, n_bins),
        ends=_means(row, value, n_runs, late),
    )


def _means(at: np.ndarray, value: np.ndarray, count: int, kept: np.ndarray) -> np.ndarray:
    """Mean of the kept values at each place; NaN where there is none, or one is NaN."""
    sums = np.bincount(at[kept], weights=value[kept], minlength=count)
    numbers = np.bincount(at[kept], minlength=count)
    return np.where(numbers > 0, sums / np.maximum(numbers, 1), np.nan)


def _curve(column: str, parts: Sequence[Part], steps: int) -> Curve:
    rows: dict[str, Any] = {}
    for part in parts:  # parts of one run meet within a bin at most: the newer one counts there
        for run, bin_M in zip(part.run_ids, part.bins, strict=True):
            rows[run] = np.where(np.isfinite(bin_M), bin_M, rows.get(run, np.nan))
    values_RxM = np.stack(list(rows.values()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a bin that no run has reached is NaN
        median_M = np.nanmedian(values_RxM, axis=0)
    n_bins = len(median_M)
    seen = np.flatnonzero(np.isfinite(median_M))
    at = tuple(int(-(-b * steps // n_bins)) for b in seen)
    return Curve(column, at, tuple(float(v) for v in median_M[seen]), len(rows))


def _spread(items: Sequence[Any], count: int = CURVE_PARTS) -> list[Any]:
    """Returns at most `count` of the items, evenly spread, the last one always among them."""
    if len(items) <= count:
        return list(items)
    last = len(items) - 1
    return [items[round(last * (i + 1) / count)] for i in range(count)]


def _sample(parts: Mapping[str, Sequence[str]], packs: Sequence[str]) -> list[str]:
    each = max(CURVE_PARTS // max(len(packs), 1), 1)
    return [name for pack in packs for name in _spread(parts.get(pack, ()), each)]
