"""Results in an object store: kills, writers that are replaced, a store that dies."""

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from multiprocessing.context import ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.faults import launches
from tests.faults.tally import Tally, Tries
from tests.objects.packs import STEPS, before_requests, fake_store, train_elsewhere, train_fake_at
from tests.objects.store import Local, fresh_place, running
from tests.sweeps import PACK, RUNS, content, fake_plugins, read_rows, train, train_fake_pack
from tfc_jax.config import Sweep
from tfc_jax.layout import last_step
from tfc_jax.objects import lease
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.head import read_head, step_of
from tfc_jax.objects.place import Place, place_at
from tfc_jax.objects.refusals import StoreError
from tfc_jax.stage import Fenced

REPLACED = 7  # exit code of a writer whose pack another has taken over
PATIENCE = "0.5"


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins(monkeypatch)
    monkeypatch.setenv("TFC_STORE_SECONDS", PATIENCE)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Local]:
    with running(tmp_path / "server") as local:
        yield local


@pytest.fixture
def places(
    server: Local, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[object], Place]:
    """A new place by its number."""
    return lambda number: fresh_place(monkeypatch, server, tmp_path / "cache", f"p{number}")


@pytest.fixture
def reference(tmp_path: Path) -> dict[str, str]:
    """What an undisturbed launch in a folder leaves."""
    train_fake_pack(tmp_path / "reference")
    return content(tmp_path / "reference")


def note(
    tally: Tally, server: Local, place: Place, tmp_path: Path, reference: dict[str, str]
) -> None:
    """Compares what the server has with the undisturbed launch."""
    out = server.as_folder(place, tmp_path / "copied")
    steps = read_rows(out / "steps").select(["run_id", "step"]).to_pandas()
    tally.lost += len(steps.drop_duplicates()) < len(RUNS) * STEPS
    tally.doubled += steps.duplicated().any()
    tally.wrong += content(out) != reference


def started(place: Place, at: int, number: int, commit_every: int = 20) -> BaseProcess:
    """Starts a writer, which sends itself a signal before request `at`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.test_objects"])
    environment = _environment() | {"TFC_CACHE": os.environ["TFC_CACHE"]}
    given = (place.url, environment, at, number, commit_every)
    process = context.Process(target=_write, args=given)
    process.start()
    return process


def _write(url: str, environment: dict[str, str], at: int, number: int, every: int) -> None:
    os.environ |= environment

    def reach(call: int) -> None:
        if call == at:
            os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        fake_plugins(patch)
        before_requests(patch, reach)
        try:
            train_fake_at(place_at(url), every)
        except Fenced:
            os._exit(REPLACED)


def ended(process: BaseProcess) -> int:
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def test_sigkill_before_each_request_to_an_object_store(
    server: Local,
    places: Callable[[object], Place],
    tmp_path: Path,
    tally: Tally,
    tries: Tries,
    reference: dict[str, str],
) -> None:
    for at in count(1, tries(2, 1)):
        place = places(at)
        if ended(started(place, at, signal.SIGKILL)) == 0:
            break  # it has no request of that number
        tally.tried += 1
        train_fake_at(place)
        note(tally, server, place, tmp_path, reference)
    assert not tally.bad
    assert tally.tried > 15


def test_sigkill_of_writers_of_an_object_store_also_during_recovery(
    server: Local,
    places: Callable[[object], Place],
    tmp_path: Path,
    tally: Tally,
    tries: Tries,
    reference: dict[str, str],
) -> None:
    """Each place is worked on by one writer after the other, until one of them lives."""
    draws = random.Random(0)
    for number in range(tries(3, 60)):
        place, at = places(number), draws.randint(5, 20)
        while ended(started(place, at, signal.SIGKILL, commit_every=10)) != 0:
            tally.tried += 1
            at = draws.randint(5, 60)
        note(tally, server, place, tmp_path, reference)
    assert not tally.bad
    assert tally.tried > number


def test_replaced_before_each_request_to_an_object_store(
    server: Local,
    places: Callable[[object], Place],
    tmp_path: Path,
    tally: Tally,
    tries: Tries,
    reference: dict[str, str],
) -> None:
    """Another machine does all of the work between two requests of a writer."""
    for at in count(1, tries(3, 1)):
        place, codes = places(at), list[str]()

        def replace(call: int, at: int = at, place: Place = place) -> None:
            if call == at:
                train_elsewhere(place, tmp_path)

        with pytest.MonkeyPatch.context() as patch:
            calls = before_requests(patch, replace)
            codes.append(_outcome(place))
        if calls[0] < at:
            break
        tally.tried += 1
        tally.wrong += codes[0] not in ("done", "replaced")
        note(tally, server, place, tmp_path, reference)
        train_fake_at(place)  # nothing that it left is in the way
        note(tally, server, place, tmp_path, reference)
    assert not tally.bad
    assert tally.tried > 10


def test_replaced_before_each_request_of_a_recovery(
    server: Local,
    places: Callable[[object], Place],
    tmp_path: Path,
    tally: Tally,
    reference: dict[str, str],
) -> None:
    """Another machine takes the pack over, and ends it, while this one clears up after a third."""
    for at in count(1):
        place = places(at)
        _killed(place, 24 + at % 6)  # in its second commit: before, at and after its head

        def replace(call: int, at: int = at, place: Place = place) -> None:
            if call == at:
                train_elsewhere(place, tmp_path)

        with pytest.MonkeyPatch.context() as patch:
            calls = before_requests(patch, replace)
            store = fake_store(place)
            with suppress(Fenced):
                store.recover()
        if calls[0] < at:
            break
        tally.tried += 1
        note(tally, server, place, tmp_path, reference)
        last = fake_store(place)
        checkpoint = last.recover()
        tally.lost += checkpoint is None or checkpoint.step < STEPS
        tally.wrong += bool(last.notices)
    assert not tally.bad
    assert tally.tried > 8


def _killed(place: Place, at: int) -> None:
    class Killed(BaseException):
        pass

    def die(call: int) -> None:
        if call == at:
            raise Killed

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        before_requests(patch, die)
        train_fake_at(place)


def _outcome(place: Place) -> str:
    try:
        train_fake_at(place)
    except Fenced:
        return "replaced"
    return "done"


def test_writers_of_an_object_store_suspended_replaced_and_woken_up(
    server: Local,
    places: Callable[[object], Place],
    tmp_path: Path,
    tally: Tally,
    tries: Tries,
    reference: dict[str, str],
) -> None:
    draws = random.Random(1)
    for number in range(tries(6, 60)):
        place = places(number)
        process = started(place, draws.randint(3, 34), signal.SIGSTOP)
        assert process.pid is not None
        _until_stopped(process.pid)
        train_elsewhere(place, tmp_path)
        os.kill(process.pid, signal.SIGCONT)
        tally.tried += 1
        tally.wrong += ended(process) not in (0, REPLACED)
        note(tally, server, place, tmp_path, reference)
    assert not tally.bad


def _until_stopped(pid: int) -> None:
    while Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "TZ":
        time.sleep(0.002)


@pytest.mark.parametrize("fault", ["die", "died"])
def test_an_object_store_that_dies_at_each_request(
    server: Local,
    places: Callable[[object], Place],
    tmp_path: Path,
    tally: Tally,
    tries: Tries,
    reference: dict[str, str],
    fault: str,
) -> None:
    """Before it has done what it was asked for, and after that; then it is started again."""
    for at in count(1, tries(7, 1)):
        server.kill()
        server.start(f"{fault}:{at}")
        place, failed = places(f"{fault}{at}"), False
        try:
            train_fake_at(place)
        except StoreError as error:
            failed = True
            tally.wrong += "the object store cannot be used" not in str(error)
        if not failed:
            break
        server.wait()
        server.start()
        tally.tried += 1
        train_fake_at(place)
        note(tally, server, place, tmp_path, reference)
    assert not tally.bad
    assert tally.tried > 4


def test_an_object_store_that_is_back_within_the_patience(
    server: Local,
    places: Callable[[object], Place],
    tmp_path: Path,
    tally: Tally,
    tries: Tries,
    monkeypatch: pytest.MonkeyPatch,
    reference: dict[str, str],
) -> None:
    """A commit waits for it, and goes on: whether it was done before is asked, not guessed."""
    monkeypatch.setenv("TFC_STORE_SECONDS", "20")
    for at in range(9, 35, tries(7, 1)):
        for fault in ("die", "died"):
            server.kill()
            server.start(f"{fault}:{at}")
            again = threading.Thread(target=_start_again, args=(server,))
            again.start()
            place = places(f"{fault}{at}")
            train_fake_at(place)
            again.join()
            tally.tried += 1
            note(tally, server, place, tmp_path, reference)
    assert not tally.bad


def _start_again(server: Local) -> None:
    server.wait()
    server.start()


def test_readers_of_an_object_store_see_committed_groups_alone(
    server: Local, places: Callable[[object], Place], tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, bucket = places(0), Bucket(places(0))

    def look(call: int) -> None:
        """Reads what is there between two requests of the writer."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Bucket, "_request", lambda self, send: send())
            tally.tried += 1
            steps = [step_of(key, PACK) or 0 for key in read_head(bucket, PACK).head.checkpoints]
        parts = [k for k in server.objects(place) if "/" in k and k.split("/")[0] in TABLES]
        tally.wrong += any(last_step(Path(part)) > max(steps, default=0) for part in parts)

    before_requests(monkeypatch, look)
    train_fake_at(place, commit_every=10)
    assert not tally.bad
    assert tally.tried > 40


TABLES = ("steps", "layers", "probe")


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_two_launches_at_once_on_an_object_store(
    server: Local,
    places: Callable[[object], Place],
    tmp_path: Path,
    tally: Tally,
    tries: Tries,
    sweep: Sweep,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = tmp_path / "whole"
    train(sweep, whole)
    monkeypatch.setenv("TFC_STORE_SECONDS", "20")
    for number in range(tries(1, 20)):
        place = places(f"two{number}")
        pair = [_launched(sweep.path, place, tmp_path / f"{number}-{i}") for i in range(2)]
        codes = sorted(launches.ended(process) for process in pair)
        said = "".join((tmp_path / f"{number}-{i}.txt").read_text() for i in range(2))
        tally.wrong += codes != [0, 2] or "another `tfc run` is writing here" not in said
        out = server.as_folder(place, tmp_path / "copied")
        launches.judge(tally, out, whole, text=said)
    assert not tally.bad


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_an_object_store_that_dies_during_a_launch(
    server: Local,
    places: Callable[[object], Place],
    tmp_path: Path,
    tally: Tally,
    tries: Tries,
    sweep: Sweep,
) -> None:
    """The user reads one line of it, and the next `tfc run` completes what is missing."""
    whole, draws, failed = tmp_path / "whole", random.Random(3), 0
    train(sweep, whole)
    for number in range(tries(1, 40)):
        place, out = places(f"launch{number}"), tmp_path / str(number)
        server.kill()
        server.start(f"{draws.choice(['die', 'died'])}:{draws.randint(25, 300)}")
        code = launches.ended(_launched(sweep.path, place, out))
        failed += code == 1
        server.wait()
        server.start()
        lines = [line for line in launches.printed(out).splitlines() if place.url in line]
        tally.wrong += code not in (1, 2) or not any("cannot be used" in line for line in lines)
        tally.wrong += launches.ended(_launched(sweep.path, place, out)) != 0
        copied = server.as_folder(place, tmp_path / "copied")
        launches.judge(tally, copied, whole, text=launches.printed(out))
    assert not tally.bad
    assert failed > tally.tried / 2 or tally.tried == 1


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_sigkill_of_launches_on_an_object_store(
    server: Local,
    places: Callable[[object], Place],
    tmp_path: Path,
    tally: Tally,
    tries: Tries,
    sweep: Sweep,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Launcher and workers are killed at random times, again and again, until a launch ends."""
    whole = tmp_path / "whole"
    train(sweep, whole)
    monkeypatch.setenv("TFC_STORE_SECONDS", "20")
    draws = random.Random(2)
    for number in range(tries(1, 20)):
        place, out = places(f"killed{number}"), tmp_path / str(number)
        for attempt in range(4):
            process = _launched(sweep.path, place, out, "--workers", draws.choice([0, 1]))
            if attempt % 2:
                launches.until_workers(process)
            time.sleep(draws.uniform(0.3, 4.0))
            workers = launches.workers_of(process)
            process.kill()
            launches.ended(process)
            launches.send(signal.SIGKILL, *workers)
            launches.until_dead(workers)
        code = launches.ended(_launched(sweep.path, place, out))
        tally.wrong += code != 0
        copied = server.as_folder(place, tmp_path / "copied")
        launches.judge(tally, copied, whole, text=launches.printed(out))
    assert not tally.bad


def _launched(path: str | Path, place: Place, out: Path, *flags: object) -> ForkServerProcess:
    arguments = ["run", path, "--out", place.url, "--pack-width", 3, "--commit-seconds", 0]
    workers = () if "--workers" in flags else ("--workers", 0)
    before = partial(_quick, _environment())
    # Started anew as a user's are: the library of the object store does not survive a fork.
    given = [*arguments, *workers, *flags]
    return launches.start(given, out.with_suffix(".txt"), forked=False, before=before)


def _environment() -> dict[str, str]:
    """What a process needs that was forked from a server which began earlier."""
    return {name: v for name, v in os.environ.items() if name.startswith(("AWS_", "TFC_STORE"))}


def _quick(environment: dict[str, str]) -> None:
    os.environ |= environment
    lease.EXPIRY_SECONDS = 3.0
    lease.RENEWED_SECONDS = 0.5
