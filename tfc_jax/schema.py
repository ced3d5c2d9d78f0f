"""Tables and columns: names, types, units, meanings. One place for all of them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import pyarrow as pa

from tfc_jax import registry
from tfc_jax.keys import KEYS
from tfc_jax.keytypes import Key
from tfc_jax.record import Record


@dataclass(frozen=True)
class Column:
    """One column of one table, as Parquet metadata and `tfc show --columns` describe it."""

    name: str
    table: str
    unit: str
    meaning: str
    dtype: str = "float32"


RUN_ID = Column("run_id", "*", "", "hash of the keys that differ from their defaults", "string")
STEP = Column("step", "*", "updates", "measured after this many updates; 0: initial", "int32")
LAYER = Column("layer", "*", "", "1..L from the input; layer L holds the logits", "int32")
CLASS_A = Column("class_a", "*", "", "class of one sample of a pair, from 0", "int32")
CLASS_B = Column("class_b", "*", "", "class of the other sample, from 0", "int32")
UNIT = Column("unit", "*", "", "unit of the layer, from 0", "int32")
SAMPLE = Column("sample", "*", "", "place among the shown training samples, from 0", "int32")
KEY_COLUMNS = {
    "runs": (RUN_ID,),
    "steps": (RUN_ID, STEP),
    "layers": (RUN_ID, STEP, LAYER),
    "probe": (RUN_ID, STEP),
    "probe_layers": (RUN_ID, STEP, LAYER),
    "classes": (RUN_ID, STEP, LAYER, CLASS_A, CLASS_B),
    "features": (RUN_ID, STEP, UNIT, SAMPLE),
    "cells": (RUN_ID,),
}
MOST_UNITS = 4096  # of a layer, in table features
SHOWN_PER_CLASS, SHOWN_OF_REGRESSION = 2, 20  # samples, in table features
FIRST_INDEX = {"layer": 1}  # of the axis that a key column counts; the others count from 0
PROBE_TABLES = ("probe", "probe_layers", "classes", "features")
ROW_KEYS = tuple(dict.fromkeys(column.name for keys in KEY_COLUMNS.values() for column in keys))
RESULT_TABLES = tuple(table for table in KEY_COLUMNS if table not in ("runs", "cells"))
EVERY_STEP = (
    Column("loss", "steps", "nats or squared units", "data loss of the batch, without L2"),
    Column("accuracy", "steps", "share", "share of the batch classified correctly"),
    Column("prior_entropy", "steps", "nats", "entropy of the batch's label frequencies"),
)
OUTCOMES = (
    Column("status", "runs", "", "done, diverged, running or failed", "string"),
    Column("first_bad_step", "runs", "updates", "first step of a non-finite loss", "int64"),
    Column("steps_done", "runs", "updates", "updates that are committed", "int64"),
    Column("prior_loss", "runs", "as loss", "loss of the best constant predictor", "float64"),
    Column("bayes_loss", "runs", "as loss", "least expected loss under label noise", "float64"),
    Column("built_width", "runs", "units", "width of the network as built", "int64"),
    Column("n_params", "runs", "count", "trained numbers", "int64"),
    Column("n_units", "runs", "count", "hidden units", "int64"),
    Column("units_per_param", "runs", "ratio", "n_units / n_params", "float64"),
    Column("program", "runs", "", "hash of what fixes shapes and code", "string"),
    Column("pack", "runs", "", "hash of the runs trained together", "string"),
    Column("lane", "runs", "", "place in the pack", "int64"),
    Column("schedule", "runs", "", "lockstep or mapped", "string"),
    Column("pack_width", "runs", "lanes", "lanes of the compiled program, on each chip", "int64"),
    Column("dataset_sha256", "runs", "", "fingerprint of the arrays trained on", "string"),
    Column(
        "tfc_version", "runs", "", "version of tfc_jax; several where a resume changed it", "string"
    ),
    Column(
        "jax_version", "runs", "", "version of jax; several where a resume changed it", "string"
    ),
    Column(
        "device_kind",
        "runs",
        "",
        "device that trained the run; several where a resume changed it",
        "string",
    ),
    Column("wall_s", "runs", "seconds", "time of the pack divided by its runs", "float64"),
)


def result_columns(record: Record) -> dict[str, tuple[Column, ...]]:
    """Returns the value columns of every result table that a sweep with this record writes."""
    declared = [*EVERY_STEP, *_plugin_columns("metrics", record.metrics)]
    declared += _plugin_columns("probes", record.probes)
    tables = {t: tuple(c for c in declared if c.table == t) for t in RESULT_TABLES}
    return {table: columns for table, columns in tables.items() if columns}


def run_columns(record: Record) -> tuple[Column, ...]:
    """Returns the columns of the runs table: the keys, the outcome, and final_<column>."""
    keys = [Column(k.name, "runs", k.unit, k.doc, _key_dtype(k)) for k in KEYS.values()]
    probed = [c for c in _plugin_columns("probes", record.probes) if c.table == "probe"]
    finals = [
        Column(f"final_{c.name}", "runs", c.unit, f"last value: {c.meaning}")
        for c in (*EVERY_STEP[:2], *probed)
    ]
    return (*keys, *OUTCOMES, *finals)


def _plugin_columns(package: str, names: Iterable[str]) -> list[Column]:
    return [column for name in names for column in registry.module(package, name).COLUMNS]


def _key_dtype(key: Key) -> str:
    """Returns the Arrow type name of a run key; null is a value of any of them."""
    options = key.json_schema.get("anyOf", [key.json_schema])
    kinds = {option["type"] for option in options} - {"null"}
    names = {"integer": "int64", "number": "float64", "boolean": "bool", "string": "string"}
    return names[kinds.pop()]


def arrow_schema(table: str, columns: Sequence[Column]) -> pa.Schema:
    """Returns the Arrow schema of a table: its key columns, then `columns`.

    Units and meanings are in its metadata, which tables.write_parquet puts into the file.
    """
    keys = KEY_COLUMNS[table]
    fields = [pa.field(c.name, pa.type_for_alias(c.dtype), nullable=False) for c in keys]
    fields += [pa.field(c.name, pa.type_for_alias(c.dtype)) for c in columns]
    described = [asdict(replace(c, table=table)) for c in (*keys, *columns)]
    return pa.schema(fields, metadata={"tfc_jax": json.dumps(described)})
