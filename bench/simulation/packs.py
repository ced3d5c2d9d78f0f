"""The life of a pack in a worker, around the real store: what is trained is made up, not computed.

The packs are those of a sweep in miniature, few runs of few steps: each stands for a pack of the
sweep in question, whose costs it is given.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.simulation.actors import SizeOf, Work, wait
from bench.simulation.costs import PackCosts
from tfc_jax.chunk import Chunk
from tfc_jax.committer import group_bytes, interval_s
from tfc_jax.layout import Folder, steps_of
from tfc_jax.record import Record
from tfc_jax.schema import result_columns
from tfc_jax.store import PackStore
from tfc_jax.task import Task
from tfc_jax.timetable import Span

STEPS = 40
# Every table that a sweep with default metrics and probes has gets a file at each commit.
RECORD = Record(every=1, probe_every=1, metrics=("units",), probes=("generalization",))
COLUMNS = result_columns(RECORD)
RUNS_PER_PACK, DEPTH = 2, 3
# Of the bytes of all rows; layers have a row per layer where steps have one.
SHARES = {"steps": 0.05, "layers": 0.95}


@dataclass
class Spent:
    """Seconds of all slots.

    Attributes:
      trained: on steps, also on those that were lost.
      stored: on takeovers and commits, beyond the training that went on meanwhile.
    """

    trained: float = 0.0
    stored: float = 0.0


@dataclass(frozen=True)
class Life:
    """One attempt to finish a pack.

    Attributes:
      costs: of the pack that this one stands for.
      step_s: seconds of one step in miniature, on this node.
      now: the simulated clock, seconds.
    """

    task: Task
    costs: PackCosts
    step_s: float
    now: Callable[[], float]
    spent: Spent

    def run(self) -> None:
        """What worker.py does with a pack, from its last commit to its end."""
        task, began = self.task, self.now()
        facts = {"schedule": task.schedule, "pack_width": task.width, "program": task.program}
        store = PackStore(Folder(Path(task.out)), task.pack, task.runs, task.record, facts)
        checkpoint = store.recover()
        step = checkpoint.step if checkpoint else 0
        if checkpoint is None:
            store.add_first_probe(_probe(0))
        elif step == task.steps:
            store.write_params(checkpoint.arrays)
        store.write_runs("done" if step == task.steps else "running", step, 0.0)
        self.spent.stored += self.now() - began
        self._train(store, step)
        store.release()

    def _train(self, store: PackStore, step: int) -> None:
        """Commits as the committer does: the steps that follow are trained meanwhile."""
        commit_s = 0.0
        while step < self.task.steps:
            stop = min(step + self._steps_of_a_group(commit_s), self.task.steps)
            train_s = (stop - step) * self.step_s
            hidden_s = min(commit_s, train_s)
            wait(Work(train_s - hidden_s))
            self.spent.trained += train_s
            self.spent.stored += commit_s - hidden_s
            began = self.now()
            store.add(_chunk(step, stop))
            store.commit(_state(stop), 0.0, "done" if stop == self.task.steps else "running")
            commit_s, step = self.now() - began, stop
        self.spent.stored += commit_s

    def _steps_of_a_group(self, commit_s: float) -> int:
        due_s = interval_s(self.task.commit_seconds, commit_s)
        bytes_per_step = self.costs.waiting_bytes / STEPS
        most_bytes = group_bytes(self.costs.checkpoint_bytes)
        return math.ceil(min(due_s / self.step_s, most_bytes / bytes_per_step))


def size_of(costs: PackCosts) -> SizeOf:
    """Returns how many bytes a file of a pack counts for: not those of its miniature."""

    def size(name: str, n_bytes: int) -> float:
        if name.startswith("checkpoint"):
            return costs.checkpoint_bytes
        if name.startswith("weights"):
            return costs.weight_bytes
        first, stop = steps_of(Path(name)) or (0, 0)
        share = SHARES.get(name.split("-")[0], 0.0) * (stop - first) / STEPS
        return max(share * costs.row_bytes, n_bytes)

    return size


def _chunk(start: int, stop: int) -> Chunk:
    """Numbers that say which run, step and layer they belong to."""
    lane, step = np.arange(RUNS_PER_PACK)[:, None], np.arange(start, stop)
    at_steps = value(step, 0, lane)
    at_layers = value(step[:, None], np.arange(1, DEPTH + 1), lane[:, :, None])
    return Chunk(
        span=Span(start, stop, tuple(step.tolist())),
        every_step={"loss": at_steps, "accuracy": at_steps},
        measured={column.name: at_layers for column in COLUMNS["layers"]},
        probe=_probe(stop),
        carry=None,
    )


def _probe(step: int) -> dict[str, np.ndarray]:
    values = value(step, 0, np.arange(RUNS_PER_PACK))
    return {column.name: values for column in COLUMNS["probe"]}


def _state(step: int) -> dict[str, np.ndarray]:
    return {
        "params/layers/0/kernel": value(step, 0, np.arange(RUNS_PER_PACK)[:, None]),
        "first_bad_step": np.full(RUNS_PER_PACK, -1),
    }


def value(step: Any, layer: Any, lane: Any) -> np.ndarray:
    """A number that is exact in float32 and that no other place of a pack has."""
    return np.asarray(lane * 100_000 + step * 100 + layer, np.float32)
