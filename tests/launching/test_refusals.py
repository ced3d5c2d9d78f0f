"""What a launch refuses, and that it has changed nothing then; --fresh among it."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps import make_sweep, read_rows, train
from tfc_jax import devices, launch
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
    names = ("notes.txt", "paper/draft.tex", ".notes.json.bak", "params/notes.txt", "runs/a/b")
    notes = [out / name for name in names]
    for path in notes:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (out / "report.html").touch()
    assert train(sweep, out, fresh=True) == DONE
    assert [path.read_text() for path in notes] == ["mine"] * len(notes)
    assert len(read_rows(out / "steps")) == 6 * 60
    assert not (out / "report.html").exists()


@pytest.mark.parametrize("fresh", [False, True])
def test_results_get_no_folder_that_holds_other_things(
    tmp_path: Path, sweep: Sweep, fresh: bool
) -> None:
    out = tmp_path / "thesis"
    for name in ("chapter.tex", "runs/events.out", "checkpoints/model.pt", "staging"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).touch()
        before = files(out)
        with pytest.raises(InputError, match=rf"other files \(.*{name}.*\).*give another --out"):
            train(sweep, out, fresh=fresh)
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
    """And what says that these are results goes when nothing else is left."""
    done: list[str] = []
    delete, sync = launch._delete, disk.sync_folder

    def deletes(path: Path) -> None:
        done.append(path.name)
        delete(path)

    def syncs(path: Path) -> None:
        done.append("sync")
        sync(path)

    monkeypatch.setattr(launch, "_delete", deletes)
    monkeypatch.setattr(disk, "sync_folder", syncs)
    launch._clear(Folder(out))
    first = ["runs", "sync", ".runs.parquet", "sync", "checkpoints", "sync"]
    assert done[:6] == first
    assert {"steps", "params", "sweep.yaml", "log.jsonl"} <= set(done[6:-2])
    assert done[-2:] == ["sync", "manifest.json"]


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
