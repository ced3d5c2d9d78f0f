"""What stored files may hold: columns that are flat, each of its kind; values of runs in range."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from tfc_jax.errors import InputError
from tfc_jax.keys import KEYS
from tfc_jax.schema import KEY_COLUMNS, OUTCOMES
from tfc_jax.timetable import Schedule

WIDEST_PACK = 65536
NEEDED = (
    "run_id",
    "pack",
    "status",
    "steps_done",
)  # columns without which a row of a run says nothing
NEVER_NULL = (*NEEDED, "lane", "schedule", "pack_width")
_WORDS = {"status": ("running", "done", "diverged", "failed"), "schedule": get_args(Schedule)}
_RANGES = {
    "lane": (0, WIDEST_PACK - 1),
    "steps_done": (0, 2**31 - 1),
    "pack_width": (1, WIDEST_PACK),
}

_TEXT, _NUMBER, _TRUTH, _NULL = "texts", "numbers", "truth values", "nulls"
_OF_KIND = {"text": _TEXT, "number": _NUMBER, "truth": _TRUTH, "null": _NULL}
_last: dict[bool, pa.Schema] = {}  # found right: the files of a table are alike, and many


def check_columns(
    schema: pa.Schema, path: Path, *, needed: Sequence[str] = (), of_runs: bool = False
) -> None:
    """Refuses a file with columns that no table of ours has under these names.

    Args:
      needed: columns that must be there.
      of_runs: the file has one row per run, and columns that are keys.
    Raises:
      InputError: a known column is not of its kind, or another one is nested, a date or binary.
      ValueError: a needed column is not there.
    """
    names = schema.names
    lost = [name for name in needed if name not in names]
    if lost:
        raise ValueError(f"there is no column {lost[0]!r}")
    if of_runs in _last and schema.equals(_last[of_runs]):
        return
    for name, kind in zip(names, schema.types, strict=True):
        found, wanted = _kind(kind), _known(of_runs).get(name)
        if found is None or (wanted is not None and found not in (wanted, _NULL)):
            raise InputError(
                f"{path}: column {name[:60]!r} holds {str(kind)[:60]}. Allowed: "
                f"{wanted or 'numbers, texts, truth values'}. `tfc run` has not written this file."
            )
    _last[of_runs] = schema


def wrong_value(runs: pa.Table) -> str | None:
    """Returns what no launch writes into the runs table, such as "status is 'x'"; None if nothing.

    Args:
      runs: rows whose columns are each of its kind (check_columns).
    """
    names = runs.column_names
    for name in NEVER_NULL:
        if name in names and runs[name].null_count:
            return f"{name} is null"
    odd = (_odd(name, runs[name]) for name in (*_WORDS, *_RANGES) if name in names)
    return next(filter(None, odd), None) if runs.num_rows else None


def double_run(runs: pa.Table) -> str | None:
    """Returns that a run stands in two rows, if one does."""
    is_double = pc.count_distinct(runs["run_id"]).as_py() < runs.num_rows
    return "a run_id comes twice" if is_double else None


def _odd(name: str, values: pa.ChunkedArray) -> str | None:
    if name in _WORDS:
        others = set(pc.unique(values).to_pylist()).difference(_WORDS[name])
        return f"{name} is {str(others.pop())[:40]!r}" if others else None
    low, high = _RANGES[name]
    ends = pc.min_max(values).as_py()
    if low <= ends["min"] <= ends["max"] <= high:
        return None
    return f"{name} reaches from {ends['min']} to {ends['max']}, and may from {low} to {high}"


@cache
def _known(of_runs: bool) -> dict[str, str]:
    """The kind of every column that is read by its name."""
    columns = [column for columns in KEY_COLUMNS.values() for column in columns]
    columns += OUTCOMES if of_runs else ()
    known = {c.name: _TEXT if c.dtype == "string" else _NUMBER for c in columns}
    return known | ({k.name: _OF_KIND[k.kind] for k in KEYS.values()} if of_runs else {})


@cache
def _kind(kind: pa.DataType) -> str | None:
    """What values of an Arrow type are; None for those that no table of ours holds."""
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    if kinds.is_string(kind) or kinds.is_large_string(kind):
        return _TEXT
    if kinds.is_integer(kind) or kinds.is_floating(kind):
        return _NUMBER
    if kinds.is_boolean(kind):
        return _TRUTH
    return _NULL if kinds.is_null(kind) else None
