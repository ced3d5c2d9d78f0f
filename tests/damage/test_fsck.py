"""tfc fsck: intact results are called so; whatever is damaged is named."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.damage.conftest import RECORD
from tests.sweeps import content, make_sweep, train, write_sealed
from tfc_jax import fsck, refusal
from tfc_jax.config import Sweep
from tfc_jax.errors import InputError
from tfc_jax.layout import EMPTY_PART, Folder, pack_of
from tfc_jax.runs_table import RECORD as RECORDED
from tfc_jax.stage import Stage
from tfc_jax.tables import write_parquet


def damage(folder: Folder) -> list[str]:
    return [str(finding.path.relative_to(folder.root)) for finding in fsck.check(folder).damage]


def some_part(folder: Folder, table: str = "layers") -> Path:
    return sorted(folder.table(table).glob("*-*.parquet"))[-1]


def test_intact_results_are_called_so(trained: Path) -> None:
    report = fsck.check(Folder(trained))
    assert report.findings == ()
    assert report.packs == 2
    assert report.files > 20
    assert report.summary(Folder(trained)).endswith("no damage")


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no results here"):
        fsck.check(Folder(tmp_path))


def delete(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def zero_the_middle(path: Path) -> None:
    raw = path.read_bytes()
    third = len(raw) // 3
    path.write_bytes(raw[:third] + bytes(third) + raw[2 * third :])


def flip_a_bit(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[random.Random(path.name).randrange(len(raw))] ^= 1
    path.write_bytes(raw)


DAMAGES = (delete, empty, cut, zero_the_middle, flip_a_bit)


@pytest.mark.parametrize("do", DAMAGES)
@pytest.mark.parametrize("place", ["steps", "layers", "probe", "params", "checkpoints"])
def test_every_damage_to_a_file_is_found(
    folder: Folder, place: str, do: Callable[[Path], None]
) -> None:
    path = sorted((folder.root / place).glob("*-*.parquet")) or sorted(
        (folder.root / place).glob("*.npz")
    )
    do(path[0])
    found = damage(folder)
    if place == "checkpoints" and do is delete:  # what it names is named by the newer one too
        assert found == []
    else:
        assert found == [str(path[0].relative_to(folder.root))]


def test_a_bit_is_found_wherever_it_flips(folder: Folder) -> None:
    part = some_part(folder)
    raw = part.read_bytes()
    for place in range(0, len(raw), len(raw) // 40):
        altered = bytearray(raw)
        altered[place] ^= 0x10
        part.write_bytes(altered)
        assert damage(folder) == [str(part.relative_to(folder.root))], place


def test_other_rows_than_those_committed_are_found(folder: Folder) -> None:
    part = some_part(folder)
    write_parquet(pq.ParquetFile(part).read().slice(1), part)
    assert damage(folder) == [str(part.relative_to(folder.root))]


def test_a_part_that_doubles_rows_is_found(folder: Folder) -> None:
    part = some_part(folder, "steps")
    pack = part.name.split("-")[0]
    double = part.with_name(f"{pack}-{0:09d}-{7:09d}.parquet")
    shutil.copy(part, double)
    assert damage(folder) == [str(double.relative_to(folder.root))]


def test_a_stray_file_that_readers_would_read_is_found(folder: Folder) -> None:
    stray = folder.table("steps") / "notes.parquet"
    shutil.copy(some_part(folder, "steps"), stray)
    assert damage(folder) == ["steps/notes.parquet"]


def test_rows_of_the_runs_table_that_promise_too_much_are_found(folder: Folder) -> None:
    path = next(p for p in sorted(folder.runs.iterdir()) if p.name != EMPTY_PART)
    rows = pq.ParquetFile(path).read()
    place = rows.column_names.index("steps_done")
    more = pa.array([99] * len(rows), pa.int64())
    write_sealed(rows.set_column(place, "steps_done", more), path)
    (found,) = fsck.check(folder).damage
    assert (found.path, found.what) == (
        path,
        "says that more is committed than the 60 steps that are",
    )


def test_rows_of_a_pack_of_which_nothing_else_is_left_are_found(folder: Folder) -> None:
    pack = some_part(folder).name.split("-")[0]
    for path in folder.root.glob(f"*/{pack}-*"):
        path.unlink()
    assert damage(folder) == [f"runs/{pack}.parquet"]


def test_weights_that_are_gone_are_written_again_with_the_rows_alone_deleted(
    folder: Folder, sweep: Sweep
) -> None:
    path = sorted(folder.params.glob("*.npz"))[0]
    path.unlink()
    (found,) = fsck.check(folder).damage
    assert found.remedy.startswith(f"Delete runs/{path.stem}.parquet: `tfc run` writes both again")
    (folder.runs / f"{path.stem}.parquet").unlink()
    assert train(sweep, folder.root) == {"done": 6}
    assert fsck.check(folder).findings == ()


def test_other_arrays_among_the_weights_are_of_no_pack(folder: Folder) -> None:
    np.savez(folder.params / "0123456789ab.old.npz", mine=np.zeros(3))
    assert fsck.check(folder).packs == 2


def test_a_part_without_rows_that_has_other_columns_is_found(folder: Folder) -> None:
    empty = folder.table("steps") / EMPTY_PART
    columns = pq.read_table(empty)
    write_sealed(columns.append_column("new", [[]]), empty)  # as a later version does
    assert damage(folder) == []
    write_sealed(columns.drop_columns(["accuracy"]), empty)
    (found,) = fsck.check(folder).damage
    assert found.path == empty
    assert found.what == "lacks columns that the other files of its table have"
    assert found.remedy == fsck.DELETE


def test_weights_that_are_not_those_of_the_checkpoint_are_found(folder: Folder) -> None:
    path = sorted(folder.params.glob("*.npz"))[0]
    with np.load(path) as stored:
        weights = {name: stored[name] + 1 for name in stored.files}
    np.savez(path, **weights)
    assert damage(folder) == [str(path.relative_to(folder.root))]


def test_a_copy_of_the_runs_table_with_other_rows_is_found(trained: Path, tmp_path: Path) -> None:
    folder = Folder(trained)
    raw = folder.gathered.read_bytes()
    whole = pq.ParquetFile(folder.gathered).read()
    lanes = pa.array([9] * len(whole), pa.int64())
    place = whole.column_names.index("lane")
    try:
        changed = whole.set_column(place, "lane", lanes)
        write_sealed(changed.replace_schema_metadata(whole.schema.metadata), folder.gathered)
        (found,) = fsck.check(folder).damage
        assert found.path == folder.gathered
        assert found.what == "does not hold the rows of its files"
    finally:
        folder.gathered.write_bytes(raw)


def test_what_a_crash_leaves_is_no_damage(folder: Folder) -> None:
    part = some_part(folder)
    pack = part.name.split("-")[0]
    Stage.take(folder, pack).take_in(part, f"layers-{part.name}")  # committed, not published
    (folder.runs / f"{pack}.parquet").unlink()
    report = fsck.check(folder)
    assert [finding.is_damage for finding in report.findings] == [False, False]
    told = "no damage; 2 traces of a crash, which `tfc run` mends"
    assert report.summary(folder).endswith(told)


def test_a_checkpoint_that_was_set_aside_is_named(folder: Folder) -> None:
    aside = next(folder.checkpoints.glob("*.npz")).with_suffix(".damaged")
    aside.write_bytes(b"")
    (finding,) = fsck.check(folder).findings
    assert finding.path == aside
    assert "Delete it" in finding.remedy
    assert fsck.check(folder).summary(folder).endswith("no damage")  # `tfc run` leaves it
    assert not finding.is_damage


def more_steps(folder: Folder, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, base={"steps": 80}, record=RECORD)
    train(sweep, folder.root)


@pytest.mark.parametrize("do", DAMAGES)
def test_a_launch_adds_nothing_to_damaged_results(
    folder: Folder, tmp_path: Path, do: Callable[[Path], None]
) -> None:
    part = some_part(folder)
    do(part)
    before = {p: p.read_bytes() for p in folder.root.rglob("*") if p.is_file() and p != folder.lock}
    with pytest.raises(InputError, match="damaged, so nothing is added") as refusal:
        more_steps(folder, tmp_path)
    assert str(part) in str(refusal.value)
    after = {p: p.read_bytes() for p in folder.root.rglob("*") if p.is_file() and p != folder.lock}
    assert after == before


def test_a_launch_notices_a_cut_file_of_a_pack_that_is_done(folder: Folder, sweep: Sweep) -> None:
    part = some_part(folder)
    cut(part)
    with pytest.raises(InputError, match="is cut short"):
        train(sweep, folder.root)


def test_what_is_said_to_mend_damage_does(folder: Folder, sweep: Sweep, trained: Path) -> None:
    part = some_part(folder)
    zero_the_middle(part)
    report = fsck.check(folder)
    (pack,) = report.lost
    assert f"train again pack {pack}: delete" in report.summary(folder)
    for place in (folder.runs, folder.params, folder.checkpoints):
        for path in place.glob(f"{pack}*"):
            path.unlink()
    assert train(sweep, folder.root) == {"done": 6}
    assert content(folder.root) == content(trained)
    assert fsck.check(folder).damage == []


def test_a_launch_notices_that_steps_of_a_pack_that_is_done_are_gone(
    folder: Folder, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal, "VERIFIED_WHOLE", 0)
    some_part(folder, "steps").unlink()
    with pytest.raises(InputError, match=r"lacks steps \d+ to 59 of pack"):
        train(sweep, folder.root)


def test_a_launch_clears_away_what_a_kill_left_of_packs_that_are_done(
    folder: Folder, sweep: Sweep
) -> None:
    pack = some_part(folder).name.split("-")[0]
    (Stage.take(folder, pack).path / "checkpoint-old.npz").write_bytes(b"")
    half = folder.root / ".manifest.json.4711"
    half.write_bytes(b"{")
    train(sweep, folder.root)
    assert list(folder.staging.glob(f"{pack}.*")) == []
    assert not half.exists()
    assert fsck.check(folder).damage == []


def test_the_only_checkpoint_of_a_pack_is_told_once_and_also_by_a_launch(
    folder: Folder, sweep: Sweep, caplog: pytest.LogCaptureFixture
) -> None:
    newest, *older = folder.checkpoints_of(some_part(folder).name[:12])
    for path in older:
        path.unlink()
    newest.write_bytes(newest.read_bytes()[:-1])
    (found,) = fsck.check(folder).damage
    assert found.path == newest
    assert "no other of its pack is intact: nothing tells whether the rows" in found.what
    assert train(sweep, folder.root) == {"done": 6}
    assert caplog.messages == [f"{found}. `tfc fsck {folder.root}` says more."]


def test_a_manifest_that_says_what_the_rows_do_not_is_found(folder: Folder, sweep: Sweep) -> None:
    text = folder.manifest.read_text()
    assert '"every": 2' in text
    folder.manifest.write_text(text.replace('"every": 2', '"every": 3'))
    (found,) = fsck.check(folder).damage
    assert (found.path, found.what) == (
        folder.manifest,
        "says of record.every what the rows do not",
    )
    assert found.remedy.startswith("Delete it")
    folder.manifest.unlink()
    assert train(sweep, folder.root) == {"done": 6}
    assert fsck.check(folder).findings == ()


@pytest.mark.parametrize("content", ["{", '{"name": 1}'])
def test_what_a_launch_says_of_a_damaged_manifest_leads_to_what_mends_it(
    folder: Folder, sweep: Sweep, content: str
) -> None:
    folder.manifest.write_text(content)
    with pytest.raises(InputError, match=r"`tfc fsck .*` says what else can be done"):
        train(sweep, folder.root)
    (found,) = fsck.check(folder).damage
    assert "Restore" not in str(found)
    assert found.remedy.startswith("Delete it")


def test_rows_whose_record_flipped_are_the_ones_that_are_damaged(
    folder: Folder, sweep: Sweep
) -> None:
    rows = min(path for path in folder.runs.iterdir() if path.name != EMPTY_PART)
    content = rows.read_bytes()
    assert content.count(b'"every": 2') == 1
    rows.write_bytes(content.replace(b'"every": 2', b'"every": 3'))
    assert damage(folder) == [f"runs/{rows.name}"]
    folder.manifest.unlink()
    with pytest.raises(InputError, match="its footer and pages are not those that were written"):
        train(sweep, folder.root)


def test_a_sweep_that_is_missing_comes_with_one_remedy(folder: Folder) -> None:
    folder.sweep.unlink()
    (found,) = fsck.check(folder).damage
    assert str(found) == f"{folder.sweep} cannot be read: missing. {fsck.SWEEP}"


def test_rows_that_do_not_say_what_is_recorded_are_told_so(folder: Folder, sweep: Sweep) -> None:
    rows = min(path for path in folder.runs.iterdir() if path.name != EMPTY_PART)
    folder.manifest.unlink()
    for metadata in ({}, {RECORDED: b"[]"}):
        table = pq.read_table(rows, partitioning=None)
        write_sealed(table.replace_schema_metadata(metadata), rows)
        with pytest.raises(InputError, match="does not say what the pack records"):
            train(sweep, folder.root)


@pytest.mark.parametrize("table", ["steps", "runs"])
@pytest.mark.parametrize("is_alone", [True, False])
def test_a_bit_that_flipped_in_a_part_without_rows_is_found_and_mended(
    folder: Folder, sweep: Sweep, is_alone: bool, table: str
) -> None:
    empty = folder.table(table) / EMPTY_PART
    if is_alone:  # as before the first commit
        for path in folder.root.rglob("*"):
            if path.is_file() and pack_of(path):
                path.unlink()
    content = empty.read_bytes()
    assert b"accuracy" in content
    empty.write_bytes(content.replace(b"accuracy", b"bccuracy"))
    (found,) = fsck.check(folder).damage
    assert (found.path, found.what) == (empty, "is not what was written (SHA-256)")
    assert found.remedy == (fsck.ALONE if is_alone else fsck.DELETE)
    empty.unlink()
    assert train(sweep, folder.root) == {"done": 6}
    assert fsck.check(folder).findings == ()
