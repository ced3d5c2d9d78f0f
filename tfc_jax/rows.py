"""Reads rows of a table: no file, row group or column that the conditions leave out.

Parts are read side by side and filtered one by one, so that no more than the wanted rows is held.
A run is a number here, its row in the runs table; texts are made of it at the end.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfc_jax.comparison import Column, Mask
from tfc_jax.expression import Expression
from tfc_jax.layout import steps_of
from tfc_jax.schema import KEY_COLUMNS
from tfc_jax.stored_columns import check_columns
from tfc_jax.untrusted import reading

RUN, STEP = "run_id", "step"


@dataclass(frozen=True)
class Rows:
    """The rows that are wanted.

    Attributes:
      run_ids: of all runs.
      wanted: which of them, one truth value per run.
      columns: to return, `run_id` among them.
      conditions: all must hold; over columns of the table, and of `of_runs` where it has none.
      of_runs: by name, one value per run.
    """

    run_ids: Sequence[str]
    wanted: Mask
    columns: Sequence[str]
    conditions: Sequence[Expression] = ()
    of_runs: Mapping[str, Column] | None = None

    def read(self, parts: Sequence[Path]) -> pa.Table:
        """Returns the rows of these parts (at least one), in their order.

        `run_id` is a dictionary array, whose indices are places in `run_ids`.

        Raises:
          InputError: a part is no Parquet, lacks a key column, or a page does not have its
            checksum.
        """
        kept = [p for p in parts if (steps := steps_of(p)) is None or self._may_hold(*steps)]
        with ThreadPoolExecutor(pa.cpu_count()) as pool:
            tables = list(pool.map(self._read, kept or parts[:1]))
        table = parts[0].parent
        with reading(table.parent, table):
            rows = pa.concat_tables(tables, promote_options="default").select(self.columns)
        return rows.replace_schema_metadata(None)  # it may tell pandas to make anything of them

    def _read(self, part: Path) -> pa.Table:
        with reading(part.parent.parent, part):
            return self._wanted_rows(part)

    def _wanted_rows(self, part: Path) -> pa.Table:
        with pq.ParquetFile(part, read_dictionary=[RUN], page_checksum_verification=True) as file:
            check_columns(file.schema_arrow, part, needed=_keys(part))
            load = {RUN, *self.columns, *(n for c in self.conditions for n in c.names)}
            names = [name for name in file.schema_arrow.names if name in load]
            table = file.read_row_groups(list(self._groups(file)), names, use_threads=False)
        run_N = self._numbers(table[RUN])
        kept_N = self._kept(table, run_N)
        table = table.drop_columns([n for n in names if n not in self.columns])
        if not kept_N.all():
            table, run_N = table.filter(pa.array(kept_N)), run_N[kept_N]
        runs = pa.DictionaryArray.from_arrays(pa.array(run_N), self._dictionary)
        return table.set_column(table.column_names.index(RUN), RUN, runs)

    def _groups(self, file: pq.ParquetFile) -> Iterator[int]:
        """Row groups whose statistics do not rule them out."""
        names = file.schema_arrow.names
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            runs, steps = (_range(group, names, name) for name in (RUN, STEP))
            if (runs is None or self._wants_between(*runs)) and (
                steps is None or self._may_hold(*steps)
            ):
                yield number

    def _may_hold(self, first: int, last: int) -> bool:
        """Whether the conditions hold of any step first..last, as far as they name nothing else."""
        of_step = [c for c in self.conditions if c.names == {STEP}]
        steps = np.arange(first, last + 1)
        return all(condition.mask({STEP: steps}).any() for condition in of_step)

    def _wants_between(self, first: str, last: str) -> bool:
        low = np.searchsorted(self._wanted, first, side="left")
        return bool(low < np.searchsorted(self._wanted, last, side="right"))

    def _numbers(self, ids: pa.ChunkedArray) -> np.ndarray:
        """Each row's place in `run_ids`, -1 for a run that is not there, int32."""
        numbers = [np.zeros(0, np.int32)]
        for chunk in ids.chunks:
            places = [self._place.get(run_id, -1) for run_id in chunk.dictionary.to_pylist()]
            numbers.append(np.array(places, np.int32)[chunk.indices.to_numpy()])
        return np.concatenate(numbers)

    def _kept(self, table: pa.Table, run_N: np.ndarray) -> Mask:
        kept_N: Mask = np.append(self.wanted, False)[run_N]
        for condition in self.conditions:
            columns = {n: self._column(n, table, run_N) for n in condition.names}
            kept_N = kept_N & condition.mask({n: c for n, c in columns.items() if c is not None})
        return kept_N

    def _column(self, name: str, table: pa.Table, run_N: np.ndarray) -> Any:
        if name in table.column_names and name != RUN:
            return table[name].to_numpy()
        column = (self.of_runs or {}).get(name)
        if column is None:
            return None
        return Column(column.kind, np.asarray(column.values)[run_N], column.null[run_N])

    @cached_property
    def _place(self) -> dict[str, int]:
        return {run_id: i for i, run_id in enumerate(self.run_ids)}

    @cached_property
    def _wanted(self) -> np.ndarray:
        return np.array(sorted(np.array(self.run_ids, object)[self.wanted]), dtype=str)

    @cached_property
    def _dictionary(self) -> pa.Array:
        return pa.array(self.run_ids, pa.large_string())


def _keys(part: Path) -> list[str]:
    return [column.name for column in KEY_COLUMNS.get(part.parent.name, ())]


def _range(group: Any, names: Sequence[str], name: str) -> tuple[Any, Any] | None:
    """Least and greatest value of a column of a row group; None where the file does not say."""
    if name not in names:
        return None
    statistics = group.column(names.index(name)).statistics
    known = statistics is not None and statistics.has_min_max
    return (statistics.min, statistics.max) if known else None
