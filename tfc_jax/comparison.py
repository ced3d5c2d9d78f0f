"""Columns of one kind of value, and how they compare.

There are two truth values: null equals only null, and every ordering with null is false. Numbers,
text and truth values do not compare with each other. Data frames do not tell null from NaN, so
NaN counts as null.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfc_jax.keytypes import Kind

Mask = NDArray[np.bool_]


class Column(NamedTuple):
    """Values of one kind (an array, or a bare constant); where `null` holds, a placeholder."""

    kind: Kind
    values: Any
    null: Mask


class Mismatch(Exception):
    """Kinds that do not compare; the message names both sides."""


def equal(x: Column, y: Column) -> Mask:
    """Where both are null or both are present and equal; kinds must have been checked."""
    if "null" in (x.kind, y.kind):
        return x.null & y.null
    same: Mask = (x.values == y.values) & ~x.null & ~y.null
    return same | (x.null & y.null)


def ordered(order: Callable[[Any, Any], Any]) -> Callable[[Column, Column], Mask]:
    """Returns where both are present and `order` (<, <=, >, >=) holds; kinds as in `equal`."""

    def compare(x: Column, y: Column) -> Mask:
        if "null" in (x.kind, y.kind):
            return np.zeros(np.broadcast_shapes(x.null.shape, y.null.shape), bool)
        result: Mask = order(x.values, y.values) & ~x.null & ~y.null
        return result

    return compare


def check_pair(a: str, a_kind: Kind, b: str, b_kind: Kind, *, is_order: bool) -> None:
    """Raises Mismatch unless values of these kinds compare; a and b are what was written."""
    if "null" not in (a_kind, b_kind) and a_kind != b_kind:
        raise Mismatch(f"{a} ({_NOUN[a_kind]}) does not compare with {b} ({_NOUN[b_kind]})")
    if is_order and "truth" in (a_kind, b_kind):
        raise Mismatch(f"{a} and {b}: a truth value has no order. Use == or !=")


def check_truth(label: str, kind: Kind) -> None:
    """Raises Mismatch unless a value of this kind is a condition by itself."""
    if kind not in ("truth", "null"):
        raise Mismatch(f"{label} ({_NOUN[kind]}) is no condition. Compare it with something")


_NOUN: dict[Kind, str] = {
    "number": "a number",
    "text": "text",
    "truth": "true or false",
    "null": "null",
}
_KINDS: dict[str, Kind] = {"i": "number", "u": "number", "f": "number", "b": "truth", "U": "text"}


def as_column(name: str, raw: object) -> Column:
    """Returns an array of one kind, whatever the frame keeps it in."""
    if isinstance(raw, Column):
        return raw
    array = np.asarray(raw)
    if array.dtype.kind == "f":
        return Column("number", array, np.isnan(array))
    if array.dtype.kind in _KINDS:
        return Column(_KINDS[array.dtype.kind], array, np.zeros(array.shape, bool))
    return _from_objects(name, array.astype(object))


def _from_objects(name: str, array: NDArray[Any]) -> Column:
    """Python objects, of one kind where they are not None, NaN or a missing-value marker."""
    null = np.array([_is_null(value) for value in array.ravel()], bool).reshape(array.shape)
    kinds = {_kind_of(value) for value in array[~null]}
    if not kinds:
        return Column("null", np.zeros(array.shape), null)
    kind = kinds.pop()
    if kind is None or kinds:
        raise Mismatch(f"{name} holds values that are not all numbers, all text or all true/false")
    placeholder, dtype = _STORED[kind]
    values = np.full(array.shape, placeholder, dtype)
    values[~null] = array[~null]
    return Column(kind, values, null)


# Whole numbers above 2**53 lose digits, but only in a column that mixes them with nulls.
_STORED: dict[Kind, tuple[Any, Any]] = {
    "number": (0.0, np.float64),
    "text": ("", object),
    "truth": (False, bool),
}


def _is_null(value: object) -> bool:
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _kind_of(value: object) -> Kind | None:
    if isinstance(value, bool | np.bool_):
        return "truth"
    if isinstance(value, int | float | np.integer | np.floating):
        return "number"
    return "text" if isinstance(value, str) else None
