"""Commits: nothing is lost, doubled or half written, wherever a crash falls."""

import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sweeps import (
    PACK,
    RUNS,
    content,
    fake_plugins,
    make_chunk,
    make_state,
    make_store,
    read_rows,
    train_fake_pack,
    value,
)
from tfc_jax import files, store
from tfc_jax.layout import Folder
from tfc_jax.results import open_results
from tfc_jax.task import Task


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins(monkeypatch)


@pytest.fixture
def reference(tmp_path: Path) -> dict[str, str]:
    """What an undisturbed launch leaves."""
    train_fake_pack(tmp_path / "reference")
    return content(tmp_path / "reference")


class Crashing:
    """Counts the calls that change the disk, and ends the process before number `at`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls, self.at = 0, 0
        for name in ("replace", "fsync"):
            self._wrap(patch, os, name)
        for name in ("mkdir", "unlink", "rename"):
            self._wrap(patch, Path, name)
        self._wrap(
            patch, store, "write_parquet", half=lambda table, path, **_: path.write_bytes(b"PA")
        )
        self._wrap(patch, np, "savez", half=lambda path, **_: _write_half(path))

    def _wrap(
        self,
        patch: pytest.MonkeyPatch,
        owner: Any,
        name: str,
        half: Callable[..., object] = lambda *_, **__: None,
    ) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.at and self.calls >= self.at:
                half(*args, **kwargs)
                raise Crash
            return original(*args, **kwargs)

        patch.setattr(owner, name, wrapped)

    def during(self, at: int, launch: Callable[[], None]) -> bool:
        """Launches, crashing at call `at` (0: never); returns whether it crashed."""
        self.calls, self.at = 0, at
        try:
            launch()
        except Crash:
            return True
        finally:
            self.at = 0
        return False


def _write_half(path: Any) -> None:
    if isinstance(path, Path):  # not the buffer in memory of a checkpoint
        path.write_bytes(b"PK")


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Crashing]:
    with monkeypatch.context() as patch:
        yield Crashing(patch)


def test_a_crash_before_any_change_to_the_disk_loses_and_doubles_nothing(
    tmp_path: Path, reference: dict[str, str], crashing: Crashing
) -> None:
    for at in count(1):
        launch = partial(train_fake_pack, tmp_path / str(at))
        if not crashing.during(at, launch):
            break
        launch()
        assert content(tmp_path / str(at)) == reference, f"crash before change {at}"
    assert at > 60  # 2 commits of 3 parts, a checkpoint and rows, after 4 empty parts


def test_crashes_during_recovery_lose_and_double_nothing(
    tmp_path: Path, reference: dict[str, str], crashing: Crashing
) -> None:
    rng, crashes = np.random.default_rng(0), 0
    for attempt in range(12):
        launch = partial(train_fake_pack, tmp_path / str(attempt), commit_every=10)
        while crashing.during(int(rng.integers(10, 40)), launch):
            crashes += 1
        assert content(tmp_path / str(attempt)) == reference
    assert crashes > 3 * 12


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


def commit_group(out: Path, start: int, stop: int, status: str = "running") -> None:
    """Commits steps start..stop-1 of a pack that may have earlier ones."""
    train = make_store(Folder(out))
    train.recover()
    train.add(make_chunk(start, stop))
    train.commit(make_state(stop), 1.0, status)


@pytest.fixture
def committed_thrice(tmp_path: Path) -> Folder:
    """Commits of 10 steps each at 10, 20 and 30 of 40 steps."""
    folder = Folder(tmp_path / "committed")
    folder.root.mkdir()
    store.create(folder, make_store(folder).record)
    make_store(folder).write_runs("running", 0, 0.0)
    for stop in (10, 20, 30):
        commit_group(folder.root, stop - 10, stop)
    return folder


def test_two_checkpoints_are_kept_while_running_and_one_when_done(
    committed_thrice: Folder,
) -> None:
    names = [path.name for path in committed_thrice.checkpoints_of(PACK)]
    assert names == [f"{PACK}-000000030.npz", f"{PACK}-000000020.npz"]
    commit_group(committed_thrice.root, 30, 40, "done")
    names = [path.name for path in committed_thrice.checkpoints_of(PACK)]
    assert names == [f"{PACK}-000000040.npz"]


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
    for table in ("steps", "layers", "weights"):  # these commits have no probe at step 0
        assert found[table] == expected[table]


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
    for path, digest in checkpoint.parts.items():
        assert files.sha256(committed_thrice.root / path) == digest


def test_what_a_killed_process_left_half_written_is_cleared_away(committed_thrice: Folder) -> None:
    leftovers = [
        committed_thrice.staging / f"steps-{PACK}-000000030-000000040.parquet",
        committed_thrice.staging / f"runs-{PACK}-rows.parquet",
        committed_thrice.checkpoints / f".{PACK}-000000040.npz.4711",
    ]
    for path in leftovers:
        path.write_bytes(b"half")
    make_store(committed_thrice).recover()
    assert not [path for path in leftovers if path.exists()]


def test_recovery_leaves_other_packs_alone(committed_thrice: Folder) -> None:
    other = committed_thrice.table("steps") / ("f" * 12 + "-000000000-000000010.parquet")
    other.write_bytes(b"another pack's")
    staged = committed_thrice.staging / f"steps-{other.name}"
    staged.write_bytes(b"another pack's")
    committed_thrice.checkpoint(PACK, 30).unlink()
    make_store(committed_thrice).recover()
    assert other.exists()
    assert staged.exists()


def failed_task(folder: Folder) -> Task:
    return Task(
        out=str(folder.root),
        pack=PACK,
        program="fakefake",
        runs=RUNS,
        width=4,
        schedule="mapped",
        record=make_store(folder).record,
        steps=40,
    )


def test_a_failed_pack_keeps_what_it_committed(committed_thrice: Folder) -> None:
    store.mark_failed(failed_task(committed_thrice))
    runs = open_results(committed_thrice.root).runs
    assert set(runs["status"]) == {"failed"}
    assert set(runs["steps_done"]) == {30}
    assert set(runs["prior_loss"]) == {2.0}  # a fact of the launch that failed
    assert len(read_rows(committed_thrice.table("steps"))) == 3 * 30


def test_a_pack_that_failed_before_its_first_commit_has_rows_too(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    store.create(folder, make_store(folder).record)
    store.mark_failed(failed_task(folder))
    runs = open_results(tmp_path).runs
    assert runs["run_id"].tolist() == [run.run_id for run in RUNS]
    assert set(runs["status"]) == {"failed"}
    assert set(runs["pack_width"]) == {4}
