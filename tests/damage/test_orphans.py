"""Packs that share runs, packs that no row speaks of, and what does not belong into a table."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.damage.conftest import RECORD
from tests.sweeps import content, make_sweep, train
from tfc_jax import fsck, orphans
from tfc_jax.config import Sweep
from tfc_jax.errors import InputError
from tfc_jax.layout import Folder, pack_of
from tfc_jax.results import open_results


def packs(folder: Folder) -> set[str]:
    return {pack for pack in map(pack_of, folder.runs.iterdir()) if pack}


def delete(folder: Folder, pack: str) -> None:
    """All files whose names begin with the id, as a message says."""
    for path in list(folder.root.rglob(f"{pack}*")):
        path.unlink()


@pytest.fixture
def twice(folder: Folder, sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> tuple[str, set[str]]:
    """Cuts all runs anew, as an earlier version did that had lost sight of the rows of a pack.

    Returns:
      that pack, whose rows are lost, and those that have its runs too.
    """
    lost = sorted(packs(folder))[0]
    rows = folder.runs / f"{lost}.parquet"
    rows.rename(folder.root.parent / rows.name)
    before = packs(folder)
    with monkeypatch.context() as patch:
        patch.setattr(orphans, "unplanned", lambda *_: ())
        train(sweep, folder.root, width=2)
    return lost, packs(folder) - before


def test_packs_with_rows_that_share_a_run_are_named(
    folder: Folder, sweep: Sweep, trained: Path, twice: tuple[str, set[str]]
) -> None:
    lost, others = twice
    shutil.copy(folder.root.parent / f"{lost}.parquet", folder.runs)  # found in a copy, say
    (found,) = fsck.check(folder).damage
    assert found.path == folder.runs
    assert "a run_id comes twice" in found.what
    assert lost in found.what
    assert any(other in found.what for other in others)
    assert "delete all files whose names begin with one of these ids" in found.what
    assert not found.remedy  # it is not the whole table that is to be deleted
    with pytest.raises(InputError, match="a run_id comes twice"):
        _ = open_results(folder.root).runs
    delete(folder, lost)
    assert fsck.check(folder).findings == ()
    assert content(folder.root)["steps"] == content(trained)["steps"]


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_a_pack_without_rows_whose_runs_others_have_is_not_to_be_trained_again(
    folder: Folder, sweep: Sweep, twice: tuple[str, set[str]], has_checkpoint: bool
) -> None:
    lost, _ = twice
    if not has_checkpoint:
        for path in folder.checkpoints_of(lost):
            path.unlink()
    report = fsck.check(folder)
    assert report.lost == ()
    assert "train again" not in report.summary(folder)
    assert any(f"delete all files whose names begin with {lost}" in str(f) for f in report.damage)
    delete(folder, lost)
    assert fsck.check(folder).findings == ()
    assert train(sweep, folder.root, width=2) == {"done": 6}


def runs_of(folder: Folder, pack: str) -> set[str]:
    return set(pq.read_table(folder.parts_of("steps", pack)[0])["run_id"].to_pylist())


def test_where_no_pack_has_rows_those_are_named_that_share_runs_with_others(
    folder: Folder, twice: tuple[str, set[str]]
) -> None:
    """No launch would go on with all of them."""
    every = {pack: runs_of(folder, pack) for pack in packs(folder) | {twice[0]}}
    for pack in packs(folder):
        (folder.runs / f"{pack}.parquet").unlink()
    named = {pack_of(one.path) or "" for one in fsck.check(folder).damage}
    kept = [every[pack] for pack in every.keys() - named]
    assert named
    assert len(set[str]().union(*kept)) == sum(map(len, kept))
    assert all(any(every[pack] & runs for runs in kept) for pack in named)
    for pack in named:
        delete(folder, pack)
    assert fsck.check(folder).damage == []


def test_rows_in_a_folder_in_a_table_are_refused(
    folder: Folder, sweep: Sweep, tmp_path: Path
) -> None:
    """Pandas reads them with the table."""
    part = next(path for path in folder.table("steps").iterdir() if pack_of(path))
    (folder.table("steps") / "old" / "er").mkdir(parents=True)
    shutil.copy(part, folder.table("steps") / "old" / "er")
    for fresh in (False, True):
        with pytest.raises(InputError, match="steps/old"):
            train(sweep, folder.root, fresh=fresh)
    (folder.table("steps") / "old").rename(tmp_path / "old")
    assert train(make_sweep(tmp_path, record=RECORD), folder.root) == {"done": 6}


def test_a_stray_that_has_no_rows_is_told_by_a_launch(
    folder: Folder, sweep: Sweep, caplog: pytest.LogCaptureFixture
) -> None:
    stray = folder.table("layers") / "my.csv"
    stray.write_text("1,2\n")
    assert train(sweep, folder.root) == {"done": 6}
    what = "is no part of this table, but read with it. Move it away"
    assert caplog.messages == [f"{stray} {what}. `tfc fsck {folder.root}` says more."]
