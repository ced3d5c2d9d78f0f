"""Columns of Arrow tables as expressions compare them, without an object per value."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from tfc_jax.comparison import Column, Mask


def columns_of(table: pa.Table, names: Iterable[str]) -> dict[str, Column]:
    """Returns columns of flat types (stored_columns.py) by name, as `comparison.as_column` does."""
    return {name: _column(table[name]) for name in names}


def _column(values: pa.ChunkedArray) -> Column:
    null = np.asarray(pc.is_null(values))
    if kinds.is_floating(values.type):
        numbers = values.to_numpy()  # null is NaN
        return Column("number", numbers, np.isnan(numbers))
    if kinds.is_integer(values.type):
        whole = values.cast(pa.float64()).fill_null(0.0) if null.any() else values
        return Column("number", whole.to_numpy(), null)
    if null.all():
        return Column("null", np.zeros(null.shape), null)
    if kinds.is_boolean(values.type):
        return Column("truth", values.fill_null(False).to_numpy(), null)
    return Column("text", _texts(values, null), null)


def _texts(values: pa.ChunkedArray, null: Mask) -> np.ndarray:
    """The texts, of which equal ones are one object; an empty one for null."""
    is_encoded = kinds.is_dictionary(values.type)
    encoded = (values if is_encoded else values.dictionary_encode()).unify_dictionaries()
    names = np.array([*encoded.chunk(0).dictionary.to_pylist(), ""], object)
    codes = [np.asarray(pc.fill_null(chunk.indices, -1)) for chunk in encoded.chunks]
    texts: np.ndarray = names[np.concatenate(codes)]
    return texts
