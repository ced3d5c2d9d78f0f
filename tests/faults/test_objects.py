"""Results in an object store: kills, writers that are replaced, a store that dies."""

import multiprocessing
import os
import random
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.faults.stores import Store, environment_of_stores
from tests.faults.tally import Tally, Tries
from tests.objects.packs import (
    STEPS,
    Killed,
    before_requests,
    fake_store,
    train_elsewhere,
    train_fake_at,
)
from tests.objects.store import Local
from tests.sweeps import PACK, RUNS, content, fake_plugins, read_rows, train_fake_pack
from tfc_jax.layout import last_step
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.head import read_head, step_of
from tfc_jax.objects.place import Place, place_at
from tfc_jax.objects.refusals import StoreError
from tfc_jax.stage import Fenced

REPLACED = 7  # exit code of a writer whose pack another has taken over
TABLES = ("steps", "layers", "probe")


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins(monkeypatch)


@pytest.fixture
def scene(store: Store, tmp_path: Path, tally: Tally) -> "Scene":
    train_fake_pack(tmp_path / "reference")
    return Scene(store, tally, content(tmp_path / "reference"))


@dataclass
class Scene:
    """A store, and what an undisturbed launch in a folder leaves."""

    store: Store
    tally: Tally
    reference: dict[str, str]

    def note(self, place: Place) -> None:
        """Compares what the store has with the undisturbed launch."""
        out = self.store.copied(place)
        steps = read_rows(out / "steps").select(["run_id", "step"]).to_pandas()
        self.tally.lost += len(steps.drop_duplicates()) < len(RUNS) * STEPS
        self.tally.doubled += steps.duplicated().any()
        self.tally.wrong += content(out) != self.reference


def started(place: Place, at: int, number: int, commit_every: int = 20) -> BaseProcess:
    """Starts a writer, which sends itself a signal before request `at`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.test_objects"])
    environment = environment_of_stores() | {"TFC_CACHE": os.environ["TFC_CACHE"]}
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
    scene: Scene,
    store: Store,
    tally: Tally,
    tries: Tries,
) -> None:
    for at in count(1, tries(2, 1)):
        place = store.place(at)
        if ended(started(place, at, signal.SIGKILL)) == 0:
            break  # it has no request of that number
        tally.tried += 1
        train_fake_at(place)
        scene.note(place)
    assert not tally.bad
    assert tally.tried > 15


def test_sigkill_of_writers_of_an_object_store_also_during_recovery(
    scene: Scene,
    store: Store,
    tally: Tally,
    tries: Tries,
) -> None:
    """Each place is worked on by one writer after the other, until one of them lives."""
    draws = random.Random(0)
    for number in range(tries(3, 60)):
        place, at = store.place(number), draws.randint(5, 20)
        while ended(started(place, at, signal.SIGKILL, commit_every=10)) != 0:
            tally.tried += 1
            at = draws.randint(5, 60)
        scene.note(place)
    assert not tally.bad
    assert tally.tried > number


def test_replaced_before_each_request_to_an_object_store(
    scene: Scene,
    store: Store,
    tmp_path: Path,
    tally: Tally,
    tries: Tries,
) -> None:
    """Another machine does all of the work between two requests of a writer."""
    for at in count(1, tries(3, 1)):
        place, codes = store.place(at), list[str]()

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
        scene.note(place)
        train_fake_at(place)  # nothing that it left is in the way
        scene.note(place)
    assert not tally.bad
    assert tally.tried > 10


def test_replaced_before_each_request_of_a_recovery(
    scene: Scene,
    store: Store,
    tmp_path: Path,
    tally: Tally,
) -> None:
    """Another machine takes the pack over, and ends it, while this one clears up after a third."""
    for at in count(1):
        place = store.place(at)
        _killed(place, 24 + at % 6)  # in its second commit: before, at and after its head

        def replace(call: int, at: int = at, place: Place = place) -> None:
            if call == at:
                train_elsewhere(place, tmp_path)

        with pytest.MonkeyPatch.context() as patch:
            calls = before_requests(patch, replace)
            writer = fake_store(place)
            with suppress(Fenced):
                writer.recover()
        if calls[0] < at:
            break
        tally.tried += 1
        scene.note(place)
        last = fake_store(place)
        checkpoint = last.recover()
        tally.lost += checkpoint is None or checkpoint.step < STEPS
        tally.wrong += bool(last.notices)
    assert not tally.bad
    assert tally.tried > 8


def _killed(place: Place, at: int) -> None:
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
    scene: Scene,
    store: Store,
    tmp_path: Path,
    tally: Tally,
    tries: Tries,
) -> None:
    draws = random.Random(1)
    for number in range(tries(6, 60)):
        place = store.place(number)
        process = started(place, draws.randint(3, 34), signal.SIGSTOP)
        assert process.pid is not None
        _until_stopped(process.pid)
        train_elsewhere(place, tmp_path)
        os.kill(process.pid, signal.SIGCONT)
        tally.tried += 1
        tally.wrong += ended(process) not in (0, REPLACED)
        scene.note(place)
    assert not tally.bad


def _until_stopped(pid: int) -> None:
    while Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "TZ":
        time.sleep(0.002)


@pytest.mark.parametrize("fault", ["die", "died"])
def test_an_object_store_that_dies_at_each_request(
    scene: Scene,
    store: Store,
    tally: Tally,
    tries: Tries,
    fault: str,
) -> None:
    """Before it has done what it was asked for, and after that; then it is started again."""
    for at in count(1, tries(7, 1)):
        store.server.kill()
        store.server.start(f"{fault}:{at}")
        place, failed = store.place(f"{fault}{at}"), False
        try:
            train_fake_at(place)
        except StoreError as error:
            failed = True
            tally.wrong += "the object store cannot be used" not in str(error)
        if not failed:
            break
        store.server.wait()
        store.server.start()
        tally.tried += 1
        train_fake_at(place)
        scene.note(place)
    assert not tally.bad
    assert tally.tried > 4


def test_an_object_store_that_is_back_within_the_patience(
    scene: Scene,
    store: Store,
    tally: Tally,
    tries: Tries,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A commit waits for it, and goes on: whether it was done before is asked, not guessed."""
    monkeypatch.setenv("TFC_STORE_SECONDS", "20")
    for at in range(9, 35, tries(7, 1)):
        for fault in ("die", "died"):
            store.server.kill()
            store.server.start(f"{fault}:{at}")
            again = threading.Thread(target=_start_again, args=(store.server,))
            again.start()
            place = store.place(f"{fault}{at}")
            train_fake_at(place)
            again.join()
            tally.tried += 1
            scene.note(place)
    assert not tally.bad


def _start_again(server: Local) -> None:
    server.wait()
    server.start()


def test_readers_of_an_object_store_see_committed_groups_alone(
    store: Store, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, bucket = store.place(0), Bucket(store.place(0))

    def look(call: int) -> None:
        """Reads what is there between two requests of the writer."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Bucket, "_request", lambda self, send: send())
            tally.tried += 1
            steps = [step_of(key, PACK) or 0 for key in read_head(bucket, PACK).head.checkpoints]
        parts = [k for k in store.server.objects(place) if "/" in k and k.split("/")[0] in TABLES]
        tally.wrong += any(last_step(Path(part)) > max(steps, default=0) for part in parts)

    before_requests(monkeypatch, look)
    train_fake_at(place, commit_every=10)
    assert not tally.bad
    assert tally.tried > 40
