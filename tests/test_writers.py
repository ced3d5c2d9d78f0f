"""Writers of one pack: one at a time, each with its epoch; and packs that have failed."""

from pathlib import Path

import pytest

from tests.sweeps import (
    PACK,
    RUNS,
    commit_group,
    commit_thrice,
    fake_plugins,
    fake_task,
    lose_newest,
    make_store,
    read_rows,
    train_fake_pack,
)
from tfc_jax import checkpoint as checkpoints
from tfc_jax import files, folder_tables
from tfc_jax.checkpoint import Checkpoint
from tfc_jax.layout import Folder
from tfc_jax.pack_stores import mark_failed
from tfc_jax.results import open_results
from tfc_jax.stage import Fenced, Stage


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins(monkeypatch)


@pytest.fixture
def committed_thrice(tmp_path: Path) -> Folder:
    return commit_thrice(tmp_path / "committed")


def test_no_two_writers_have_the_same_folder(committed_thrice: Folder) -> None:
    """Else one that was replaced twice could write again as the third."""
    Stage.take(committed_thrice, PACK).close()
    first = Stage.take(committed_thrice, PACK)
    Stage.take(committed_thrice, PACK).close()
    third = Stage.take(committed_thrice, PACK)
    assert first.epoch == third.epoch
    with pytest.raises(Fenced):
        first.sync()


def test_two_writers_that_begin_together_are_never_both_let_in(
    committed_thrice: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = files.make_new_folder

    def also(path: Path) -> None:
        original(path)
        original(committed_thrice.stage(PACK, 1, "ffffffff"))

    for left in committed_thrice.stages_of(PACK):
        left.rmdir()
    monkeypatch.setattr(files, "make_new_folder", also)
    with pytest.raises(Fenced):
        Stage.take(committed_thrice, PACK)


def test_a_writer_that_was_replaced_takes_no_checkpoint_away(
    committed_thrice: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_newest(committed_thrice)
    load, others = checkpoints.load, iter([lambda: train_fake_pack(committed_thrice.root)])

    def replaced(path: Path) -> Checkpoint:
        try:
            return load(path)
        finally:
            next(others, lambda: None)()  # all that another does, between reading and renaming

    monkeypatch.setattr(checkpoints, "load", replaced)
    with pytest.raises(Fenced):
        make_store(committed_thrice).recover()
    assert load(committed_thrice.checkpoint(PACK, 40)).step == 40
    assert load(committed_thrice.checkpoint(PACK, 30)).step == 30


def test_each_writer_has_a_higher_epoch(committed_thrice: Folder) -> None:
    epochs = [checkpoints.load(p).epoch for p in committed_thrice.checkpoints_of(PACK)]
    assert epochs[0] == epochs[1] + 1  # newest first
    store = make_store(committed_thrice)
    store.recover()
    store.release()  # its folder is gone, and with it the epoch in the name
    commit_group(committed_thrice.root, 30, 40, "done")
    assert checkpoints.load(committed_thrice.checkpoint(PACK, 40)).epoch > epochs[0]


def test_a_failed_pack_keeps_what_it_committed(committed_thrice: Folder) -> None:
    mark_failed(fake_task(committed_thrice))
    runs = open_results(committed_thrice.root).runs
    assert set(runs["status"]) == {"failed"}
    assert set(runs["steps_done"]) == {30}
    assert set(runs["prior_loss"]) == {2.0}  # a fact of the launch that failed
    assert len(read_rows(committed_thrice.table("steps"))) == 3 * 30


def test_a_pack_with_a_damaged_part_fails_and_stays_as_it_is(committed_thrice: Folder) -> None:
    part = committed_thrice.table("layers") / f"{PACK}-000000020-000000030.parquet"
    part.unlink()
    others = set(committed_thrice.root.rglob("*.parquet"))
    mark_failed(fake_task(committed_thrice))
    runs = open_results(committed_thrice.root).runs
    assert set(runs["status"]) == {"failed"}
    assert set(runs["steps_done"]) == {30}
    assert set(committed_thrice.root.rglob("*.parquet")) == others


def test_a_pack_that_failed_before_its_first_commit_has_rows_too(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder_tables.create(folder, make_store(folder).record)
    mark_failed(fake_task(folder))
    runs = open_results(tmp_path).runs
    assert runs["run_id"].tolist() == [run.run_id for run in RUNS]
    assert set(runs["status"]) == {"failed"}
    assert set(runs["pack_width"]) == {4}
