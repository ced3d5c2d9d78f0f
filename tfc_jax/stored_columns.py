"""What columns of stored files may hold: flat numbers, texts, truth values, each of its kind."""

from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.types as kinds

from tfc_jax.errors import InputError
from tfc_jax.keys import KEYS
from tfc_jax.schema import KEY_COLUMNS, OUTCOMES

_TEXT, _NUMBER, _TRUTH, _NULL = "texts", "numbers", "truth values", "nulls"
_OF_KIND = {"text": _TEXT, "number": _NUMBER, "truth": _TRUTH, "null": _NULL}
_last: dict[bool, pa.Schema] = {}  # found right: the files of a table are alike, and many


def check_columns(schema: pa.Schema, path: Path, *, of_runs: bool = False) -> None:
    """Refuses a file with columns that no table of ours has under these names.

    Args:
      of_runs: the file has one row per run, and columns that are keys.
    Raises:
      InputError: a known column is not of its kind, or another one is nested, a date or binary.
    """
    if of_runs in _last and schema.equals(_last[of_runs]):
        return
    for name, kind in zip(schema.names, schema.types, strict=True):
        found, wanted = _kind(kind), _known(of_runs).get(name)
        if found is None or (wanted is not None and found not in (wanted, _NULL)):
            raise InputError(
                f"{path}: column {name[:60]!r} holds {str(kind)[:60]}. Allowed: "
                f"{wanted or 'numbers, texts, truth values'}. `tfc run` has not written this file."
            )
    _last[of_runs] = schema


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
