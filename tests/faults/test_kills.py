"""kill -9 at every change of the disk, and at any time: no row is lost or doubled."""

import random
import signal
import time
from itertools import count
from pathlib import Path

import pytest

from tests.faults.child import ended, started
from tests.faults.conftest import Tally, Tries
from tests.sweeps import RUNS, content, fake_plugins, read_rows, train_fake_pack

STEPS = 40


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins(monkeypatch)


@pytest.fixture
def reference(tmp_path: Path) -> dict[str, str]:
    """What an undisturbed launch leaves."""
    train_fake_pack(tmp_path / "reference")
    return content(tmp_path / "reference")


def note(tally: Tally, out: Path, reference: dict[str, str]) -> None:
    """Compares what is stored, after the last launch has come to its end."""
    steps = read_rows(out / "steps").select(["run_id", "step"]).to_pandas()
    tally.lost += len(steps.drop_duplicates()) < len(RUNS) * STEPS
    tally.doubled += steps.duplicated().any()
    tally.wrong += content(out) != reference


def test_sigkill_before_each_change_of_the_disk(
    tmp_path: Path, tally: Tally, reference: dict[str, str]
) -> None:
    for at in count(1):
        out = tmp_path / str(at)
        if ended(started(out, commit_every=20, at=at, number=signal.SIGKILL)) == 0:
            break  # it has no change of that number
        tally.tried += 1
        train_fake_pack(out, commit_every=20)
        note(tally, out, reference)
    assert not tally.bad
    assert tally.tried > 60  # 2 commits of 3 parts, a checkpoint and rows, after 4 empty parts


def test_sigkill_at_random_times_also_during_recovery(
    tmp_path: Path, tally: Tally, tries: Tries, reference: dict[str, str]
) -> None:
    rng, folder = random.Random(0), 0
    wanted = tries(200, 3000)
    while tally.tried < wanted:
        out = tmp_path / str(folder)
        process = started(out)
        time.sleep(rng.uniform(0, 0.08))
        process.kill()
        if ended(process) == -signal.SIGKILL:
            tally.tried += 1
        else:
            note(tally, out, reference)
            folder += 1
    train_fake_pack(tmp_path / str(folder))
    note(tally, tmp_path / str(folder), reference)
    assert not tally.bad
    assert folder < wanted / 2  # most launches were killed more than once
