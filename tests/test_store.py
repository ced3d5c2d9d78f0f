"""Commits and recoveries: what they leave. Crashes in the middle of them are in tests/faults."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.sweeps import (
    PACK,
    RUNS,
    commit_group,
    commit_thrice,
    content,
    fake_plugins,
    lose_newest,
    make_chunk,
    make_state,
    make_store,
    read_rows,
    train_fake_pack,
    value,
)
from tfc_jax import checkpoint as checkpoints
from tfc_jax import files
from tfc_jax.checkpoint import Part
from tfc_jax.layout import Folder
from tfc_jax.parts import DamagedPart
from tfc_jax.results import open_results
from tfc_jax.stage import Stage
from tfc_jax.store import CHECKPOINT, ROWS, Contradiction
from tfc_jax.tables import write_parquet


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins(monkeypatch)


@pytest.fixture
def reference(tmp_path: Path) -> dict[str, str]:
    """What an undisturbed launch leaves."""
    train_fake_pack(tmp_path / "reference")
    return content(tmp_path / "reference")


def test_every_row_is_there_once_and_says_its_run_step_and_layer(tmp_path: Path) -> None:
    train_fake_pack(tmp_path)
    lanes = {run.run_id: lane for lane, run in enumerate(RUNS)}
    steps = read_rows(tmp_path / "steps").to_pandas()
    assert len(steps) == 3 * 40
    assert not steps.duplicated(["run_id", "step"]).any()
    lane = steps["run_id"].map(lanes)
    np.testing.assert_array_equal(steps["accuracy"], value(lane, steps["step"], 50))
    layers = read_rows(tmp_path / "layers").to_pandas()
    measured = list(range(0, 40, 3))
    assert len(layers) == 3 * len(measured) * 3
    assert not layers.duplicated(["run_id", "step", "layer"]).any()
    assert sorted(set(layers["step"])) == measured
    lane = layers["run_id"].map(lanes)
    np.testing.assert_array_equal(layers["cosine"], value(lane, layers["step"], layers["layer"]))
    probe = read_rows(tmp_path / "probe").to_pandas()
    assert len(probe) == 3 * 5
    assert sorted(set(probe["step"])) == [0, 10, 20, 30, 40]
    np.testing.assert_array_equal(
        probe["test_loss"], value(probe["run_id"].map(lanes), probe["step"], 60)
    )


def test_the_number_of_commits_changes_no_row(tmp_path: Path, reference: dict[str, str]) -> None:
    train_fake_pack(tmp_path / "often", commit_every=10)
    train_fake_pack(tmp_path / "once", commit_every=40)
    assert content(tmp_path / "often") == content(tmp_path / "once") == reference
    assert len(list((tmp_path / "often" / "steps").glob(f"{PACK}-*"))) == 4


def test_training_what_is_done_again_changes_nothing(tmp_path: Path) -> None:
    train_fake_pack(tmp_path)
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*.[pn]*")}
    train_fake_pack(tmp_path)
    after = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*.[pn]*")}
    assert after == before


def test_more_steps_continue_and_equal_one_longer_launch(tmp_path: Path) -> None:
    train_fake_pack(tmp_path / "raised", steps=20)
    train_fake_pack(tmp_path / "raised", steps=60)
    train_fake_pack(tmp_path / "long", steps=60)
    assert content(tmp_path / "raised") == content(tmp_path / "long")


def test_a_diverged_run_is_marked_with_its_first_bad_step_and_others_are_done(
    tmp_path: Path,
) -> None:
    train_fake_pack(tmp_path)
    runs = open_results(tmp_path).runs.set_index("run_id")
    assert runs["status"].to_dict() == {
        RUNS[0].run_id: "done",
        RUNS[1].run_id: "diverged",
        RUNS[2].run_id: "done",
    }
    assert runs["first_bad_step"].fillna(-1).tolist() == [-1, 25, -1]
    assert runs["lane"].tolist() == [0, 1, 2]
    assert set(runs["steps_done"]) == {40}


def test_final_values_are_those_of_the_last_step(tmp_path: Path) -> None:
    train_fake_pack(tmp_path)
    runs = open_results(tmp_path).runs
    np.testing.assert_array_equal(runs["final_accuracy"], value(np.arange(3), 39, 50))
    np.testing.assert_array_equal(runs["final_test_loss"], value(np.arange(3), 40, 60))
    assert np.isnan(runs["final_loss"].iloc[1])


def test_final_weights_are_written_without_padding(tmp_path: Path) -> None:
    train_fake_pack(tmp_path)
    weights = open_results(tmp_path).params(RUNS[2].run_id)
    expected = make_state(40)["params/layers/0/kernel"][2]
    np.testing.assert_array_equal(weights["layers/0/kernel"], expected)
    with np.load(tmp_path / "params" / f"{PACK}.npz", allow_pickle=False) as stored:
        assert stored["layers/0/kernel"].shape == (3, 2, 3)


@pytest.fixture
def committed_thrice(tmp_path: Path) -> Folder:
    return commit_thrice(tmp_path / "committed")


def test_two_checkpoints_are_kept(committed_thrice: Folder) -> None:
    names = [path.name for path in committed_thrice.checkpoints_of(PACK)]
    assert names == [f"{PACK}-000000030.npz", f"{PACK}-000000020.npz"]
    commit_group(committed_thrice.root, 30, 40, "done")
    names = [path.name for path in committed_thrice.checkpoints_of(PACK)]
    assert names == [f"{PACK}-000000040.npz", f"{PACK}-000000030.npz"]


def test_a_writer_looks_for_checkpoints_once_however_often_it_commits(
    committed_thrice: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among 60,000 packs a look takes as long as a commit."""
    looks, look = [], Folder.checkpoints_of

    def counted(folder: Folder, pack: str) -> list[Path]:
        looks.append(pack)
        return look(folder, pack)

    monkeypatch.setattr(Folder, "checkpoints_of", counted)
    train = make_store(committed_thrice)
    train.recover()
    for start, status in ((30, "running"), (40, "running"), (50, "done")):
        train.add(make_chunk(start, start + 10))
        train.commit(make_state(start + 10), 1.0, status)
    assert looks == [PACK]
    names = [path.name for path in look(committed_thrice, PACK)]
    assert names == [f"{PACK}-000000060.npz", f"{PACK}-000000050.npz"]


@pytest.mark.parametrize("damage", [lambda raw: raw[:-40], lambda raw: raw[:-1] + b"?"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(
    tmp_path: Path,
    committed_thrice: Folder,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
) -> None:
    newest = committed_thrice.checkpoint(PACK, 30)
    newest.write_bytes(damage(newest.read_bytes()))
    with caplog.at_level(logging.WARNING):
        checkpoint = make_store(committed_thrice).recover()
    assert checkpoint is not None
    assert checkpoint.step == 20
    assert str(newest) in caplog.text
    assert newest.with_suffix(".damaged").exists()
    assert set(read_rows(committed_thrice.table("steps"))["step"].to_pylist()) == set(range(20))
    assert set(read_rows(committed_thrice.table("layers"))["step"].to_pylist()) < set(range(20))


def test_a_pack_without_a_good_checkpoint_starts_again_without_doubled_rows(
    committed_thrice: Folder, tmp_path: Path
) -> None:
    for path in committed_thrice.checkpoints_of(PACK):
        path.write_bytes(b"")
    train_fake_pack(committed_thrice.root)
    train_fake_pack(tmp_path / "reference")
    assert content(committed_thrice.root) == content(tmp_path / "reference")


def test_a_pack_whose_rows_are_lost_goes_on_from_its_checkpoint_without_doubled_rows(
    committed_thrice: Folder, tmp_path: Path
) -> None:
    (committed_thrice.runs / f"{PACK}.parquet").unlink()
    checkpoint = make_store(committed_thrice).recover()
    assert checkpoint is not None
    assert checkpoint.step == 30
    train_fake_pack(committed_thrice.root)
    train_fake_pack(tmp_path / "reference")
    found, expected = content(committed_thrice.root), content(tmp_path / "reference")
    assert found == expected


def test_parts_that_no_checkpoint_covers_are_dropped(committed_thrice: Folder) -> None:
    committed_thrice.checkpoint(PACK, 30).unlink()  # as if the power went before it was durable
    checkpoint = make_store(committed_thrice).recover()
    assert checkpoint is not None
    assert checkpoint.step == 20
    for table, last in (("steps", 19), ("layers", 18), ("probe", 20)):
        assert max(read_rows(committed_thrice.table(table))["step"].to_pylist()) == last


def test_parts_are_named_in_the_checkpoint_with_their_sha256(committed_thrice: Folder) -> None:
    checkpoint = make_store(committed_thrice).recover()
    assert checkpoint is not None
    assert {path.split("/")[0] for path in checkpoint.parts} == {"steps", "layers", "probe"}
    for path, part in checkpoint.parts.items():
        assert files.sha256(committed_thrice.root / path) == part.sha256
        assert pq.read_metadata(committed_thrice.root / path).num_rows == part.rows


def test_what_a_killed_process_left_half_written_is_cleared_away(committed_thrice: Folder) -> None:
    stage = Stage.take(committed_thrice, PACK)
    for name in (f"steps-{PACK}-000000030-000000040.parquet", CHECKPOINT, ROWS):
        (stage.path / name).write_bytes(b"half")
    store = make_store(committed_thrice)
    store.recover()
    store.release()
    assert list(committed_thrice.staging.iterdir()) == []


def test_a_part_never_takes_the_place_of_another(committed_thrice: Folder) -> None:
    other = committed_thrice.table("steps") / f"{PACK}-000000030-000000040.parquet"
    store = make_store(committed_thrice)
    store.recover()
    store.add(make_chunk(30, 40))
    other.write_bytes(b"someone else's")
    with pytest.raises(DamagedPart, match="is not the file that was committed"):
        store.commit(make_state(40), 1.0, "done")
    assert other.read_bytes() == b"someone else's"


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_a_part_that_is_gone_or_altered_before_it_is_published_stops_the_pack(
    committed_thrice: Folder, damage: str
) -> None:
    published = committed_thrice.table("layers") / f"{PACK}-000000020-000000030.parquet"
    stage = Stage.take(committed_thrice, PACK)
    stage.take_in(published, f"layers-{published.name}")  # as if it had not been published
    staged = stage.path / f"layers-{published.name}"
    staged.unlink() if damage == "missing" else staged.write_bytes(b"other")
    what = "is missing" if damage == "missing" else "is not the file that was committed"
    with pytest.raises(DamagedPart, match=what):
        make_store(committed_thrice).recover()


def test_rows_that_lost_their_checkpoint_are_computed_again_in_the_same_groups(
    committed_thrice: Folder, tmp_path: Path
) -> None:
    train_fake_pack(tmp_path / "reference", commit_every=10)
    lose_newest(committed_thrice)
    train_fake_pack(committed_thrice.root, commit_every=40)  # the end at 30 is not its own
    assert content(committed_thrice.root) == content(tmp_path / "reference")
    names = [part.name for part in committed_thrice.parts_of("steps", PACK)]
    assert names[2:] == [
        f"{PACK}-000000020-000000030.parquet",
        f"{PACK}-000000030-000000040.parquet",
    ]


def test_rows_that_are_computed_again_are_not_cut_into_smaller_groups(tmp_path: Path) -> None:
    """A cadence that has become quicker would leave nothing to compare with."""
    folder = Folder(tmp_path / "out")
    train_fake_pack(folder.root, steps=20, commit_every=20)
    folder.checkpoint(PACK, 20).write_bytes(b"")
    part = folder.table("steps") / f"{PACK}-000000000-000000020.parquet"
    rows = pq.ParquetFile(part).read()
    write_parquet(rows.set_column(2, "loss", pa.array([0.5] * len(rows), pa.float32())), part)
    (folder.runs / f"{PACK}.parquet").unlink()
    with pytest.raises(Contradiction):
        train_fake_pack(folder.root, commit_every=10)


def test_rows_that_come_out_differently_stop_the_pack_and_nothing_is_lost(
    committed_thrice: Folder,
) -> None:
    lose_newest(committed_thrice)
    part = committed_thrice.table("steps") / f"{PACK}-000000020-000000030.parquet"
    rows = pq.ParquetFile(part).read()
    write_parquet(rows.set_column(2, "loss", pa.array([0.5] * len(rows), pa.float32())), part)
    for _ in range(2):  # also the second time
        with pytest.raises(Contradiction, match="differ from those that were stored before"):
            train_fake_pack(committed_thrice.root)
        assert max(read_rows(committed_thrice.table("steps"))["step"].to_pylist()) == 19
    (withdrawn,) = committed_thrice.staging.glob(f"{PACK}.*/withdrawn-steps-*")
    withdrawn.unlink()
    train_fake_pack(committed_thrice.root)
    assert len(read_rows(committed_thrice.table("steps"))) == 3 * 40
    assert list(committed_thrice.staging.iterdir()) == []


def test_the_same_rows_in_other_bytes_are_the_same(
    committed_thrice: Folder, tmp_path: Path
) -> None:
    lose_newest(committed_thrice)
    part = committed_thrice.table("steps") / f"{PACK}-000000020-000000030.parquet"
    before = part.read_bytes()
    write_parquet(pq.ParquetFile(part).read(), part, compression="none")
    assert part.read_bytes() != before
    train_fake_pack(committed_thrice.root)
    train_fake_pack(tmp_path / "reference")
    assert content(committed_thrice.root) == content(tmp_path / "reference")


@pytest.mark.parametrize(
    "name", ["../outside", "steps/../../outside", "/outside", "runs/x.parquet"]
)
def test_a_checkpoint_that_names_other_files_is_set_aside(
    committed_thrice: Folder, name: str
) -> None:
    newest = committed_thrice.checkpoint(PACK, 30)
    named = replace(checkpoints.load(newest), parts={name: Part("00", 1)})
    with files.new_file(newest) as file:
        checkpoints.save(file, named)
    store = make_store(committed_thrice)
    checkpoint = store.recover()
    assert checkpoint is not None
    assert checkpoint.step == 20
    assert "which is no part of a table" in store.notices[0]


def test_recovery_leaves_other_packs_alone(committed_thrice: Folder) -> None:
    other = committed_thrice.table("steps") / ("f" * 12 + "-000000000-000000010.parquet")
    other.write_bytes(b"another pack's")
    staged = committed_thrice.staging / f"steps-{other.name}"
    staged.write_bytes(b"another pack's")
    committed_thrice.checkpoint(PACK, 30).unlink()
    make_store(committed_thrice).recover()
    assert other.exists()
    assert staged.exists()
