"""Programs compile beside the training of the present pack."""

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps import ROOT
from tfc_jax import worker
from tfc_jax.ahead import Ahead
from tfc_jax.keys import Run
from tfc_jax.record import Record
from tfc_jax.task import PREPARE, Task

TASK = Task("", "pack", "a", (Run(steps=1),), 2, "mapped", Record(), 1)
OTHER = replace(TASK, program="b", pack="other")
WAIT = 60  # seconds, after which a test that hangs is told to have failed


class Slow:
    """Compiles when it is allowed to."""

    def __init__(self) -> None:
        self.allowed = threading.Event()
        self.done: list[str] = []

    def __call__(self, task: Task) -> None:
        assert self.allowed.wait(WAIT)
        self.done.append(task.program)


def serve(task: Task, ahead: Ahead) -> dict[str, Any]:
    """Returns the last event of a pack."""
    events: list[dict[str, Any]] = []
    worker.serve(task, events.append, lambda: False, ahead.finish)
    return events[-1]


def trains(patch: pytest.MonkeyPatch, compiled: list[str]) -> list[list[str]]:
    """Replaces training; lists what was compiled whenever a pack began to train."""
    seen: list[list[str]] = []

    def train_pack(task: Task, report: Any, should_stop: Any) -> bool:
        seen.append(list(compiled))
        return True

    patch.setattr(worker, "train_pack", train_pack)
    patch.setattr(worker, "mark_failed", lambda task: None)
    return seen


def test_a_pack_trains_while_the_next_compiles_and_that_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow()
    ahead, seen = Ahead(slow), trains(monkeypatch, slow.done)
    ahead.begin(OTHER)
    assert serve(TASK, ahead)["event"] == "finished"
    threading.Timer(0.05, slow.allowed.set).start()
    assert serve(OTHER, ahead)["event"] == "finished"
    assert seen == [[], ["b"]]


def test_what_was_begun_is_not_begun_again() -> None:
    slow = Slow()
    ahead = Ahead(slow)
    ahead.begin(OTHER)
    ahead.begin(replace(OTHER, pack="third"))
    ahead.begin(replace(OTHER, width=4))  # another executable
    slow.allowed.set()
    ahead.finish(OTHER)
    ahead.finish(replace(OTHER, width=4))
    assert slow.done == ["b", "b"]


def test_an_error_ahead_fails_the_pack_that_it_was_for_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(task: Task) -> None:
        raise RuntimeError("no room to compile")

    ahead, seen = Ahead(fail), trains(monkeypatch, [])
    ahead.begin(OTHER)
    assert serve(TASK, ahead)["event"] == "finished"
    failed = serve(OTHER, ahead)
    assert failed["event"] == "failed"
    assert failed["pack"] == "other"
    assert failed["error"] == "RuntimeError: no room to compile"
    assert len(seen) == 1


@pytest.mark.parametrize("line", ["stop", "no task"])
def test_a_worker_ends_at_once_whatever_compiles(tmp_path: Path, line: str) -> None:
    started = tmp_path / "started"
    code = (
        "import pathlib, time; from tfc_jax import worker\n"
        "def prepare(task):\n"
        f"    pathlib.Path({str(started)!r}).touch(); time.sleep({2 * WAIT})\n"
        "worker.prepare = prepare\n"
        "worker.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        text=True,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(PREPARE + OTHER.to_json() + "\n")
        process.stdin.flush()
        while not started.exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        assert (process.wait(WAIT) == 0) == (line == "stop")
    finally:
        process.kill()
        process.stdin.close()
        process.wait()
