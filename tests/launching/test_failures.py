"""A pack that fails leaves the others alone."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps import content, train
from tfc_jax import worker
from tfc_jax.config import Sweep
from tfc_jax.layout import Folder
from tfc_jax.status import read_status

Events = list[dict[str, Any]]
DONE = Counter(done=6)


def fail_once(patch: pytest.MonkeyPatch, sweep: Sweep) -> None:
    """The first pack fails after its first commit; the others train as ever."""
    original = worker.train_pack
    failed: list[Any] = []

    def train_pack(task: Any, report: Any, should_stop: Any) -> bool:
        if sweep.runs[0] not in task.runs or failed:
            return original(task, report, should_stop)
        failed.append(task)
        original(task, report, lambda: True)
        raise RuntimeError("no\nroom")

    patch.setattr(worker, "train_pack", train_pack)


def test_a_failed_pack_leaves_the_others_alone_and_a_retry_finishes_it(
    finished: Path, tmp_path: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_once(monkeypatch, sweep)
    events = Events()
    counts = train(sweep, tmp_path / "out", on_event=events.append)
    assert counts == Counter(failed=3, done=3)
    failure = next(event for event in events if event["event"] == "failed")
    assert failure["error"] == "RuntimeError: no"
    assert "train_pack" in "".join(failure["traceback"])
    assert read_status(Folder(tmp_path / "out")).errors == (
        f"pack {failure['pack']}: RuntimeError: no",
    )
    assert train(sweep, tmp_path / "out") == counts  # `tfc run` leaves it
    assert train(sweep, tmp_path / "out", retry=True) == DONE
    assert content(tmp_path / "out") == content(finished)


def test_fail_fast_stops_at_the_first_failure(
    tmp_path: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_once(monkeypatch, sweep)
    counts = train(sweep, tmp_path / "out", fail_fast=True)
    assert counts == Counter(failed=3, pending=3)
