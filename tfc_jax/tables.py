"""Chunks of arrays -> Arrow tables -> Parquet files."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfc_jax.chunk import Chunk
from tfc_jax.schema import Column, arrow_schema

Tables = dict[str, pa.Table]


def group_tables(
    chunks: Sequence[Chunk],
    run_ids: Sequence[str],
    columns: Mapping[str, Sequence[Column]],
    first_probe: Mapping[str, np.ndarray] | None,
) -> Tables:
    """Returns the rows of consecutive chunks, one table per result table, run after run.

    A table of layers of which this program defines no column is left out.

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
    _check_declared(at_measured, columns)
    tables = {"steps": _steps(run_ids, steps, measured, every_step, at_measured, columns["steps"])}
    if any(c.name in at_measured for c in columns.get("layers", ())):
        tables["layers"] = _layers(run_ids, measured, at_measured, columns["layers"])
    if "probe" in columns:
        tables["probe"] = _probe(run_ids, chunks, columns["probe"], first_probe)
    return tables


def write_parquet(table: pa.Table, path: Path) -> None:
    """Writes one file: zstd, floats split by byte, page checksums on."""
    floats = [f.name for f in table.schema if pa.types.is_floating(f.type)]
    dictionary = [f.name for f in table.schema if pa.types.is_string(f.type)]
    integers = [f.name for f in table.schema if pa.types.is_integer(f.type)]
    options: dict[str, Any] = {
        "compression": "zstd",
        "use_dictionary": dictionary,
        "column_encoding": {
            **dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
            **dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
        },
        "write_page_checksum": True,
        "store_schema": False,  # plain types in every reader; the dictionary is an encoding
    }
    with pq.ParquetWriter(path, table.schema, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(table.schema.metadata or {})


def _check_declared(
    found: Mapping[str, np.ndarray], columns: Mapping[str, Sequence[Column]]
) -> None:
    """A column that no family declares would be dropped without a word."""
    undeclared = sorted(found.keys() - {c.name for group in columns.values() for c in group})
    if undeclared:
        raise ValueError(f"A metric returns {', '.join(undeclared)}, which no COLUMNS declares.")


def _joined(chunks: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Concatenates each column along the axis of steps."""
    return {name: np.concatenate([c[name] for c in chunks], axis=1) for name in chunks[0]}


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
        if column.name in at_measured and len(measured):
            wide = np.full((n_runs, n_steps), np.nan, np.float32)
            wide[:, ~unmeasured] = at_measured[column.name]
            mask = np.broadcast_to(unmeasured, wide.shape).ravel()
            values[column.name] = pa.array(wide.ravel(), mask=mask)
    keys = {"run_id": _repeated(run_ids, n_steps), "step": np.tile(steps, n_runs)}
    return _table("steps", keys, values, columns)


def _layers(
    run_ids: Sequence[str],
    measured: np.ndarray,
    at_measured: Mapping[str, np.ndarray],
    columns: Sequence[Column],
) -> pa.Table:
    present = {c.name: at_measured[c.name] for c in columns if c.name in at_measured}
    depth = next(iter(present.values())).shape[2]
    n_runs, n_measured = len(run_ids), len(measured)
    layer = np.arange(1, depth + 1, dtype=np.int32)
    keys = {
        "run_id": _repeated(run_ids, n_measured * depth),
        "step": np.tile(np.repeat(measured, depth), n_runs),
        "layer": np.tile(layer, n_runs * n_measured),
    }
    return _table("layers", keys, present, columns)


def _probe(
    run_ids: Sequence[str],
    chunks: Sequence[Chunk],
    columns: Sequence[Column],
    first: Mapping[str, np.ndarray] | None,
) -> pa.Table:
    at = [] if first is None else [(chunks[0].span.start, first)]
    at += [(c.span.stop, c.probe) for c in chunks if c.probe is not None]
    names = at[0][1] if at else ()
    values = {name: np.stack([row[name] for _, row in at], axis=1) for name in names}
    steps = np.array([step for step, _ in at], np.int32)
    keys = {"run_id": _repeated(run_ids, len(at)), "step": np.tile(steps, len(run_ids))}
    return _table("probe", keys, values, columns)


def _table(
    name: str,
    keys: Mapping[str, Any],
    values: Mapping[str, Any],
    columns: Iterable[Column],
) -> pa.Table:
    """Columns that were not computed for this program are null."""
    schema = arrow_schema(name, list(columns))
    n = len(keys["step"])
    arrays = [_array(field, {**keys, **values}, n) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(field: pa.Field, values: Mapping[str, Any], n: int) -> pa.Array:
    if field.name not in values:
        return pa.nulls(n, field.type)
    value = values[field.name]
    flat = value if isinstance(value, pa.Array) else pa.array(np.ravel(value))
    return flat.cast(field.type)


def _repeated(run_ids: Sequence[str], times: int) -> pa.Array:
    """Each id `times` times, as plain strings (a dictionary only inside the file)."""
    codes = np.repeat(np.arange(len(run_ids), dtype=np.int32), times)
    return pa.array(list(run_ids), pa.string()).take(pa.array(codes))
