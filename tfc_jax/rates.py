"""Measures how fast packs train, side by side, in a process that is a worker in all else.

Started by bench.py with a worker's environment. Takes one line of JSON, answers with lines of
JSON: `compiled` or `failed` for each pack, then `measured`.
"""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from tfc_jax import timetable, worker
from tfc_jax.engine import PackEngine
from tfc_jax.record import Record
from tfc_jax.task import Task
from tfc_jax.timetable import Span
from tfc_jax.train import Carry

LEAST_REPEATS = 5
AIMED_REPEATS = 9

Report = Callable[[dict[str, Any]], None]


@dataclass
class Rival:
    """A pack that trains a piece of its timetable again and again."""

    engine: PackEngine
    carry: Carry
    span: Span

    def step_seconds(self) -> float:
        """Trains the piece, looks at the probe set; returns seconds per step of the pack.

        On a CPU these are seconds of the processor: what else runs on the machine counts less.
        """
        clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
        began = clock()
        self.carry, _ = self.engine.train_chunk(self.carry, self.span)
        trained = clock()
        self.engine.probe(self.carry)
        looked = clock()
        steps = self.span.stop - self.span.start
        return (trained - began) / steps + (looked - trained) / self.engine.record.probe_every


def measure(tasks: Sequence[Task], seconds: float, report: Report) -> None:
    """Measures packs in turn, so that a slower moment of the machine falls on all of them.

    Args:
      seconds: for each pack, compilation apart; a pack gets 5 repeats at least.
    """
    rivals: dict[int, Rival] = {}
    for i, task in enumerate(tasks):
        try:
            rivals[i] = _prepared(i, task, seconds / AIMED_REPEATS, report)
        except Exception as error:  # out of memory, say: the others are measured all the same
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            report({"event": "failed", "candidate": i, "error": message})
    step_s: dict[int, list[float]] = {i: [] for i in rivals}
    end = time.perf_counter() + seconds * len(rivals)
    repeats = 0
    while rivals and (repeats < LEAST_REPEATS or time.perf_counter() < end):
        repeats += 1
        for i, rival in rivals.items():
            step_s[i].append(rival.step_seconds())
    report({"event": "measured", "step_s": step_s})


def _prepared(i: int, task: Task, aimed_s: float, report: Report) -> Rival:
    """Compiles a pack, and finds how many steps take about `aimed_s`."""
    began = time.perf_counter()
    engine, _ = worker.prepare(task)
    size = engine.memory_bytes()
    rival = Rival(engine, engine.init(), piece(task.record, task.steps, 1))
    rival.step_seconds()
    compile_s = time.perf_counter() - began
    report({"event": "compiled", "candidate": i, "bytes": size, "seconds": compile_s})
    rival.span = piece(task.record, task.steps, int(aimed_s / rival.step_seconds()))
    rival.step_seconds()
    return rival


def piece(record: Record, steps: int, wanted: int) -> Span:
    """Returns the steps to repeat: about `wanted`, of the chunk in the middle of the training.

    They are whole intervals between measured steps, at least one: measured ones have their share.
    """
    cycle = record.probe_every if record.probes else timetable.LONGEST_CHUNK
    middle = next(timetable.spans(record, steps // 2 // cycle * cycle, steps))
    every = record.every if isinstance(record.every, int) and record.metrics else 1
    stop = middle.start + max(wanted // every, 1) * every
    if stop >= middle.stop:
        return middle
    return Span(middle.start, stop, tuple(step for step in middle.measured if step < stop))


def main() -> None:
    """Measures the packs of one line of standard input; ends at once when the input ends."""
    answers = os.fdopen(os.dup(1), "w")  # libraries that print must not garble the answers
    os.dup2(2, 1)
    worker.settle()

    def report(event: dict[str, Any]) -> None:
        answers.write(json.dumps(event) + "\n")
        answers.flush()

    def end_with_the_launcher() -> None:
        sys.stdin.read()
        os._exit(0)

    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_the_launcher, daemon=True).start()
    measure([Task.from_json(line) for line in asked["tasks"]], asked["seconds"], report)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main()
