"""Rows for `tfc ls` and `tfc show`."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfc_jax.arrow_columns import columns_of
from tfc_jax.errors import InputError
from tfc_jax.expression import parse
from tfc_jax.keys import KEYS
from tfc_jax.results import Results, listed_again, nullable
from tfc_jax.untrusted import reading

PIECE = 1000  # rows that are made into texts at a time
OUTCOME = ("status", "steps_done", "first_bad_step", "final_loss", "final_accuracy")


def list_runs(results: Results, where: str | None, limit: int | None) -> pa.Table:
    """Returns run_id, the keys that vary between runs, and the outcome, one row per run.

    Read are these columns, those that `where` names, and no other.
    """
    condition = parse(where, None) if where else None
    asked = condition.names if condition else frozenset[str]()
    runs = results.runs_table({"run_id", *KEYS, *OUTCOME, *asked})
    if condition and not asked <= set(runs.column_names):
        condition = parse(condition.text, set(results.runs.columns))  # says which are there
    varying = [key for key in KEYS if _varies(runs[key])]
    if condition:
        runs = runs.filter(pa.array(condition.mask(columns_of(runs, asked))))
    shown = runs.select(["run_id", *varying, *(c for c in OUTCOME if c in runs.column_names)])
    return shown.slice(0, limit) if limit else shown


def frames(listed: pa.Table) -> Iterator[pd.DataFrame]:
    """Yields what is listed piece by piece; whole numbers stay whole where some are null."""
    for start in range(0, max(len(listed), 1), PIECE):
        yield listed.slice(start, PIECE).to_pandas(types_mapper=nullable)


def rows_of(listed: pa.Table) -> Iterator[tuple[object, ...]]:
    """Yields the rows of what is listed."""
    for frame in frames(listed):
        yield from frame.itertuples(index=False)


def _varies(values: pa.ChunkedArray) -> bool:
    """Whether there are two values, of which null may be one."""
    if values.null_count in (0, len(values)):
        alike = values.null_count == len(values)
        return not alike and bool(pc.any(pc.not_equal(values, values[0])).as_py())
    return True


def describe_run(results: Results, run_id: str) -> Iterator[tuple[str, ...]]:
    """Yields (column, value) of everything stored about one run."""
    for column, value in results.run(run_id).items():
        yield str(column), str(value)


def describe_columns(results: Results) -> Iterator[tuple[str, ...]]:
    """Yields (table, column, unit, meaning) as the Parquet files themselves say it."""
    for folder in sorted(p for p in results.path.iterdir() if p.is_dir()):
        columns = listed_again(partial(_columns_of, results.path, folder))
        yield from ((folder.name, *column) for column in columns)


def _columns_of(root: Path, folder: Path) -> list[tuple[str, ...]]:
    """Describes the columns of the first file of a table; none where there is no file."""
    for part in sorted(folder.glob("*.parquet"))[:1]:
        with reading(root, part):
            return _described(part)
    return []


def _described(part: Path) -> list[tuple[str, ...]]:
    """Name, unit and meaning of each column, by the metadata of a file.

    Raises:
      InputError: the metadata are not those that `tfc run` writes.
    """
    metadata = pq.read_schema(part).metadata or {}
    try:
        columns = json.loads(metadata.get(b"tfc_jax", b"[]"))
        return [tuple(str(column[n]) for n in ("name", "unit", "meaning")) for column in columns]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"{part}: its metadata do not describe columns as `tfc run` does ({error})."
        ) from error
