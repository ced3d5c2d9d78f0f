"""Parquet as any reader sees it: plain types, nulls apart from NaN, units inside, checksums."""

import json
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from tests.sweeps import (
    PACK,
    RECORD,
    RUNS,
    fake_plugins,
    make_chunk,
    make_probe,
    train_fake_pack,
    value,
)
from tfc_jax.chunk import Chunk
from tfc_jax.folder_tables import create
from tfc_jax.layout import Folder
from tfc_jax.schema import Column, result_columns
from tfc_jax.tables import Tables, group_tables, write_parquet

IDS = [run.run_id for run in RUNS]
READ_TABLES = ("runs", "steps", "layers", "probe")


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins(monkeypatch)


def tables(*spans: tuple[int, int], with_first_probe: bool = False) -> Tables:
    chunks = [make_chunk(*span) for span in spans]
    first = make_probe(spans[0][0]) if with_first_probe else None
    return group_tables(chunks, IDS, result_columns(RECORD), first)


def test_metrics_of_unmeasured_steps_are_null_and_of_measured_ones_are_not() -> None:
    steps = tables((10, 20))["steps"]
    is_measured = [step % 3 == 0 for step in steps["step"].to_pylist()]
    assert steps["norm"].is_valid().to_pylist() == is_measured
    assert steps["loss"].null_count == 0


def test_nan_is_kept_apart_from_null() -> None:
    steps = tables((20, 30))["steps"]
    loss = steps["loss"].combine_chunks()
    assert loss.null_count == 0
    assert np.isnan(loss.to_numpy()).sum() == 5  # run 1, steps 25..29
    chunk = make_chunk(20, 30)
    chunk.measured["norm"][0, 0] = np.nan  # run 0, step 21
    measured = group_tables([chunk], IDS, result_columns(RECORD), None)["steps"]
    norms = measured["norm"].to_pylist()
    assert np.isnan(norms[1])
    assert norms[0] is None


def test_a_column_that_was_not_computed_is_null() -> None:
    layers = tables((0, 10))["layers"]
    assert layers["undefined"].null_count == layers.num_rows > 0
    assert tables((0, 10))["steps"]["prior_entropy"].null_count == 3 * 10


def test_layers_count_from_one_and_steps_ascend_within_each_run() -> None:
    layers = tables((0, 10), (10, 20))["layers"].to_pandas()
    assert layers["run_id"].tolist() == [run_id for run_id in IDS for _ in range(7 * 3)]
    first = layers[layers["run_id"] == IDS[0]]
    assert first["step"].tolist() == [step for step in range(0, 20, 3) for _ in range(3)]
    assert first["layer"].tolist() == [1, 2, 3] * 7


def test_layers_on_which_a_column_is_not_defined_are_null_and_its_nan_stays() -> None:
    chunk = make_chunk(0, 10)
    partly = np.ma.masked_all(chunk.measured["cosine"].shape, np.float32)
    partly[..., 1:] = chunk.measured["cosine"][..., 1:]
    partly[0, 0, 2] = np.nan
    chunk.measured["undefined"] = partly
    rows = group_tables([chunk, make_partial(10, 20)], IDS, result_columns(RECORD), None)["layers"]
    values = rows["undefined"].combine_chunks()
    assert values.is_null().to_pylist() == [layer == 1 for layer in rows["layer"].to_pylist()]
    # NaN where it was computed and not a number: run 0, step 0, layer 3.
    assert np.isnan(values.drop_null().to_numpy()).nonzero()[0].tolist() == [1]


def make_partial(start: int, stop: int) -> Chunk:
    """A chunk whose column `undefined` is that of `cosine`, but on layer 1."""
    chunk = make_chunk(start, stop)
    chunk.measured["undefined"] = np.ma.masked_all(chunk.measured["cosine"].shape, np.float32)
    chunk.measured["undefined"][..., 1:] = chunk.measured["cosine"][..., 1:]
    return chunk


def test_every_axis_of_a_probe_is_a_key_of_its_table() -> None:
    columns = {
        "steps": (),
        "classes": (Column("class_cos", "classes", "", "of a pair of classes"),),
        "features": (Column("feature", "features", "", "of a unit and a sample"),),
    }
    rng = np.random.default_rng(0)
    chunks = [replace(make_chunk(a, a + 10), measured={}, probe=None) for a in (0, 10)]
    arrays = {"class_cos": (3, 3, 2, 2), "feature": (3, 4, 5)}
    probes = [
        {name: rng.random(shape).astype(np.float32) for name, shape in arrays.items()}
        for _ in range(3)
    ]
    chunks = [replace(c, probe=probe) for c, probe in zip(chunks, probes[1:], strict=True)]
    found = group_tables(chunks, IDS, columns, probes[0])
    for row in found["classes"].to_pylist():
        run, look = IDS.index(row["run_id"]), row["step"] // 10
        index = (run, row["layer"] - 1, row["class_a"], row["class_b"])
        assert row["class_cos"] == probes[look]["class_cos"][index]
    for row in found["features"].to_pylist():
        run, look = IDS.index(row["run_id"]), row["step"] // 10
        assert row["feature"] == probes[look]["feature"][run, row["unit"], row["sample"]]
    assert found["classes"].num_rows == 3 * 3 * 3 * 2 * 2
    assert found["features"].num_rows == 3 * 3 * 4 * 5


def test_a_span_without_a_measured_step_has_losses_and_no_layers() -> None:
    found = tables((1, 3))
    assert found["steps"].num_rows == 3 * 2
    assert found["steps"]["norm"].null_count == 3 * 2
    assert found["layers"].num_rows == 0


def test_a_program_that_defines_no_layer_metric_has_no_layer_rows() -> None:
    chunk = make_chunk(0, 10)
    del chunk.measured["cosine"]
    assert "layers" not in group_tables([chunk], IDS, result_columns(RECORD), None)


def test_probes_are_dated_by_the_steps_done_before_them() -> None:
    probe = tables((0, 10), (10, 20), with_first_probe=True)["probe"].to_pandas()
    assert probe[probe["run_id"] == IDS[2]]["step"].tolist() == [0, 10, 20]
    assert "probe" not in tables((10, 15))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    train_fake_pack(tmp_path)
    return tmp_path


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.parquet"))


def test_every_file_says_the_unit_and_meaning_of_every_column(finished: Path) -> None:
    for part in parts(finished):
        schema = pq.read_schema(part)
        described = json.loads(schema.metadata[b"tfc_jax"])
        assert [column["name"] for column in described] == schema.names, part
        assert {column["table"] for column in described} == {part.parent.name}
    units = {c["name"]: c["unit"] for c in described}
    assert units["step"] == "updates"
    assert units["loss"] == "nats or squared units"


def test_types_are_plain_in_every_reader(finished: Path) -> None:
    part = finished / "layers" / f"{PACK}-000000000-000000020.parquet"
    kinds = {"run_id": "string", "step": "int32", "layer": "int32", "cosine": "float"}
    found = {field.name: str(field.type) for field in pq.read_schema(part)}
    assert found == kinds | {"undefined": "float"}
    assert [str(t) for t in pl.read_parquet_schema(part).values()] == [
        "String", "Int32", "Int32", "Float32", "Float32",
    ]  # fmt: skip
    described = duckdb.connect().execute(f"describe from '{part}'").fetchall()
    assert [row[1] for row in described] == ["VARCHAR", "INTEGER", "INTEGER", "FLOAT", "FLOAT"]
    assert pd.read_parquet(part).dtypes.astype(str).tolist()[1:4] == ["int32", "int32", "float32"]


def assert_readable_in_one_line(folder: Path, table: str, n_rows: int) -> None:
    assert len(pd.read_parquet(folder / table)) == n_rows
    query = f"from '{folder}/{table}/*.parquet'"
    assert len(duckdb.connect().execute(query).fetchall()) == n_rows
    assert pl.scan_parquet(f"{folder}/{table}/*.parquet").collect().height == n_rows


@pytest.mark.parametrize("table", READ_TABLES)
def test_one_line_reads_a_table_before_its_first_commit(tmp_path: Path, table: str) -> None:
    create(Folder(tmp_path), RECORD)
    assert_readable_in_one_line(tmp_path, table, 0)


@pytest.mark.parametrize("table", READ_TABLES)
def test_one_line_reads_all_rows_of_a_finished_table(finished: Path, table: str) -> None:
    rows = {"runs": 3, "steps": 3 * 40, "layers": 3 * 14 * 3, "probe": 3 * 5}
    assert_readable_in_one_line(finished, table, rows[table])


def test_a_flipped_byte_in_a_page_is_detected(finished: Path) -> None:
    part = finished / "steps" / f"{PACK}-000000000-000000020.parquet"
    whole = pq.read_table(part, page_checksum_verification=True)
    assert whole.num_rows == 3 * 20
    column = pq.ParquetFile(part).metadata.row_group(0).column(2)
    raw = bytearray(part.read_bytes())
    raw[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    part.write_bytes(raw)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(part, page_checksum_verification=True)


def test_row_groups_say_which_runs_and_steps_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfc_jax.tables.ROW_GROUP", 10)
    write_parquet(tables((0, 20))["steps"], tmp_path / "part")
    file = pq.ParquetFile(tmp_path / "part").metadata
    found = []
    for group in map(file.row_group, range(file.num_row_groups)):
        run, step = group.column(0).statistics, group.column(1).statistics
        found.append((run.min, run.max, step.min, step.max))
        assert not group.column(2).is_stats_set
    assert found == [(i, i, *steps) for i in IDS for steps in ((0, 9), (10, 19))]


def test_metrics_of_every_step_are_stored_without_a_null() -> None:
    chunks = [every_step_measured(*span) for span in ((0, 4), (4, 9))]
    steps = group_tables(chunks, IDS, result_columns(RECORD), None)["steps"]
    assert steps["norm"].null_count == 0
    lane = np.repeat(np.arange(3), 9)
    assert steps["norm"].to_pylist() == value(lane, np.tile(np.arange(9), 3), 7).tolist()


def every_step_measured(start: int, stop: int) -> Chunk:
    return make_chunk(start, stop, record=replace(RECORD, every=1))


def test_writing_the_same_rows_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_parquet(tables((0, 10))["layers"], tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_a_column_that_no_family_declares_is_refused() -> None:
    chunk = make_chunk(0, 10)
    chunk.measured["cosnie"] = chunk.measured["cosine"]
    with pytest.raises(ValueError, match="returns cosnie, which no COLUMNS declares"):
        group_tables([chunk], IDS, result_columns(RECORD), None)


@pytest.mark.parametrize(("table", "compression"), [("runs", "UNCOMPRESSED"), ("steps", "ZSTD")])
def test_rows_are_compressed_but_for_the_few_of_a_pack(
    finished: Path, table: str, compression: str
) -> None:
    for part in (finished / table).glob(f"{PACK}*.parquet"):
        group = pq.ParquetFile(part).metadata.row_group(0)
        columns = [group.column(i) for i in range(group.num_columns)]
        assert {column.compression for column in columns} == {compression}
