"""Rows for `tfc ls` and `tfc show`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from tfc_jax.errors import InputError
from tfc_jax.expression import parse
from tfc_jax.keys import KEYS
from tfc_jax.results import Results
from tfc_jax.untrusted import reading

OUTCOME = ("status", "steps_done", "first_bad_step", "final_loss", "final_accuracy")


def list_runs(results: Results, where: str | None, limit: int | None) -> pd.DataFrame:
    """Returns run_id, the keys that vary between runs, and the outcome, one row per run."""
    runs = results.runs
    if where:
        runs = runs[parse(where, set(runs.columns)).mask(runs)]
    varying = [k for k in KEYS if k in runs and results.runs[k].nunique(dropna=False) > 1]
    frame = runs[["run_id", *varying, *(c for c in OUTCOME if c in runs)]]
    return frame.head(limit) if limit else frame


def describe_run(results: Results, run_id: str) -> Iterator[tuple[str, ...]]:
    """Yields (column, value) of everything stored about one run."""
    for column, value in results.run(run_id).items():
        yield str(column), str(value)


def describe_columns(results: Results) -> Iterator[tuple[str, ...]]:
    """Yields (table, column, unit, meaning) as the Parquet files themselves say it."""
    for folder in sorted(p for p in results.path.iterdir() if p.is_dir()):
        for part in sorted(folder.glob("*.parquet"))[:1]:
            with reading(results.path, part):
                columns = _described(part)
            yield from ((folder.name, *column) for column in columns)


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
