"""The rows that are wanted, all of them and no others, from no more of the files than needed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.sweeps import PACK, RUNS, fake_plugins, train_fake_pack
from tfc_jax import expression
from tfc_jax.errors import InputError
from tfc_jax.keys import Run
from tfc_jax.layout import Folder
from tfc_jax.results import Results, open_results
from tfc_jax.tables import parquet_options

OTHER = tuple(Run(seed=s, depth=3, learning_rate=0.5, n_train=100, steps=40) for s in range(3))
IDS = [run.run_id for run in RUNS]
KEYS = ["seed", "learning_rate", "n_train", "status", "activation"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Two packs of three runs, each with a part of steps 0..19 and one of 20..39."""
    fake_plugins(monkeypatch)
    train_fake_pack(tmp_path)
    train_fake_pack(tmp_path, runs=OTHER)
    return Folder(tmp_path)


@pytest.fixture
def results(folder: Folder) -> Results:
    return open_results(folder.root)


@pytest.mark.parametrize(
    "where",
    [
        "seed == 2 and step < 30 and layer != 2",
        "(seed == 2 or step < 10) and learning_rate < 0.1",
        "not (seed == 2 and step < 10)",
        "step >= 18 and (n_train == null or status == 'diverged' or layer == 1)",
        f"run_id == '{IDS[0]}' or cosine > 103000 and activation == 'relu'",
        "3 <= step < 21 and step in [6, 9, 21]",
        "undefined == null and true and step == 39",
        "cosine < 0",
    ],
)
def test_conditions_choose_the_rows_of_which_they_hold(results: Results, where: str) -> None:
    everything = results.layers(config=KEYS)
    names = {*everything.columns}
    expected = everything[expression.parse(where, names).mask(everything)]
    found = results.layers(where, config=KEYS)
    pd.testing.assert_frame_equal(found, expected.reset_index(drop=True))


def test_a_part_whose_steps_the_condition_excludes_is_not_opened(
    folder: Folder, results: Results
) -> None:
    for part in folder.table("layers").glob("*-000000020-*"):
        part.write_bytes(b"nobody looks at this")
    assert len(results.layers("step < 20 and seed >= 0")) == 6 * 7 * 3
    with pytest.raises(InputError, match="not a parquet file"):
        results.layers("step < 21 and seed >= 0")


def test_a_probe_after_the_last_step_of_a_part_is_found(results: Results) -> None:
    assert set(results.probe("step == 20 or step == 40")["step"]) == {20, 40}
    assert len(results.probe("step == 40")) == 6


def in_groups(part: Path, rows: int) -> pq.FileMetaData:
    """Writes a part again, in row groups of this many rows."""
    table = pq.read_table(part, partitioning=None)
    pq.write_table(table, part, row_group_size=rows, **parquet_options(table.schema))
    return pq.ParquetFile(part).metadata


def damage(part: Path, group: int) -> None:
    """Flips a bit of the losses of a row group, which only who reads it notices."""
    column = pq.ParquetFile(part).metadata.row_group(group).column(2)
    raw = bytearray(part.read_bytes())
    raw[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    part.write_bytes(raw)


@pytest.mark.parametrize("where", [f"run_id != '{IDS[1]}'", "step < 10 or step >= 15"])
def test_row_groups_without_a_wanted_run_or_step_are_not_read(
    folder: Folder, results: Results, where: str
) -> None:
    part = folder.parts_of("steps", PACK)[0]
    assert in_groups(part, 5).num_row_groups == 3 * 20 // 5
    everything = results.steps(config=["seed"])
    expected = everything[expression.parse(where, {"run_id", "step"}).mask(everything)]
    damaged = [7] if "run_id" in where else [2, 6, 10]  # run 1 has groups 4..7; steps 10..14
    for group in damaged:
        damage(part, group)
    found = results.steps(where, config=["seed"])
    pd.testing.assert_frame_equal(found, expected.reset_index(drop=True))
    with pytest.raises(InputError, match="CRC"):
        results.steps()


def test_a_damaged_row_group_is_noticed_where_its_rows_are_wanted(
    folder: Folder, results: Results
) -> None:
    part = folder.parts_of("steps", PACK)[0]
    in_groups(part, 5)
    damage(part, 4)
    for where in (f"run_id == '{IDS[1]}'", "step == 0", "step == 4", "step < 1 and seed == 1"):
        with pytest.raises(InputError, match="CRC"):
            results.steps(where)


def test_run_ids_behave_like_texts(results: Results) -> None:
    frame = results.steps(columns=["loss"], config=["seed"])
    assert str(frame["run_id"].dtype) in ("str", "string")
    assert frame["run_id"].iloc[0] in IDS + [run.run_id for run in OTHER]
    assert (frame["run_id"] == IDS[0]).sum() == 40
    assert frame["run_id"].isin(IDS).sum() == 3 * 40
    assert frame.groupby("run_id")["step"].max().to_dict() == dict.fromkeys(
        results.runs["run_id"], 39
    )
    merged = frame.merge(results.runs[["run_id", "depth"]], on="run_id", how="left")
    assert merged["depth"].tolist() == [3] * 6 * 40
    assert sorted(frame["run_id"].unique()) == sorted(results.runs["run_id"])


def test_a_frame_may_be_changed(results: Results) -> None:
    """Also one that comes from a single part, of which Arrow could lend its own memory."""
    frame = results.layers(f"run_id == '{IDS[0]}' and step < 20", ["cosine"])
    frame["cosine"] += 1
    frame.loc[0, "step"] = -1
    frame["cosine"].to_numpy()[0] = 5
    assert frame["cosine"].iloc[0] == 5


def test_a_condition_of_other_kinds_is_refused_also_where_no_run_is_left(results: Results) -> None:
    with pytest.raises(InputError, match="does not compare"):
        results.steps("seed == 99 and step == 'first'")


def test_rows_of_a_run_come_as_stored(results: Results) -> None:
    rows = results.arrow("steps", IDS[1])
    assert rows["run_id"].to_pylist() == [IDS[1]] * 40
    assert str(rows.schema.field("run_id").type) == "string"
    assert rows["step"].to_pylist() == list(range(40))
    assert rows["loss"].null_count == 0
    assert np.isnan(rows["loss"].to_numpy()).sum() == 15
