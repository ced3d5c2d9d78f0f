"""Launches on an object store: two at once, killed, on a store that dies."""

import os
import random
import signal
import time
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from tests.faults import launches
from tests.faults.stores import Store, environment_of_stores
from tests.faults.tally import Tally, Tries
from tfc_jax.config import Sweep
from tfc_jax.objects import lease
from tfc_jax.objects.place import Place

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cache")]


def test_two_launches_at_once_on_an_object_store(
    store: Store,
    tmp_path: Path,
    tally: Tally,
    tries: Tries,
    sweep: Sweep,
    reference: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TFC_STORE_SECONDS", "20")
    for number in range(tries(1, 20)):
        place = store.place(f"two{number}")
        pair = [_launched(sweep.path, place, tmp_path / f"{number}-{i}") for i in range(2)]
        codes = sorted(launches.ended(process) for process in pair)
        said = "".join((tmp_path / f"{number}-{i}.txt").read_text() for i in range(2))
        tally.wrong += codes != [0, 2] or "another `tfc run` is writing here" not in said
        launches.judge(tally, store.copied(place), reference, text=said)
    assert not tally.bad


def test_an_object_store_that_dies_during_a_launch(
    store: Store,
    tmp_path: Path,
    tally: Tally,
    tries: Tries,
    sweep: Sweep,
    reference: Path,
) -> None:
    """The user reads one line of it, and the next `tfc run` completes what is missing."""
    draws, failed = random.Random(3), 0
    for number in range(tries(1, 40)):
        place, out = store.place(f"launch{number}"), tmp_path / str(number)
        store.server.kill()
        store.server.start(f"{draws.choice(['die', 'died'])}:{draws.randint(25, 300)}")
        code = launches.ended(_launched(sweep.path, place, out))
        failed += code == 1
        store.server.wait()
        store.server.start()
        lines = [line for line in launches.printed(out).splitlines() if place.url in line]
        tally.wrong += code not in (1, 2) or not any("cannot be used" in line for line in lines)
        tally.wrong += launches.ended(_launched(sweep.path, place, out)) != 0
        launches.judge(tally, store.copied(place), reference, text=launches.printed(out))
    assert not tally.bad
    assert failed > tally.tried / 2 or tally.tried == 1


def test_sigkill_of_launches_on_an_object_store(
    store: Store,
    tmp_path: Path,
    tally: Tally,
    tries: Tries,
    sweep: Sweep,
    reference: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Launcher and workers are killed at random times, again and again, until a launch ends."""
    monkeypatch.setenv("TFC_STORE_SECONDS", "20")
    draws = random.Random(2)
    for number in range(tries(1, 20)):
        place, out = store.place(f"killed{number}"), tmp_path / str(number)
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
        launches.judge(tally, store.copied(place), reference, text=launches.printed(out))
    assert not tally.bad


def _launched(path: str | Path, place: Place, out: Path, *flags: object) -> ForkServerProcess:
    arguments = ["run", path, "--out", place.url, "--pack-width", 3, "--commit-seconds", 0]
    workers = () if "--workers" in flags else ("--workers", 0)
    before = partial(_quick, environment_of_stores())
    # Started anew as a user's are: the library of the object store does not survive a fork.
    given = [*arguments, *workers, *flags]
    return launches.start(given, out.with_suffix(".txt"), forked=False, before=before)


def _quick(environment: dict[str, str]) -> None:
    os.environ |= environment
    lease.EXPIRY_SECONDS = 3.0
    lease.RENEWED_SECONDS = 0.5
