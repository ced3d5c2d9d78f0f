"""A launch adds nothing to damaged results; what `tfc fsck` says to do about damage mends it."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.damage.conftest import RECORD
from tests.sweeps import content, make_sweep, train, write_sealed
from tfc_jax import fsck, manifest, parts, refusal
from tfc_jax.config import Sweep
from tfc_jax.errors import InputError
from tfc_jax.folder_tables import gather_runs
from tfc_jax.layout import Folder, pack_of
from tfc_jax.results import open_results
from tfc_jax.status import read_status
from tfc_jax.untrusted import DamagedFile


def flip(path: Path) -> Path:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    return path


def garble(path: Path) -> Path:
    path.write_bytes(b"\xff not what was written \xff")
    return path


def first(folder: Folder, table: str) -> Path:
    return min(path for path in (folder.root / table).glob("*.*") if pack_of(path))


def damage(folder: Folder) -> list[Path]:
    return [one.path for one in fsck.check(folder).damage]


@pytest.mark.parametrize("table", ["layers", "params"])
def test_a_bit_that_flipped_in_a_pack_that_is_done_is_noticed_by_every_launch(
    folder: Folder, sweep: Sweep, tmp_path: Path, table: str
) -> None:
    flipped = flip(first(folder, table))
    for asked in (sweep, make_sweep(tmp_path, record=RECORD, seeds=6)):
        with pytest.raises(InputError, match="damaged, so nothing is added") as refused:
            train(asked, folder.root)
        assert str(flipped) in str(refused.value)


@pytest.mark.parametrize("width", [4, 2])
def test_a_launch_that_cuts_runs_anew_doubles_no_rows(
    folder: Folder, sweep: Sweep, width: int
) -> None:
    """What is known of how they were cut is gone, with the rows of their packs."""
    for rows in filter(pack_of, list(folder.runs.iterdir())):
        rows.unlink()
    before = sorted(path for path in folder.root.rglob("*") if path != folder.lock)
    with pytest.raises(InputError, match=r"neither in the runs table nor planned.*may come to st"):
        train(sweep, folder.root, width=width)
    assert sorted(path for path in folder.root.rglob("*") if path != folder.lock) == before
    assert train(sweep, folder.root) == {"done": 6}  # cut as before
    assert damage(folder) == []


def test_rows_under_another_name_are_no_rows(folder: Folder, sweep: Sweep) -> None:
    rows = first(folder, "runs")
    rows.rename(rows.with_name(f"{rows.name}.bak"))
    with pytest.raises(InputError, match="neither in the runs table nor planned"):
        train(sweep, folder.root, width=2)
    assert train(sweep, folder.root) == {"done": 6}  # cut as before
    assert damage(folder) == [rows.with_name(f"{rows.name}.bak")]


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("depth", 7, "the keys of run .* are those of run"),
        ("run_id", "0123456789ab", "the keys of run '0123456789ab' are those of run"),
    ],
)
@pytest.mark.parametrize("row", [0, 2])
def test_a_row_that_names_another_run_is_damage(
    folder: Folder, sweep: Sweep, column: str, value: object, told: str, row: int
) -> None:
    """Its run would be trained again, and stand twice."""
    rows = first(folder, "runs")
    change(rows, column, row, value)
    with pytest.raises(InputError, match=told):
        train(sweep, folder.root)
    (found,) = fsck.check(folder).damage
    assert found.path == rows
    assert re.search(told, found.what)
    rows.unlink()  # as the finding says
    assert "Delete it" in found.remedy
    assert train(sweep, folder.root) == {"done": 6}
    assert fsck.check(folder).findings == ()


@pytest.mark.parametrize("name", [b"learning_rate", b"final_test_loss"])
def test_a_bit_that_flipped_in_the_name_of_a_column_is_noticed(
    folder: Folder, sweep: Sweep, name: bytes
) -> None:
    rows = first(folder, "runs")
    content = rows.read_bytes()
    assert content.count(name) > 1
    rows.write_bytes(content.replace(name, bytes([name[0] ^ 1]) + name[1:]))
    with pytest.raises(InputError, match="its footer and pages are not those that were written"):
        train(sweep, folder.root)
    assert damage(folder) == [rows]
    with pytest.raises(InputError, match="its footer and pages are not those that were written"):
        _ = open_results(folder.root).runs


@pytest.mark.parametrize("before", [b"learning_rate", b"relu"])
def test_a_bit_that_flipped_in_the_copy_of_the_runs_table_is_a_fault_of_the_copy(
    folder: Folder, sweep: Sweep, trained: Path, before: bytes
) -> None:
    """Else what is read from it would be blamed on the files of which it is a copy."""
    gather_runs(folder)  # the files here have other marks
    content = folder.gathered.read_bytes()
    assert before in content
    folder.gathered.write_bytes(content.replace(before, bytes([before[0] ^ 1]) + before[1:]))
    assert damage(folder) == [folder.gathered]
    runs, wanted = (open_results(place).runs for place in (folder.root, trained))
    assert runs.equals(wanted)
    assert train(sweep, folder.root) == {"done": 6}
    assert damage(folder) == []


def test_rows_that_another_program_wrote_are_damage(folder: Folder) -> None:
    rows = first(folder, "runs")
    pq.write_table(pq.read_table(rows, partitioning=None), rows)
    (found,) = fsck.check(folder).damage
    assert (found.path, found.what) == (rows, "has no seal, as launches write it")


def test_results_without_a_manifest_are_told_how_to_get_one(folder: Folder, sweep: Sweep) -> None:
    folder.manifest.unlink()
    (found,) = fsck.check(folder).damage
    assert (found.path, found.what) == (folder.manifest, "is missing")
    with pytest.raises(
        InputError, match=r"no manifest\.json\. `tfc run` of your sweep file writes"
    ):
        read_status(folder)
    train(sweep, folder.root)
    assert fsck.check(folder).findings == ()


def test_rows_in_the_file_of_a_pack_that_is_not_theirs_are_damage(
    folder: Folder, sweep: Sweep
) -> None:
    rows = first(folder, "runs")
    table = pq.read_table(rows, partitioning=None)
    at = table.column_names.index("lane")
    swapped = table.take([1, 0, 2]).set_column(at, table.schema.field("lane"), table["lane"])
    write_sealed(swapped, rows)
    with pytest.raises(InputError, match="its runs are not those of pack"):
        train(sweep, folder.root)
    (found,) = fsck.check(folder).damage
    assert (found.path, "its runs are not those of pack" in found.what) == (rows, True)


def change(rows: Path, column: str, row: int, value: object) -> None:
    """Writes one cell anew, everything else as it was, and the seal for that."""
    table = pq.read_table(rows, partitioning=None)
    values = table[column].to_pylist()
    values[row] = value
    at, kind = table.column_names.index(column), table.schema.field(column)
    write_sealed(table.set_column(at, kind, pa.array(values, kind.type)), rows)


def test_another_sweep_adds_nothing_to_results_that_fresh_has_half_deleted(
    folder: Folder, sweep: Sweep, tmp_path: Path
) -> None:
    for gone in (folder.runs, folder.checkpoints):
        shutil.rmtree(gone)
    other = make_sweep(tmp_path, record=RECORD, base={"batch_size": 16})
    with pytest.raises(InputError, match="neither in the runs table nor planned"):
        train(other, folder.root)
    assert train(other, folder.root, fresh=True) == {"done": 6}


def test_many_damaged_packs_cost_one_look_at_the_folder(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rows in filter(pack_of, folder.runs.iterdir()):
        garble(rows)
    looks, look = [], Path.glob

    def counted(path: Path, pattern: str) -> Iterator[Path]:
        looks.append(path)
        return look(path, pattern)

    monkeypatch.setattr(Path, "glob", counted)
    assert len(damage(folder)) == 2
    # At first, then whether commits came meanwhile, then for those that were set aside.
    assert looks.count(folder.checkpoints) == 3


def test_rows_that_promise_too_much_are_noticed_by_a_launch(folder: Folder, sweep: Sweep) -> None:
    for checkpoint in folder.checkpoints_of(pack_of(first(folder, "runs")) or "")[:1]:
        checkpoint.unlink()
    with pytest.raises(InputError, match="says that more is committed than the 40 steps"):
        train(sweep, folder.root)


def test_a_bit_that_flipped_in_a_pack_without_rows_is_noticed_by_a_launch(
    folder: Folder, sweep: Sweep
) -> None:
    pack = pack_of(flip(first(folder, "layers")))
    (folder.runs / f"{pack}.parquet").unlink()
    with pytest.raises(InputError, match="is not the file that was committed"):
        train(sweep, folder.root)


def test_damaged_checkpoints_alone_stop_no_launch(folder: Folder, sweep: Sweep) -> None:
    for path in folder.checkpoints.glob("*.npz"):
        flip(path)
    assert train(sweep, folder.root) == {"done": 6}


@pytest.mark.parametrize("less", [0, 1])
def test_results_beyond_a_size_are_not_read_whole(
    folder: Folder, sweep: Sweep, monkeypatch: pytest.MonkeyPatch, less: int
) -> None:
    flip(first(folder, "layers"))
    packs = [path for path in folder.root.glob("*/*") if path.is_file() and pack_of(path)]
    sizes = [path.stat().st_size for path in packs if path.parent != folder.runs]
    monkeypatch.setattr(refusal, "SMALLEST", smallest := sorted(sizes)[len(sizes) // 2])
    size = sum(max(size, smallest) for size in sizes)
    monkeypatch.setattr(refusal, "VERIFIED_WHOLE", size - less)
    if less:
        assert train(sweep, folder.root) == {"done": 6}
    else:
        with pytest.raises(InputError, match="damaged, so nothing is added"):
            train(sweep, folder.root)


def test_packs_without_any_checkpoint_are_damaged_and_how_to_mend_them_is_told(
    folder: Folder, sweep: Sweep, trained: Path
) -> None:
    pack = pack_of(first(folder, "runs")) or ""
    for path in folder.checkpoints_of(pack):
        path.unlink()
    report = fsck.check(folder)
    assert [one.path.name for one in report.findings] == [f"{pack}-*.npz"]
    assert report.lost == (pack,)
    assert f"train again pack {pack}: delete what is named after it" in report.summary(folder)
    for place in (folder.runs, folder.params, folder.checkpoints):
        for path in place.glob(f"{pack}*"):
            path.unlink()
    check_mended(folder, sweep, trained)


def rows_of(path: Path) -> Path:
    return path.parents[1] / "runs" / f"{pack_of(path)}.parquet"


def newest(folder: Folder) -> Path:
    return folder.checkpoints_of(pack_of(first(folder, "runs")) or "")[0]


# What is damaged, and what must be deleted besides it.
DELETED: dict[str, tuple[Callable[[Folder], Path], Callable[[Path], list[Path]]]] = {
    "the manifest": (lambda folder: folder.manifest, lambda path: []),
    "chosen schedules": (lambda folder: folder.schedules, lambda path: []),
    "an analysis": (lambda folder: folder.analysis, lambda path: []),
    "the copy of the runs": (lambda folder: folder.gathered, lambda path: []),
    "an empty part": (lambda folder: folder.table("steps") / "empty.parquet", lambda path: []),
    "rows of a pack": (lambda folder: first(folder, "runs"), lambda path: []),
    "final weights": (lambda folder: first(folder, "params"), lambda path: [rows_of(path)]),
    "an older checkpoint": (lambda folder: first(folder, "checkpoints"), lambda path: []),
    "the newest checkpoint": (newest, lambda path: [rows_of(path)]),
}


@pytest.mark.parametrize("what", DELETED)
def test_what_is_said_to_be_deleted_mends_the_results(
    folder: Folder, sweep: Sweep, trained: Path, what: str
) -> None:
    which, besides = DELETED[what]
    path = garble(which(folder))
    report = fsck.check(folder)
    (found,) = report.damage
    assert (found.path, report.lost) == (path, ())
    assert found.remedy.startswith("Delete it")
    assert report.summary(folder).endswith("or do what is said above; no row is lost.")
    for other in besides(path):
        assert f"{other.parent.name}/{other.name}" in found.remedy
        other.unlink()
    path.unlink()
    check_mended(folder, sweep, trained)


def test_a_damaged_copy_of_the_sweep_is_called_so_and_written_again(
    folder: Folder, sweep: Sweep, trained: Path
) -> None:
    garble(folder.sweep)
    (found,) = fsck.check(folder).damage
    assert found.path == folder.sweep
    assert "`tfc run` of your sweep file writes it again." in found.remedy
    with pytest.raises(InputError, match="this copy of the sweep is damaged") as refused:
        manifest.launched_sweep(folder)
    assert "Save the file" not in str(refused.value)
    check_mended(folder, sweep, trained)


def test_a_stranger_in_a_table_is_to_be_moved_away(
    folder: Folder, sweep: Sweep, trained: Path, tmp_path: Path
) -> None:
    stray = folder.table("steps") / "notes.parquet"
    shutil.copy(first(folder, "steps"), stray)
    (found,) = fsck.check(folder).damage
    assert str(found) == f"{stray} is no part of this table, but read with it. Move it away."
    stray.rename(tmp_path / "notes.parquet")
    check_mended(folder, sweep, trained)


def test_an_empty_part_is_not_to_be_deleted_where_it_is_alone(folder: Folder) -> None:
    for path in folder.table("probe").glob("*-*.parquet"):
        path.unlink()
    alone = garble(folder.table("probe") / "empty.parquet")
    (found,) = (one for one in fsck.check(folder).damage if one.path == alone)
    assert found.remedy == fsck.ALONE


def test_damaged_cells_are_written_again(folder: Folder, sweep: Sweep, trained: Path) -> None:
    folder.cells.parent.mkdir()
    garble(folder.cells)
    (found,) = fsck.check(folder).damage
    assert (found.path, found.remedy) == (folder.cells, "`tfc run` writes it again.")
    check_mended(folder, sweep, trained)


def test_one_damaged_file_is_no_reason_to_start_over() -> None:
    path = Path("out/steps/a.parquet")
    for told in (str(DamagedFile(path, Path("out"), "cut")), parts.damage(path, "is missing")):
        assert "Restore it from a copy; `tfc fsck" in told
        assert "--fresh" not in told


def check_mended(folder: Folder, sweep: Sweep, trained: Path) -> None:
    assert train(sweep, folder.root) == {"done": 6}
    assert content(folder.root) == content(trained)
    assert fsck.check(folder).findings == ()
