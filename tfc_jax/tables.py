"""Chunks of arrays -> Arrow tables -> Parquet files."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfc_jax.chunk import Chunk
from tfc_jax.schema import FIRST_INDEX, KEY_COLUMNS, PROBE_TABLES, Column, arrow_schema

Tables = dict[str, pa.Table]
# Rows are sorted by run, then step: readers leave out groups by the statistics of both.
ROW_GROUP = 2**17


def group_tables(
    chunks: Sequence[Chunk],
    run_ids: Sequence[str],
    columns: Mapping[str, Sequence[Column]],
    first_probe: Mapping[str, np.ndarray] | None,
) -> Tables:
    """Returns the rows of consecutive chunks, one table per result table, run after run.

    A table of which this program defines no column, or has no row, is left out.

    Args:
      chunks: at least one, in step order.
      run_ids: of the lanes.
      columns: value columns per table (schema.result_columns).
      first_probe: the probe before the first chunk, when this group starts the pack.
    """
    start, stop = chunks[0].span.start, chunks[-1].span.stop
    steps = np.arange(start, stop, dtype=np.int32)
    measured = np.array([s for c in chunks for s in c.span.measured], dtype=np.int32)
    every_step = _joined([c.every_step for c in chunks])
    at_measured = _joined([c.measured for c in chunks])
    probe_steps, probed = _probed(chunks, first_probe)
    _check_declared({**at_measured, **probed}, columns)
    tables = {"steps": _steps(run_ids, steps, measured, every_step, at_measured, columns["steps"])}
    for name in ("layers", *PROBE_TABLES):
        at, values = (measured, at_measured) if name == "layers" else (probe_steps, probed)
        declared = columns.get(name, ())
        present = {c.name: values[c.name] for c in declared if c.name in values}
        if present:
            tables[name] = _grid(name, run_ids, at, present, declared)
    return tables


def write_parquet(
    table: pa.Table, where: Path | IO[bytes], compression: str = "zstd", **options: Any
) -> None:
    """Writes one file: floats split by byte, page checksums on, statistics of keys.

    Args:
      options: other settings, as pyarrow takes them.
    """
    with parquet_writer(where, table.schema, compression, **options) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP)


@contextmanager
def parquet_writer(
    where: Path | IO[bytes] | pa.NativeFile, schema: pa.Schema, compression: str, **options: Any
) -> Iterator[pq.ParquetWriter]:
    """Gives a writer of one file; its footer is written when the context ends."""
    settings = parquet_options(schema) | {"compression": compression} | options
    with pq.ParquetWriter(where, schema, **settings) as writer:
        yield writer
        writer.add_key_value_metadata(schema.metadata or {})


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """Returns the settings of a file of this schema, as pyarrow takes them."""
    floats = [f.name for f in schema if pa.types.is_floating(f.type)]
    dictionary = [f.name for f in schema if pa.types.is_string(f.type)]
    integers = [f.name for f in schema if pa.types.is_integer(f.type)]
    return {
        "compression": "zstd",
        "use_dictionary": dictionary,
        "column_encoding": {
            **dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
            **dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
        },
        "write_page_checksum": True,
        "write_statistics": dictionary + integers,  # of a float they exclude hardly any rows
        "store_schema": False,  # plain types in every reader; the dictionary is an encoding
    }


def same_bits(a: pa.Table, b: pa.Table) -> bool:
    """Whether two tables hold the same rows, bit for bit: NaN is NaN, and 0.0 is not -0.0."""
    return bool(a.schema.equals(b.schema)) and all(map(_same_column, a.columns, b.columns))


def _same_column(a: pa.ChunkedArray, b: pa.ChunkedArray) -> bool:
    if not pa.types.is_floating(a.type):
        return bool(a.equals(b))
    plain = [pc.fill_null(column, 0.0).to_numpy() for column in (a, b)]
    whole = [values.view(f"u{values.itemsize}") for values in plain]
    return pc.is_null(a).equals(pc.is_null(b)) and np.array_equal(*whole)


def _check_declared(
    found: Mapping[str, np.ndarray], columns: Mapping[str, Sequence[Column]]
) -> None:
    """A column that no family declares would be dropped without a word."""
    undeclared = sorted(found.keys() - {c.name for group in columns.values() for c in group})
    if undeclared:
        raise ValueError(
            f"A metric or probe returns {', '.join(undeclared)}, which no COLUMNS declares."
        )


def _joined(chunks: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Concatenates each column along the axis of steps; masks stay."""
    return {name: _concatenated([c[name] for c in chunks]) for name in chunks[0]}


def _concatenated(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Joins (R, steps, ...) along the steps; a mask is made only where there is one."""
    is_masked = any(np.ma.isMaskedArray(a) for a in arrays)
    join: Callable[..., np.ndarray] = np.ma.concatenate if is_masked else np.concatenate
    return join(arrays, axis=1)


def _steps(
    run_ids: Sequence[str],
    steps: np.ndarray,
    measured: np.ndarray,
    every_step: Mapping[str, np.ndarray],
    at_measured: Mapping[str, np.ndarray],
    columns: Sequence[Column],
) -> pa.Table:
    n_runs, n_steps = len(run_ids), len(steps)
    unmeasured = ~np.isin(steps, measured)
    values: dict[str, Any] = dict(every_step)
    for column in columns:
        if column.name in at_measured and not unmeasured.any():
            values[column.name] = at_measured[column.name]
        elif column.name in at_measured and len(measured):
            wide = np.full((n_runs, n_steps), np.nan, np.float32)
            wide[:, ~unmeasured] = at_measured[column.name]
            mask = np.broadcast_to(unmeasured, wide.shape).ravel()
            values[column.name] = pa.array(wide.ravel(), mask=mask)
    keys = {"run_id": _repeated(run_ids, n_steps), "step": np.tile(steps, n_runs)}
    return _table("steps", keys, values, columns)


def _probed(
    chunks: Sequence[Chunk], first: Mapping[str, np.ndarray] | None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the steps at which there are probes, and their columns (R, P, ...)."""
    at = [] if first is None else [(chunks[0].span.start, first)]
    at += [(c.span.stop, c.probe) for c in chunks if c.probe is not None]
    names = at[0][1] if at else ()
    values: dict[str, np.ndarray] = {
        name: _concatenated([row[name][:, None] for _, row in at]) for name in names
    }
    return np.array([step for step, _ in at], np.int32), values


def _grid(
    name: str,
    run_ids: Sequence[str],
    steps: np.ndarray,
    values: Mapping[str, np.ndarray],
    columns: Sequence[Column],
) -> pa.Table:
    """Rows of a table whose keys are the run, the step and the further axes of its arrays."""
    shape = next(iter(values.values())).shape
    keys: dict[str, Any] = {"run_id": _repeated(run_ids, math.prod(shape[1:]))}
    for axis, key in enumerate(KEY_COLUMNS[name][1:], start=1):
        count = np.arange(shape[axis], dtype=np.int32) + FIRST_INDEX.get(key.name, 0)
        index = steps if axis == 1 else count
        across = index.reshape(-1, *[1] * (len(shape) - axis - 1))
        keys[key.name] = np.broadcast_to(across, shape)
    return _table(name, keys, values, columns)


def _table(
    name: str,
    keys: Mapping[str, Any],
    values: Mapping[str, Any],
    columns: Iterable[Column],
) -> pa.Table:
    """Columns that were not computed for this program are null."""
    schema = arrow_schema(name, list(columns))
    n = len(keys["run_id"])
    arrays = [_array(field, {**keys, **values}, n) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(field: pa.Field, values: Mapping[str, Any], n: int) -> pa.Array:
    if field.name not in values:
        return pa.nulls(n, field.type)
    value = values[field.name]
    flat = value if isinstance(value, pa.Array) else pa.array(value.ravel())
    return flat.cast(field.type)


def _repeated(run_ids: Sequence[str], times: int) -> pa.Array:
    """Each id `times` times, as plain strings (a dictionary only inside the file)."""
    codes = np.repeat(np.arange(len(run_ids), dtype=np.int32), times)
    return pa.array(list(run_ids), pa.string()).take(pa.array(codes))
