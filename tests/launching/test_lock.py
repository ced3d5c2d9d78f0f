"""A folder has one writer, and what it writes when it had to wait."""

import errno
import fcntl
import math
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.owners import alive, dead, elsewhere
from tests.sweeps import read_rows, train
from tfc_jax import launch, lock
from tfc_jax.config import Sweep
from tfc_jax.errors import InputError
from tfc_jax.layout import Folder
from tfc_jax.results import open_results

DONE = Counter(done=6)


def files(out: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


@contextmanager
def locked(out: Path, owner: str) -> Iterator[None]:
    """Someone else holds the folder."""
    out.mkdir(exist_ok=True)
    with open(out / ".lock", "a+") as lock:
        lock.truncate(0)
        lock.write(owner)
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("owner", [alive, elsewhere])
def test_a_folder_has_one_writer_and_nobody_waits_for_it(
    out: Path, sweep: Sweep, owner: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked(out, owner()), monkeypatch.context() as patch:
        patch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits"))
        before = files(out)
        for fresh in (False, True):
            with pytest.raises(
                InputError, match=r"another `tfc run` or `tfc compact` is writing here \(process"
            ):
                train(sweep, out, fresh=fresh)
        assert files(out) == before
    assert train(sweep, out) == DONE


def test_the_workers_of_a_killed_launcher_are_waited_for(out: Path, sweep: Sweep) -> None:
    end = threading.Event()
    with locked(out, dead()):  # by its workers, which inherited the lock
        held = threading.Thread(target=hold_until, args=(out / ".lock", end))
        held.start()
    timer = threading.Timer(0.3, end.set)
    timer.start()
    assert train(sweep, out) == DONE
    held.join()
    assert end.is_set()


def hold_until(path: Path, end: threading.Event) -> None:
    with open(path, "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        end.wait()


def test_who_is_patient_looks_seldom_and_says_once_for_whom_it_waits(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, told = list[float](), list[str]()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            (out / ".lock").unlink()

    monkeypatch.setattr(time, "sleep", wait)
    with locked(out, alive()), lock.sole_writer(Folder(out), math.inf, told.append):
        assert waits == [lock.PATIENT_LOOK_SECONDS] * 3
    assert told == [f"{out}: waiting for {alive()}, which is writing here."]


@pytest.mark.parametrize("patience", [math.inf, 0.0])
def test_a_folder_that_is_deleted_while_its_lock_is_waited_for_stays_so(
    out: Path, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: shutil.rmtree(out))
    with (
        locked(out, dead()),
        pytest.raises(InputError, match=r"this folder is gone: .* Give the folder"),
        lock.sole_writer(Folder(out), patience),
    ):
        pass
    assert not out.exists()


def test_workers_that_outlive_their_launcher_for_long_are_not_waited_for(
    out: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "ORPHAN_SECONDS", 0.1)
    with (
        locked(out, dead()),
        pytest.raises(InputError, match="another `tfc run` or `tfc compact` is writing"),
    ):
        train(sweep, out)


def test_a_launch_that_waited_cuts_what_is_missing_then(
    tmp_path: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another launch, with another pack width, comes between a plan and its execution."""
    original = lock.sole_writer

    @contextmanager
    def late(folder: Folder) -> Iterator[lock.Lock]:
        with monkeypatch.context() as patch:
            patch.setattr(launch, "sole_writer", original)
            train(sweep, folder.root, width=2)
        with original(folder) as held:
            yield held

    monkeypatch.setattr(launch, "sole_writer", late)
    assert train(sweep, tmp_path / "out", width=3) == DONE
    assert len(open_results(tmp_path / "out").runs) == 6
    assert len(read_rows(tmp_path / "out" / "steps")) == 6 * 60


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="cannot be written here"):
        lock.check_free(Folder(tmp_path / "out"))
    assert not (tmp_path / "elsewhere").exists()


ERRORS = (FileNotFoundError(2, "gone"), pa.ArrowInvalid("cut short"), InputError("damaged"))


@pytest.mark.parametrize("error", ERRORS)
def test_results_that_change_while_a_second_launch_plans_are_no_damage(
    out: Path, sweep: Sweep, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, errors = launch.plan_sweep, [error, error]

    def torn(*arguments: Any) -> Any:
        if errors:
            raise errors.pop()
        return original(*arguments)

    monkeypatch.setattr(launch, "plan_sweep", torn)
    with locked(out, alive()), pytest.raises(InputError, match=r"another `tfc run`.*\(process"):
        train(sweep, out)
    assert train(sweep, out) == DONE
    assert not errors


def test_results_that_cannot_be_read_with_the_lock_are_damaged(
    out: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: Any) -> Any:
        raise pa.ArrowInvalid("no Parquet")

    monkeypatch.setattr(launch, "plan_sweep", damaged)
    with pytest.raises(pa.ArrowInvalid, match="no Parquet"):
        train(sweep, out)


def test_the_name_of_a_folder_is_durable_before_a_launch_writes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launch that made it may have been killed before it came to that."""
    errors: list[OSError] = [PermissionError(errno.EACCES, "not for us to read")]
    synced: list[Path] = []

    def sync(folder: Path) -> None:
        synced.append(folder)
        raise errors[-1]

    monkeypatch.setattr(lock, "sync_folder", sync)
    (tmp_path / "out").mkdir()
    with lock.sole_writer(Folder(tmp_path / "out")):
        assert synced == [tmp_path]
    errors.append(OSError(errno.EIO, "broken"))
    with (
        pytest.raises(InputError, match=r"cannot be written here \(broken\)"),
        lock.sole_writer(Folder(tmp_path / "out")),
    ):
        pass
