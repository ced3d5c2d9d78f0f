"""kill -9 at every change of the disk, and at any time: no row is lost or doubled."""

import random
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from tests.faults.child import ended, started
from tests.faults.tally import Tally, Tries
from tests.sweeps import (
    RUNS,
    content,
    fake_plugins,
    make_sweep,
    read_rows,
    train,
    train_fake_pack,
)
from tfc_jax import fresh

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


def test_sigkill_in_the_middle_of_fresh(tmp_path: Path, tally: Tally) -> None:
    """Results that are half deleted are made again, not taken for done."""
    sweep = make_sweep(tmp_path)
    train(sweep, tmp_path / "reference")
    kept = content(tmp_path / "reference")
    for at in count():
        out = tmp_path / str(at)
        shutil.copytree(tmp_path / "reference", out)
        if not killed_at_deletion(at, partial(train, sweep, out, fresh=True)):
            break
        tally.tried += 1
        train(sweep, out)
        tally.wrong += content(out) != kept
    assert not tally.bad
    assert tally.tried > 5  # runs, their copy, steps, checkpoints, weights, ...


def killed_at_deletion(number: int, launch_: Callable[[], object]) -> bool:
    class Killed(BaseException):
        pass

    left, delete = iter(range(number)), fresh._delete

    def die(path: Path) -> None:
        if next(left, None) is None:
            raise Killed
        delete(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fresh, "_delete", die)
        try:
            launch_()
        except Killed:
            return True
    return False
