"""When a commit is due, and that an exception at any moment leaves nobody waiting."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.sweeps import commit_thrice, fake_plugins, fake_task, lose_newest, make_chunk, make_store
from tfc_jax import committer
from tfc_jax.committer import Committer
from tfc_jax.layout import Folder
from tfc_jax.timetable import Span


@pytest.fixture
def committed_thrice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    fake_plugins(monkeypatch)
    return commit_thrice(tmp_path / "committed")


def test_the_committer_waits_for_the_end_of_rows_that_are_compared(
    committed_thrice: Folder,
) -> None:
    lose_newest(committed_thrice)
    store = make_store(committed_thrice)
    store.recover()
    task = replace(fake_task(committed_thrice), commit_seconds=0.0)
    committer = Committer(store, task, 0.0, lambda event: None)
    due = [committer.is_due(Span(stop - 5, stop, ())) for stop in (25, 30, 35, 40)]
    assert due == [False, True, True, True]


def test_a_group_lasts_as_long_as_the_task_says_or_fifty_times_its_commit(
    committed_thrice: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("tfc_jax.committer.time.monotonic", lambda: now[0])
    store = make_store(committed_thrice)
    keeper = Committer(store, fake_task(committed_thrice), 0.0, lambda event: None)
    for seconds, expected in ((29.0, False), (30.0, True), (59.0, False), (60.0, True)):
        now[0] = seconds
        assert keeper.is_due(Span(0, 10, ())) is expected
    keeper._commit_cost = 2.0
    for seconds, expected in ((159.0, False), (160.0, True)):
        now[0] = seconds
        assert keeper.is_due(Span(0, 10, ())) is expected
    store.pending_bytes = committer.COMMIT_BYTES
    assert keeper.is_due(Span(0, 10, ()))


def test_rows_up_to_a_quarter_of_the_state_wait_for_it(committed_thrice: Folder) -> None:
    store, task = make_store(committed_thrice), fake_task(committed_thrice)
    keeper = Committer(store, task, 0.0, lambda event: None, 8 * committer.COMMIT_BYTES)
    store.pending_bytes = 2 * committer.COMMIT_BYTES - 1
    assert not keeper.is_due(Span(0, 10, ()))
    store.pending_bytes += 1
    assert keeper.is_due(Span(0, 10, ()))
    assert committer.group_bytes(2**40) == 2**30


@contextmanager
def ended_at(number: int) -> Iterator[list[int]]:
    """Raises SystemExit before an instruction, as a signal's handler may; counts them."""
    seen, before = [0], sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes = True
        seen[0] += event == "opcode"
        if event == "opcode" and seen[0] == number:
            raise SystemExit
        return trace

    sys.settrace(trace)
    try:
        yield seen
    finally:
        sys.settrace(before)


def test_an_exception_while_a_chunk_is_handed_over_leaves_nobody_waiting(
    committed_thrice: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of submitit, which ends a preempted element wherever it is."""
    taken, chunk = [], make_chunk(30, 40)
    monkeypatch.setattr(Committer, "_take", lambda self, chunk: taken.append(chunk))
    store, task = make_store(committed_thrice), fake_task(committed_thrice)
    for number in count(1):
        keeper = Committer(store, task, 0.0, lambda event: None)
        keeper.__enter__()
        time.sleep(0.01)  # until its thread waits
        with suppress(SystemExit), ended_at(number) as seen:
            keeper.put(chunk)
        time.sleep(0.01)
        end = (SystemExit, SystemExit(), None)
        leaving = threading.Thread(target=keeper.__exit__, args=end, daemon=True)
        leaving.start()
        leaving.join(10.0)
        assert not leaving.is_alive(), f"instruction {number}"
        if seen[0] < number:
            break
    assert len(taken) >= 1
    assert number > 5


def test_a_process_ends_that_an_exception_kept_from_leaving_the_context() -> None:
    task = "SimpleNamespace(commit_seconds=1.0, steps=1)"
    code = (
        "from types import SimpleNamespace; from tfc_jax.committer import Committer; "
        f"Committer(None, {task}, 0.0, print).__enter__()"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
