"""Signals that end a launch, at any time: it says so, ends with 130, and can be gone on with."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from tests.sweeps import CPU
from tfc_jax.config import Sweep
from tfc_jax.console import interruptible
from tfc_jax.executors.local import Settings, _Pool

pytestmark = pytest.mark.slow
TERM, INT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
PROCESSES = ("--workers", 1)


@pytest.fixture(scope="module")
def seconds(
    tmp_path_factory: pytest.TempPathFactory, cache: None, sweep: Sweep, reference: Path
) -> float:
    """How long an undisturbed launch takes, from its first line to its end."""
    for name in ("first", "second"):  # the first one starts the server
        began = time.monotonic()
        assert ended(run(sweep.path, tmp_path_factory.mktemp(name) / "out", *PROCESSES)) == 0
    return time.monotonic() - began


def signalled(
    sweep: Sweep, out: Path, numbers: Sequence[int], delay_s: float, flags: Sequence[object]
) -> tuple[int, str, list[int]]:
    """Launches and sends signals; returns the exit code, what was said, and workers that live."""
    process = run(sweep.path, out, *flags)
    assert process.pid is not None
    time.sleep(delay_s)
    workers = workers_of(process)
    for number in numbers:
        send(number, process.pid)
        time.sleep(0.02)  # two at once would be one
    code = ended(process)
    until_dead(workers)
    return code, printed(out), [pid for pid in workers if not until_dead([pid])]


def is_told(code: int, said: str) -> bool:
    """Whether a launch that was stopped says so in one line; one that was done does not fail."""
    lines = [line for line in said.splitlines() if line.startswith("Stop")]
    return len(lines) == 1 if code == 130 else code == 0


@pytest.mark.parametrize("number", [TERM, INT, HUP], ids=["SIGTERM", "Ctrl-C", "SIGHUP"])
def test_one_signal_at_any_time(
    tmp_path: Path,
    sweep: Sweep,
    reference: Path,
    seconds: float,
    tries: Tries,
    tally: Tally,
    number: int,
) -> None:
    draws, codes, within = random.Random(number), list[int](), seconds
    wanted = tries(10 if number == TERM else 5, 50)
    while codes.count(130) < wanted:
        out = tmp_path / str(len(codes))
        delay_s = draws.uniform(0, within)
        flags = PROCESSES if draws.random() < 0.7 else ("--workers", 0)
        numbers = [number, number] if number == HUP else [number]  # a shell sends it again
        code, said, left = signalled(sweep, out, numbers, delay_s, flags)
        codes.append(code)
        tally.wrong += not is_told(code, said) or bool(left) or not finish(sweep, out)
        judge(tally, out, reference, text=said)
        within *= 1.0 if code == 130 else 0.8  # it was done before: on a machine that got faster
    assert not tally.bad


def test_ctrl_c_twice_at_any_time(
    tmp_path: Path, sweep: Sweep, reference: Path, seconds: float, tries: Tries, tally: Tally
) -> None:
    draws, codes, within = random.Random(2), list[int](), seconds
    wanted = tries(6, 50)
    while codes.count(130) < wanted:
        out = tmp_path / str(len(codes))
        delay_s = draws.uniform(0, within)
        flags = PROCESSES if draws.random() < 0.7 else ("--workers", 0)
        code, said, left = signalled(sweep, out, [INT, INT], delay_s, flags)
        codes.append(code)
        tally.wrong += code not in (0, 130) or bool(left) or not finish(sweep, out)
        judge(tally, out, reference, text=said)
        within *= 1.0 if code == 130 else 0.8
    assert not tally.bad


@pytest.mark.parametrize("number", [TERM, INT, HUP], ids=["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_to_every_process_of_a_job(
    tmp_path: Path,
    sweep: Sweep,
    reference: Path,
    seconds: float,
    tries: Tries,
    tally: Tally,
    number: int,
) -> None:
    """As schedulers and service managers send it: the workers may get theirs first, or alone."""
    draws = random.Random(number)
    for index in range(tries(2, 25)):
        out = tmp_path / str(index)
        process = run(sweep.path, out, *PROCESSES)
        assert process.pid is not None
        until_workers(process)
        time.sleep(draws.uniform(0, 0.6 * seconds))
        workers = workers_of(process)
        send(number, *workers)
        if index % 4:
            send(number, -process.pid)  # its whole group
        code, said = ended(process), printed(out)
        tally.wrong += (not is_told(code, said) if index % 4 else code != 0) or "FAILED" in said
        tally.wrong += not until_dead(workers) or not finish(sweep, out)
        judge(tally, out, reference, text=said)
    assert not tally.bad


def test_a_hangup_that_nohup_has_set_aside(
    tmp_path: Path, sweep: Sweep, cache: None, tally: Tally
) -> None:
    process = run(sweep.path, tmp_path / "out", *PROCESSES, nohup=True)
    assert process.pid is not None
    until_workers(process)
    send(HUP, process.pid)
    tally.tried += 1
    tally.wrong += ended(process) != 0 or "Stop" in printed(tmp_path / "out")
    assert not tally.bad


def test_a_second_ctrl_c_where_no_worker_runs(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Such as in a long plan, or in a chunk that this process trains: it does not wait for it."""
    ended_with: list[int] = []
    monkeypatch.setattr(os, "_exit", ended_with.append)
    with interruptible() as interrupt:
        signal.raise_signal(INT)
        assert (interrupt.level, ended_with) == (1, [])
        interrupt.attended = True
        signal.raise_signal(INT)
        assert (interrupt.level, ended_with) == (2, [])  # the pool ends its workers
        interrupt.attended = False
        signal.raise_signal(INT)
    assert ended_with == [130]
    assert capfd.readouterr().err.count("Stopping") == 3


def test_signals_are_handled_before_anything_slow_is_imported() -> None:
    code = (
        "import sys, tfc_jax.__main__ as main\n"
        "main.signals.handle = lambda _: sys.exit('typer' in sys.modules)\n"
        "main.main()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def blocked(pid: int) -> set[int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigBlk"))
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1}


def test_a_worker_gets_no_signal_of_its_job_from_its_first_moment_on(tmp_path: Path) -> None:
    nothing: Any = None
    with open(tmp_path / "log", "w") as log:
        pool = _Pool(nothing, Settings(CPU, 1, {}, log), nothing, nothing)
        process = pool._process({})
    process.kill()
    found = blocked(process.pid)  # a zombie has its mask still
    process.communicate()
    assert {TERM, INT, HUP} <= found
    assert not {TERM, INT, HUP} & signal.pthread_sigmask(signal.SIG_BLOCK, ())
