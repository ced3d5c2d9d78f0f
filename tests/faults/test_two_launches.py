"""Two launches on one folder: one trains, the other is refused at once and told who holds it."""

import fcntl
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.launches import (
    ended,
    finish,
    judge,
    printed,
    run,
    send,
    until_dead,
    until_workers,
    workers_of,
)
from tests.faults.tally import Tally, Tries
from tests.sweeps import train
from tfc_jax import api, lock
from tfc_jax.config import Sweep
from tfc_jax.errors import InputError
from tfc_jax.layout import Folder
from tfc_jax.lock import LockLost, sole_writer
from tfc_jax.results import open_results

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cache")]
HOST = re.escape(os.uname().nodename)


def test_two_launches_at_once(
    tmp_path: Path, sweep: Sweep, reference: Path, tries: Tries, tally: Tally
) -> None:
    draws, refused = random.Random(0), 0
    for index in range(tries(8, 50)):
        out, flags = tmp_path / str(index), ("--workers", draws.choice([0, 1]))
        fresh = ["--fresh"] * (index % 4 == 3)
        pair = [run(sweep.path, out, *flags, *fresh) for _ in range(2)]
        codes, said = sorted(ended(process) for process in pair), printed(out)
        owners = [f"process {process.pid} on {HOST}" for process in pair]
        told = re.search(
            rf"another `tfc run` or `tfc compact` is writing here \(({'|'.join(owners)}) since",
            said,
        )
        refused += codes == [0, 2]
        tally.wrong += codes != ([0, 2] if told else [0, 0])
        judge(tally, out, reference, text=said)
    assert not tally.bad
    assert refused >= tally.tried / 2


def test_a_lock_whose_owner_was_killed(
    tmp_path: Path, sweep: Sweep, reference: Path, tries: Tries, tally: Tally
) -> None:
    draws = random.Random(1)
    for index in range(tries(3, 100)):
        out = tmp_path / str(index)
        process = run(sweep.path, out, "--workers", 1)
        assert process.pid is not None
        while not (out / ".lock").exists():
            time.sleep(0.001)
        time.sleep(draws.uniform(0, 1.2))
        workers = workers_of(process)
        process.kill()
        ended(process)
        tally.wrong += not finish(sweep, out) or not until_dead(workers)
        judge(tally, out, reference, text=printed(out))
    assert not tally.bad


def test_a_launch_that_was_suspended_and_replaced(
    tmp_path: Path, sweep: Sweep, reference: Path, tries: Tries, tally: Tally
) -> None:
    """Its lock was deleted by hand meanwhile; when it goes on, it sees that and leaves."""
    draws = random.Random(2)
    for index in range(tries(2, 30)):
        out = tmp_path / str(index)
        process = run(sweep.path, out, "--workers", 1)
        assert process.pid is not None
        until_workers(process)
        time.sleep(draws.uniform(0, 0.8))
        everyone = [process.pid, *workers_of(process)]
        send(signal.SIGSTOP, *everyone)
        is_training = process.is_alive() and '"ended"' not in (out / "log.jsonl").read_text()
        (out / ".lock").unlink()
        tally.wrong += not finish(sweep, out)
        send(signal.SIGKILL, *everyone[1:])  # a worker's own fence is tested with the store
        send(signal.SIGCONT, process.pid)
        code, said = ended(process), printed(out)
        lost = code == 2 and "holds the folder no longer" in said
        tally.wrong += not (lost if is_training else code in (0, 2))
        judge(tally, out, reference, text=said)
    assert not tally.bad


def test_two_launches_in_one_process(
    tmp_path: Path, sweep: Sweep, reference: Path, tries: Tries, tally: Tally
) -> None:
    for index in range(tries(3, 50)):
        out = tmp_path / str(index)
        refusals: list[str] = []

        def launch(out: Path = out, refusals: list[str] = refusals) -> None:
            try:
                api.run(sweep, out, workers=0, pack_width=3)
            except InputError as error:
                refusals.append(str(error))

        threads = [threading.Thread(target=launch) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        owner = f"process {os.getpid()} on {os.uname().nodename}"
        tally.wrong += not all(owner in text for text in refusals) or len(refusals) > 1
        judge(tally, out, reference)
    assert not tally.bad


def damaged(path: Path) -> None:
    path.write_bytes(b"process \xff\x1b[31m on\0 nowhere\n" * 100)


def huge(path: Path) -> None:
    path.write_text(f"process {10**30} on {os.uname().nodename}")


def not_a_number(path: Path) -> None:
    path.write_text(f"process ² on {os.uname().nodename}")


def empty(path: Path) -> None:
    path.touch()


RECORDS = pytest.mark.parametrize("write", [damaged, huge, not_a_number, empty])


@RECORDS
def test_a_record_of_nonsense_that_nobody_holds(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    folder = Folder(tmp_path)
    write(folder.lock)
    with sole_writer(folder) as held:
        held.check()
        assert folder.lock.read_bytes().startswith(f"process {os.getpid()} on ".encode())


@RECORDS
def test_a_record_of_nonsense_that_someone_holds(
    tmp_path: Path, write: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "ORPHAN_SECONDS", 0.1)
    monkeypatch.setattr(lock, "RECORD_SECONDS", 0.1)
    folder = Folder(tmp_path)
    write(folder.lock)
    with open(folder.lock) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"another `tfc run`.*\(.+\)") as error, \
                sole_writer(folder):  # fmt: skip
            pass
    assert str(error.value).isprintable()


def test_a_lock_that_is_taken_but_not_signed_yet(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    taken, done = threading.Event(), threading.Event()

    def sign_late() -> None:
        with open(folder.lock, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            taken.set()
            time.sleep(0.2)
            file.write(f"process {os.getpid()} on {os.uname().nodename}")
            file.flush()
            done.wait()

    thread = threading.Thread(target=sign_late)
    thread.start()
    taken.wait()
    try:
        with pytest.raises(InputError, match=rf"\(process {os.getpid()} on"), sole_writer(folder):
            pass
    finally:
        done.set()
        thread.join()


def test_a_lock_that_is_a_link_to_a_file_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(InputError, match=r"cannot be written here.*\.lock"), \
            sole_writer(Folder(tmp_path / "out")):  # fmt: skip
        pass
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_lock_deleted_between_its_opening_and_its_taking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, flock, opened = Folder(tmp_path), fcntl.flock, list[int]()

    def late(descriptor: int, how: int) -> None:
        if not opened:
            folder.lock.unlink()
        opened.append(descriptor)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with sole_writer(folder) as held:
        held.check()
        with pytest.raises(InputError, match="another `tfc run`"), sole_writer(folder):
            pass


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(InputError, match=r"no lock here.*No locks.*--out"), \
            sole_writer(Folder(tmp_path)):  # fmt: skip
        pass


def deleted(folder: Folder) -> None:
    folder.lock.unlink()


def replaced(folder: Folder) -> None:
    folder.lock.unlink()
    folder.lock.touch()


def signed_elsewhere(folder: Folder) -> None:
    """A machine that does not see this one's locks writes into the same file."""
    folder.lock.write_text("process 1 on elsewhere since now")


@pytest.mark.parametrize(
    ("take_over", "workers"), [(deleted, 0), (replaced, 0), (signed_elsewhere, 0), (replaced, 1)]
)
def test_a_folder_lost_while_training(
    tmp_path: Path, sweep: Sweep, take_over: Callable[[Folder], None], workers: int
) -> None:
    folder = Folder(tmp_path / "out")

    def lose(event: dict[str, object]) -> None:
        if event["event"] == "started":
            take_over(folder)

    with pytest.raises(LockLost, match="writes nothing more"):
        train(sweep, folder.root, workers=workers, on_event=lose)
    assert not folder.gathered.exists()
    assert "failed" not in set(open_results(folder.root).runs["status"])
    assert '"failed"' not in folder.log.read_text()
    assert '"ended"' not in folder.log.read_text()
