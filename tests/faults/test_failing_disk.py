"""A disk that is full or broken at any call: commits stay, and another launch completes them."""

import errno
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.faults.disk import Disk, watched
from tests.faults.tally import Tally, Tries
from tests.sweeps import (
    FULL,
    ROOT,
    content,
    fake_plugins,
    make_sweep,
    read_rows,
    train,
    train_fake_pack,
    write_sweep,
)
from tfc_jax.config import load_sweep
from tfc_jax.errors import InputError, StorageError

SENTENCE = "cannot be written or read"
ERRORS = (errno.ENOSPC, errno.EIO, errno.EFBIG)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins(monkeypatch)


def broken(at: int, number: int, *, stays: bool) -> AbstractContextManager[Disk]:
    """The call number `at` that changes the disk fails; those after it too, if it stays so."""

    def fail(call: int, name: str) -> None:
        if call == at or (stays and call > at):
            raise OSError(number, os.strerror(number))

    return watched(fail)


@pytest.mark.parametrize("stays", [False, True], ids=["once", "from then on"])
def test_each_call_of_the_disk_failing(
    tmp_path: Path, tally: Tally, fakes: None, stays: bool
) -> None:
    train_fake_pack(tmp_path / "reference")
    reference = content(tmp_path / "reference")
    for at in count(1):
        out = tmp_path / str(at)
        with broken(at, ERRORS[at % 3], stays=stays) as disk:
            failed = _failed(out)
        if disk.calls < at:
            break
        tally.tried += 1
        tally.lost += _rows(out) < _told(out)
        train_fake_pack(out)
        tally.wrong += not failed or content(out) != reference
    assert not tally.bad
    assert tally.tried > 60


def _failed(out: Path) -> bool:
    try:
        train_fake_pack(out)
    except OSError as error:
        return error.errno in ERRORS
    return False


def _told(out: Path) -> int:
    """Steps that the runs table calls committed."""
    if not (out / "runs").is_dir():
        return 0
    return max(read_rows(out / "runs")["steps_done"].to_pylist(), default=0)


def _rows(out: Path) -> int:
    """Steps of which there are rows, from the first on."""
    steps = set(read_rows(out / "steps")["step"].to_pylist()) if (out / "steps").is_dir() else ()
    return next(n for n in count() if n not in steps)


def test_a_launch_on_a_disk_that_fails_at_random(
    tmp_path: Path, tally: Tally, tries: Tries
) -> None:
    sweep, rng = make_sweep(tmp_path), random.Random(0)
    train(sweep, tmp_path / "reference", commit_seconds=0)
    reference = content(tmp_path / "reference")
    for n in range(tries(15, 200)):
        out, told = tmp_path / str(n), list[str]()

        def note(event: dict[str, Any], told: list[str] = told) -> None:
            told += [event["error"]] if event["event"] == "failed" else []

        with broken(rng.randrange(1, 150), ERRORS[n % 3], stays=n % 2 == 0) as disk:
            try:
                train(sweep, out, commit_seconds=0, on_event=note)
            except (StorageError, InputError) as error:  # the latter before anything is there
                told.append(str(error))
        tally.tried += 1
        tally.wrong += not told and disk.calls > 150
        tally.tracebacks += any("\n" in line or "cannot be written" not in line for line in told)
        train(sweep, out, retry=True)
        tally.wrong += content(out) != reference
    assert not tally.bad


@pytest.fixture
def namespaces() -> None:
    """Needs mounts of its own, which some systems forbid."""
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system gives no process mounts of its own (unshare -rm)")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "sizes", "reason"),
    [
        ("mount -t tmpfs -o size={}k none disk && {launch}", (40, 300), "No space left"),
        ("(ulimit -f {} && {launch})", (4, 30), "File too large"),
    ],
    ids=["full", "files too large"],
)
def test_a_real_disk_that_takes_no_more(
    tmp_path: Path, tally: Tally, namespaces: None, limit: str, sizes: Sequence[int], reason: str
) -> None:
    sweep = write_sweep(tmp_path, record=FULL)
    train(load_sweep(sweep), tmp_path / "reference")
    for size in sizes:
        (tmp_path / "disk").mkdir(exist_ok=True)
        launch = f"{sys.executable} -m tfc_jax.cli run {sweep} --out disk/out --pack-width 3"
        launch += " --workers 0 --commit-seconds 0 --quiet"
        commands = limit.format(size, launch=f"({launch} || echo $?)"), f"cp -r disk {size}"
        shell = ["unshare", "-rm", "sh", "-c", " && ".join(commands)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        ended = subprocess.run(
            shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        tally.tried += 1
        told = ended.stdout + ended.stderr
        code = ended.stdout.splitlines()[-1]
        is_refused = "are still to be written, but" in told  # such a disk was full from the start
        tally.wrong += code != ("2" if is_refused else "1")
        tally.wrong += not is_refused and reason not in told
        tally.tracebacks += "Traceback" in told
        train(load_sweep(sweep), tmp_path / str(size) / "out", retry=True)
        tally.wrong += content(tmp_path / str(size) / "out") != content(tmp_path / "reference")
    assert not tally.bad, told
    assert not is_refused  # the last disk fills up while the sweep trains
