"""A wall clock that is set back and forth: durations are not negative, rows are the same."""

import json
import math
import re
import time
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.faults.tally import Tally, Tries
from tests.sweeps import content, make_sweep, train
from tfc_jax import manifest, status
from tfc_jax.event_log import entries
from tfc_jax.executors.local import Interrupt
from tfc_jax.layout import Folder
from tfc_jax.live import View
from tfc_jax.progress import Display
from tfc_jax.results import open_results
from tfc_jax.status import Status, read_status

DAY = 86400.0
JUMPS = (0.0, 0.5, -0.5, 3600.0, -3600.0, DAY, -DAY, 400 * DAY, -400 * DAY)
TRUE_TIME = time.time


class Clock:
    """A wall clock that somebody sets at every fifth look, or never sets right at all."""

    def __init__(self, seed: int) -> None:
        self._rng, self._off, self._looks = np.random.default_rng(seed), 0.0, 0
        self._off = -TRUE_TIME() if seed % 4 == 3 else 0.0  # an empty battery: 1970

    def __call__(self) -> float:
        self._looks += 1
        if self._looks % 5 == 0:
            self._off += float(self._rng.choice(JUMPS))
        return TRUE_TIME() + self._off


def set_clock(patch: pytest.MonkeyPatch, clock: Any) -> None:
    class Jumping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.fromtimestamp(max(clock(), 0.0), tz or UTC)

    patch.setattr(time, "time", clock)
    patch.setattr(manifest, "datetime", Jumping)


def problems(state: Status) -> list[str]:
    """What no clock may make a status say."""
    text = StringIO()
    Console(file=text, width=100).print(View(state, height=40))
    told = {name: getattr(state, name) for name in ("rate", "eta_s", "last_event_s")}
    odd = [n for n, v in told.items() if v is not None and not (math.isfinite(v) and v >= 0)]
    odd += re.findall(r"-\d[\d.,]* (?:s|min|h)\b", state.as_text() + text.getvalue())
    return odd


def test_a_clock_that_is_set_during_a_launch(
    tmp_path: Path, tries: Tries, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(tmp_path)
    train(sweep, tmp_path / "whole")
    expected = content(tmp_path / "whole")
    for seed in range(tries(8, 200)):
        out, text = tmp_path / str(seed), StringIO()
        with monkeypatch.context() as patch, Display(Console(file=text), quiet=False) as display:
            set_clock(patch, Clock(seed))

            def watch(event: dict[str, Any], out: Path = out, display: Display = display) -> None:
                display(event)
                if event["event"] != "planned":
                    tally.wrong += len(problems(read_status(Folder(out))))

            train(sweep, out, commit_seconds=0.0, on_event=watch)
            tally.wrong += len(problems(read_status(Folder(out))))
        tally.tried += 1
        tally.lost += content(out) != expected
        elapsed = [entry.elapsed_s for entry in entries(Folder(out)) if entry.elapsed_s is not None]
        tally.wrong += elapsed != sorted(elapsed) or elapsed[0] < 0
        tally.wrong += not (open_results(out).runs["wall_s"] >= 0).all()
        tally.wrong += bool(re.search(r"-\d", text.getvalue().replace(str(out), "")))
    assert tally.tried >= 8
    assert not tally.bad


@pytest.mark.parametrize("jump", JUMPS)
def test_the_rate_and_the_time_left_are_those_of_a_clock_that_nobody_sets(
    tmp_path: Path, jump: float
) -> None:
    interrupt = Interrupt()

    def stop(event: dict[str, Any]) -> None:
        interrupt.level = int(event["event"] != "planned")

    train(make_sweep(tmp_path), tmp_path / "out", on_event=stop, interrupt=interrupt)
    pack = open_results(tmp_path / "out").runs["pack"].iloc[0]
    log, now = tmp_path / "out" / "log.jsonl", time.time() - 1
    said = (
        {"event": "launched", "committed_steps": 60, "time": now - jump, "elapsed_s": 0.0},
        {"event": "started", "pack": pack, "step": 20, "time": now, "elapsed_s": 1.0},
        {"event": "step", "pack": pack, "step": 40, "time": now, "elapsed_s": 2.0},
    )
    log.write_text("".join(json.dumps(event) + "\n" for event in said))
    state = read_status(Folder(tmp_path / "out"))
    assert (state.rate, state.eta_s) == (60 / 2, 240 / (60 / 2))
    assert state.training


def test_a_clock_that_was_set_back_since_does_not_call_a_dead_launch_alive(tmp_path: Path) -> None:
    train(make_sweep(tmp_path), tmp_path / "out")
    log = tmp_path / "out" / "log.jsonl"
    for ahead, training in ((30.0, True), (status.SILENT_SECONDS + 60, False), (400 * DAY, False)):
        event = {"event": "launched", "committed_steps": 0, "time": time.time() + ahead}
        log.write_text(json.dumps(event) + "\n")
        state = read_status(Folder(tmp_path / "out"))
        assert state.training == training
        assert state.last_event_s == (0.0 if training else None)
