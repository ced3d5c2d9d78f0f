"""Workers and launchers that die at any time: the rest goes on, and nothing is lost."""

import ctypes
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
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
from tests.sweeps import CPU, train
from tfc_jax import worker
from tfc_jax.config import Sweep
from tfc_jax.executors.local import Interrupt, _ending
from tfc_jax.launch import plan_sweep
from tfc_jax.layout import Folder
from tfc_jax.options import Options
from tfc_jax.results import open_results
from tfc_jax.task import Task

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cache")]


def by_itself(end: Callable[[], Any]) -> None:
    """Workers of the first pack end so, each at a time of its own."""
    original, moment = worker.train_pack, random.Random(os.getpid())

    def train_pack(task: Any, report: Any, should_stop: Any) -> bool:
        if task.runs[0].init_scale == 0.8:
            dies_at = time.monotonic() + moment.uniform(0, 1)
            return original(task, report, lambda: time.monotonic() > dies_at and end())
        return original(task, report, should_stop)

    worker.train_pack = train_pack


def segfault() -> None:
    by_itself(lambda: ctypes.string_at(0))


def exit_at_once() -> None:
    by_itself(lambda: os._exit(3))


def test_a_worker_killed_from_outside(
    tmp_path: Path, sweep: Sweep, reference: Path, tries: Tries, tally: Tally
) -> None:
    """As by the system when memory ends."""
    draws, failed = random.Random(0), 0
    for index in range(tries(5, 60)):
        out = tmp_path / str(index)
        process = run(sweep.path, out, "--workers", 1)
        assert process.pid is not None
        until_workers(process)
        victims = workers_of(process)
        time.sleep(draws.uniform(0, 0.8))
        send(signal.SIGKILL, *victims)
        code, said = ended(process), printed(out)
        failed += code
        told = "FAILED: its worker process ended with signal SIGKILL" in said and (
            "3 done, 3 failed" in said
        )
        tally.wrong += not (told if code == 1 else code == 0)
        tally.wrong += not finish(sweep, out, retry=True)
        judge(tally, out, reference, text=said)
    assert not tally.bad
    assert failed >= tally.tried / 2


@pytest.mark.parametrize(
    ("end", "told"),
    [(segfault, "signal SIGSEGV"), (exit_at_once, "exit code 3")],
    ids=["segfault", "exit"],
)
def test_a_worker_that_ends_by_itself(
    tmp_path: Path,
    sweep: Sweep,
    reference: Path,
    tries: Tries,
    tally: Tally,
    end: Callable[[], None],
    told: str,
) -> None:
    failed = 0
    for index in range(tries(2, 30)):
        out = tmp_path / str(index)
        code = ended(run(sweep.path, out, "--workers", 1, before=end))
        said = printed(out)
        failed += code
        tally.wrong += not (f"worker process ended with {told}" in said if code else True)
        tally.wrong += not finish(sweep, out, retry=True)
        judge(tally, out, reference, text=said)
    assert not tally.bad
    assert failed >= 1


def test_a_launcher_killed_with_its_workers_alive(
    tmp_path: Path, sweep: Sweep, reference: Path, tries: Tries, tally: Tally
) -> None:
    """Again and again on one folder; its workers end by themselves and call no pack failed."""
    draws = random.Random(3)
    for index in range(tries(5, 100)):
        out = tmp_path / str(index // 3)
        process = run(sweep.path, out, "--workers", 1 + index % 2)
        assert process.pid is not None
        until_workers(process)
        time.sleep(draws.uniform(0, 1.2))
        workers = workers_of(process)
        process.kill()
        process.join()
        tally.wrong += not until_dead(workers)
        if (out / "runs").exists():
            tally.wrong += "failed" in set(open_results(out).runs["status"])
        if index % 3 == 2 or index == tries(5, 100) - 1:
            tally.wrong += not finish(sweep, out)
            judge(tally, out, reference, text=printed(out))
            tally.tried -= 1
        tally.tried += 1
    assert not tally.bad


def speak_to_nobody(line: str) -> None:
    """Is a worker whose launcher is gone, but whose input has not ended yet."""
    inputs, outputs = os.pipe(), os.pipe()
    os.write(inputs[1], line.encode() + b"\n")
    os.dup2(inputs[0], 0)
    os.dup2(outputs[1], 1)
    for end in (outputs[0], outputs[1]):
        os.close(end)
    sys.stdin = os.fdopen(0)
    worker.main()


def test_a_worker_that_hears_last_that_its_launcher_is_gone(
    tmp_path: Path, sweep: Sweep, tally: Tally
) -> None:
    """That is no fault of its pack."""
    train(sweep, tmp_path, interrupt=Interrupt(1))  # makes the folder
    (pack, *_) = plan_sweep(sweep, Folder(tmp_path), Options(pack_width=3), CPU).packs
    context = multiprocessing.get_context("forkserver")
    line = Task.of(pack, sweep, str(tmp_path)).to_json()
    process = context.Process(target=speak_to_nobody, args=(line,))
    process.start()
    tally.tried += 1
    tally.wrong += ended(process) != 0
    tally.wrong += "failed" in set(open_results(tmp_path).runs["status"])
    assert not tally.bad


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    assert _ending(-9) == "signal SIGKILL"
    assert _ending(-40) == "signal 40"
    assert _ending(3) == "exit code 3"
