"""A problem as a sweep of tfc_jax: the packs that `tfc run` would train on a CPU."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.problem import Problem
from tfc_jax.config import Sweep
from tfc_jax.keys import Run
from tfc_jax.pack import Pack
from tfc_jax.plan import make_plan
from tfc_jax.record import Record
from tfc_jax.task import Task
from tfc_jax.timetable import Schedule

BARE = Record(metrics=(), probes=())
EVERY_STEP = Record(probes=())
EVERY_10 = Record(every=10, probes=())


Keys = Mapping[str, Any]  # of every run, beside those that the problem fixes


def runs(problem: Problem, folder: Path, steps: int, keys: Keys | None = None) -> tuple[Run, ...]:
    """Returns the runs of a problem, which differ in their seed alone."""
    names = {"images": f"npz:{folder / 'images.npz'}", "digits": "digits"}
    return tuple(
        Run(
            dataset=names[problem.dataset],
            depth=problem.depth,
            width=problem.width,
            init="he_normal",
            learning_rate=problem.learning_rate,
            batch_size=problem.batch_size,
            steps=steps,
            seed=seed,
            **(keys or {}),
        )
        for seed in range(problem.runs)
    )


def packs(
    problem: Problem,
    folder: Path,
    record: Record,
    steps: int,
    *,
    width: int | None = None,
    schedule: Schedule = "mapped",
    keys: Keys | None = None,
) -> list[tuple[Pack, Sweep]]:
    """Returns the packs that a launch would train, in order, with their sweep.

    Args:
      folder: where `bench.draw` wrote the data set.
      width: lanes of a pack; None is the default of a CPU.
    """
    sweep = Sweep(
        name="bench",
        description="",
        record=record,
        steps=steps,
        runs=runs(problem, folder, steps, keys),
        text="",
        path="",
    )
    plan = make_plan(sweep, platform="cpu", width=width, schedule=schedule)
    return [(pack, sweep) for pack in plan.packs]


def tasks(
    problem: Problem, folder: Path, record: Record, steps: int, out: Path | None = None
) -> list[Task]:
    """Returns what a launch on a CPU would give its workers.

    Args:
      out: results folder, where one is written.
    """
    planned = packs(problem, folder, record, steps)
    return [Task.of(pack, sweep, str(out or folder)) for pack, sweep in planned]
