"""What a launch refuses, and that it has changed nothing then; --fresh among it."""

import errno
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps import make_sweep, read_rows, train
from tfc_jax import devices, fresh, manifest
from tfc_jax import files as disk
from tfc_jax.config import Sweep
from tfc_jax.contents import is_ours
from tfc_jax.errors import InputError
from tfc_jax.layout import Folder

DONE = Counter(done=6)


def files(out: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_another_record_is_refused_with_the_remedy(out: Path, tmp_path: Path) -> None:
    before = files(out)
    records: list[dict[str, Any]] = [{"every": 5}, {"probes": []}, {"probe_samples": 32}]
    for record in records:
        with pytest.raises(InputError) as error:
            train(make_sweep(tmp_path, record=record), out)
        assert f"record.{next(iter(record))}" in str(error.value)
        assert "--out" in str(error.value)
        assert "--fresh" in str(error.value)
    assert files(out) == before


def test_a_manifest_that_says_nothing_of_a_record_lets_none_pass(out: Path, sweep: Sweep) -> None:
    known = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(known | {"record": {}}))
    with pytest.raises(InputError, match="record"):
        train(sweep, out)


def test_bad_input_leaves_no_trace(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, base={"n_train": None, "batch_size": 2000})
    with pytest.raises(InputError, match="batch_size"):
        train(sweep, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()


def test_more_workers_than_gpus_are_refused(tmp_path: Path, sweep: Sweep) -> None:
    with pytest.raises(InputError, match=r"--workers: 3 came.*2 gpu devices"):
        train(sweep, tmp_path / "out", workers=3, found=devices.Devices("gpu", (0, 1)))
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, sweep: Sweep) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"cannot be written here.*--out"):
            train(sweep, place)


def test_fresh_starts_over_with_another_record(out: Path, tmp_path: Path) -> None:
    (out / "report.html").touch()
    assert train(make_sweep(tmp_path, record={"every": 5}), out, fresh=True) == DONE
    assert not (out / "report.html").exists()
    assert len(read_rows(out / "steps")) == 6 * 60


def test_fresh_deletes_nothing_before_bad_input_is_refused(out: Path, tmp_path: Path) -> None:
    before = files(out)
    sweep = make_sweep(tmp_path, base={"n_train": None, "batch_size": 2000})
    with pytest.raises(InputError, match="batch_size"):
        train(sweep, out, fresh=True)
    assert files(out) == before


def test_fresh_deletes_nothing_that_is_not_ours(out: Path, sweep: Sweep) -> None:
    pack = "0123456789ab"
    names = (
        *("notes.txt", "paper/draft.tex", ".notes.json.bak", "params/notes.txt", "runs/a/b"),
        *(f"runs/{pack}.old/thesis.txt", "params/staging/mine.txt", f"params/{pack}-notes.txt"),
        *(f"runs/{pack}.parquet.bak", "params/leaves.parquet", "probe/notes.txt"),
    )
    notes = [out / name for name in names]
    for path in notes:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (out / "report.html").touch()
    assert train(sweep, out, fresh=True) == DONE
    assert [path.read_text() for path in notes] == ["mine"] * len(notes)
    assert len(read_rows(out / "steps")) == 6 * 60
    assert not (out / "report.html").exists()
    assert all((out / table / "empty.parquet").exists() for table in ("runs", "steps", "probe"))


def test_fresh_starts_nothing_beside_rows_that_are_not_ours(out: Path, sweep: Sweep) -> None:
    (out / "steps" / "mine.parquet").touch()
    before = files(out)
    for anew, told in ((True, "Move it away first"), (False, "is no part of this table")):
        with pytest.raises(InputError, match=told):
            train(sweep, out, fresh=anew)
        assert files(out) | {out / ".lock": b""} == before | {out / ".lock": b""}


@pytest.mark.parametrize("anew", [False, True])
def test_results_get_no_folder_that_holds_other_things(
    tmp_path: Path, sweep: Sweep, anew: bool
) -> None:
    out = tmp_path / "thesis"
    others = ("chapter.tex", "runs/events.out", "checkpoints/model.pt", "staging")
    alone = ("sweep.yaml", "log.jsonl", "report.html", "analysis.parquet")  # no launch began so
    for name in (*others, *alone):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).touch()
        before = files(out)
        with pytest.raises(InputError, match=rf"other files \(.*{name}.*\).*give another --out"):
            train(sweep, out, fresh=anew)
        assert files(out) == before
        shutil.rmtree(out)


def test_results_with_notes_that_have_lost_their_manifest_are_results(
    out: Path, sweep: Sweep
) -> None:
    (out / "notes.txt").touch()
    (out / "manifest.json").unlink()
    assert train(sweep, out) == DONE
    assert (out / "manifest.json").exists()


def test_a_launch_deletes_half_written_files_of_its_own_alone(out: Path, sweep: Sweep) -> None:
    for name in (".notes.json.bak", ".manifest.json.4711", ".sweep.yaml.4711"):
        (out / name).touch()
    train(sweep, out)
    assert [path.name for path in out.glob(".*.*.*")] == [".notes.json.bak"]


def test_fresh_forgets_for_good_what_is_done_before_it_deletes_rows(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where somebody's notes keep the folder; what says that these are results stays."""
    (out / "runs" / "notes").mkdir()
    done: list[str] = []
    delete, sync = fresh._delete, disk.sync_folder

    def deletes(path: Path) -> None:
        done.append(path.name)
        delete(path)

    def syncs(path: Path) -> None:
        done.append(f"sync {path.name}")
        sync(path)

    monkeypatch.setattr(fresh, "_delete", deletes)
    monkeypatch.setattr(disk, "sync_folder", syncs)
    fresh.clear(Folder(out))
    runs = ["runs", "sync runs", "sync out", ".runs.parquet", "sync out"]
    assert done[:8] == [*runs, "checkpoints", "sync checkpoints", "sync out"]
    assert {"steps", "params", "sweep.yaml", "log.jsonl"} <= set(done[8:])
    assert {path.name for path in out.iterdir()} == {"runs", "manifest.json", ".lock"}


def test_the_room_that_fresh_makes_is_that_of_what_it_deletes(out: Path) -> None:
    (out / "runs" / "notes.txt").touch()
    before, listed = set(files(out)), set(fresh.deleted(Folder(out)))
    fresh.clear(Folder(out))
    assert listed == before - set(files(out))


def test_a_folder_that_fresh_cannot_delete_stops_it(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what somebody put there may keep a folder."""

    def failing(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(Path, "rmdir", failing)
    with pytest.raises(OSError, match="Input/output error"):
        fresh.clear(Folder(out))


def test_fresh_that_was_killed_before_its_new_manifest_can_be_done_again(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_sweep(tmp_path, name="other", record={"every": 5})
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write", ended)
        with pytest.raises(KeyboardInterrupt):
            train(other, out, fresh=True)
    former = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(former | {"git": "of rows that are gone"}))
    assert train(other, out, fresh=True) == DONE
    stored = manifest.read(Folder(out))
    assert stored
    assert (stored["record"]["every"], stored["earlier"]) == (5, [])


def ended(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_results_without_a_manifest_still_refuse_another_record(out: Path, tmp_path: Path) -> None:
    """`tfc fsck` says of a damaged one to delete it."""
    (out / "manifest.json").unlink()
    before = files(out)
    other = make_sweep(tmp_path, record={"every": 5})
    with pytest.raises(InputError, match=r"record\.every differs from the results .* \(every: 2\)"):
        train(other, out)
    assert files(out) == before


def test_a_launch_leaves_what_other_commands_are_writing(out: Path, sweep: Sweep) -> None:
    (out / ".report.html.1").touch()
    train(sweep, out)
    assert (out / ".report.html.1").exists()


def test_fresh_deletes_no_results_that_have_lost_their_manifest(out: Path, sweep: Sweep) -> None:
    """They may be somebody else's: a folder `runs` is nothing special."""
    (out / "manifest.json").unlink()
    before = files(out)
    with pytest.raises(InputError, match=r"no manifest\.json"):
        train(sweep, out, fresh=True)
    assert files(out) == before
    assert train(sweep, out) == DONE
    assert (out / "manifest.json").exists()


def test_all_that_commands_leave_in_a_results_folder_is_known(tmp_path: Path, sweep: Sweep) -> None:
    out = tmp_path / "out"
    train(sweep, out, workers=1)
    assert [path.name for path in out.iterdir() if not is_ours(path.name)] == []
    assert is_ours(".manifest.json.4711")
    assert not is_ours(".manifest.json.bak")
