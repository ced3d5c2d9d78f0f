"""Elements of SLURM's arrays are preempted, lost, ended; the launcher is killed."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.executors.commands import start, until_logged
from tests.executors.slurms import Slurm, fly, slurm
from tests.faults.launches import LONGER, judge
from tests.faults.tally import Tally, Tries
from tests.sweeps import train
from tfc_jax import fsck
from tfc_jax.compact import compact
from tfc_jax.config import Sweep
from tfc_jax.layout import Folder

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
Events = list[dict[str, Any]]


@pytest.fixture
def faked(tmp_path: Path) -> Iterator[Slurm]:
    with slurm(tmp_path / "slurm") as faked:
        yield faked


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return LONGER


def hit(
    faked: Slurm, sweep: Sweep, out: Path, delay_s: float, blow: Callable[[str], None]
) -> tuple[dict[str, int], Events]:
    """Trains one element at a time, and strikes some time after the first has told of a step."""
    events: Events = []
    blows: list[threading.Timer] = []

    def watch(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "step" and not blows:
            blows.append(threading.Timer(delay_s, strike))
            blows[0].start()

    def strike() -> None:
        for element in faked.running():
            blow(element)

    counts = fly(sweep, out, watch, workers=1, commit_seconds=0.0)
    assert blows, events
    blows[0].join()
    return dict(counts), events


def starts(events: Events) -> list[int]:
    return [event["step"] for event in events if event["event"] == "started"]


@pytest.mark.parametrize("how", ["preempted", "lost"])
def test_a_slurm_element_that_runs_again(
    tmp_path: Path,
    faked: Slurm,
    sweep: Sweep,
    reference: Path,
    tries: Tries,
    tally: Tally,
    how: str,
) -> None:
    """By submitit's checkpoint, or because its machine is gone: its pack goes on."""
    draws, again, resumed = random.Random(how), 0, 0
    blows = {"preempted": faked.preempt, "lost": lambda element: faked.lose(element, again=True)}
    for index in range(tries(1, 20)):
        out = tmp_path / str(index)
        counts, events = hit(faked, sweep, out, draws.uniform(0.0, 0.6), blows[how])
        tally.wrong += counts != {"done": 6}
        again += len(starts(events)) > 2
        resumed += max(starts(events)) > 0
        judge(tally, out, reference)
    assert not tally.bad
    assert again >= tally.tried / 2
    assert resumed


def test_a_slurm_element_that_ends_for_good(
    tmp_path: Path, faked: Slurm, sweep: Sweep, reference: Path, tally: Tally
) -> None:
    """Its pack has failed, and the next launch trains it."""
    out = tmp_path / "out"
    counts, events = hit(faked, sweep, out, 0.2, lambda e: faked.lose(e, again=False))
    errors = [event["error"] for event in events if event["event"] == "failed"]
    tally.wrong += counts != {"done": 3, "failed": 3}
    tally.wrong += not ("ended without a result (FAILED" in errors[0] and len(errors) == 1)
    tally.wrong += fly(sweep, out, workers=1, retry=True) != {"done": 6}
    judge(tally, out, reference)
    assert not tally.bad


def killed(sweep: Sweep, out: Path, delay_s: float) -> str:
    """Kills a launcher some time after its first pack has begun; returns what it printed."""
    flags = ("--pack-width", 3, "--commit-seconds", 0, "--workers", 1, "--out", out)
    process = start(out.parent, "run", sweep.path, "--executor", "slurm", *flags)
    until_logged(out, "started", process)
    time.sleep(delay_s)
    process.kill()
    return process.communicate()[0]


def test_a_slurm_launcher_killed(
    tmp_path: Path, faked: Slurm, sweep: Sweep, reference: Path, tries: Tries, tally: Tally
) -> None:
    """Its elements go on to run, but what they do has no effect once another launch has begun."""
    draws = random.Random(2)
    for index in range(tries(1, 20)):
        out = tmp_path / str(index)
        tally.tracebacks += "Traceback" in killed(sweep, out, draws.uniform(0, 1))
        tally.wrong += fly(sweep, out, workers=1) != {"done": 6}
        faked.until_over()
        judge(tally, out, reference)
    assert not tally.bad


def test_a_slurm_launcher_killed_and_its_results_compacted(
    tmp_path: Path, faked: Slurm, sweep: Sweep, reference: Path, tries: Tries, tally: Tally
) -> None:
    """`tfc compact` comes while its elements are at work: from then on they write nothing."""
    draws = random.Random(3)
    for index in range(tries(1, 20)):
        folder = Folder(tmp_path / str(index))
        tally.tracebacks += "Traceback" in killed(sweep, folder.root, draws.uniform(0, 1))
        tally.wrong += not faked.running()
        compact(folder, lambda line: None)
        before = sorted(folder.root.glob("*/*.*"))
        faked.until_over()
        tally.wrong += sorted(folder.root.glob("*/*.*")) != before
        tally.wrong += bool(fsck.check(folder).damage)
        tally.wrong += train(sweep, folder.root) != {"done": 6}
        compact(folder, pytest.fail)
        judge(tally, folder.root, reference)
    assert not tally.bad
