"""Trains one run again, alone, and compares every stored value bit by bit."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tfc_jax import store
from tfc_jax.devices import Devices
from tfc_jax.errors import InputError
from tfc_jax.executors import local
from tfc_jax.executors.local import Interrupt
from tfc_jax.launch import Options, started_packs, worker_settings
from tfc_jax.layout import Folder
from tfc_jax.manifest import launched_sweep
from tfc_jax.plan import StartedPack, pack_id
from tfc_jax.results import Results
from tfc_jax.schema import result_columns
from tfc_jax.task import Task


@dataclass(frozen=True)
class Comparison:
    """Outcome of a replay.

    Attributes:
      values: numbers compared, over all tables and the final weights.
      differing: how many of them differ in a bit; missing or extra rows count whole.
      largest: largest absolute difference among them.
      where: table and column of each difference, at most ten.
    """

    values: int
    differing: int
    largest: float
    where: tuple[str, ...]

    def as_text(self, run_id: str) -> str:
        """One sentence, and where the differences are."""
        sentence = f"{run_id}: {self.differing} of {self.values:,} values differ in a bit"
        if self.differing:
            sentence += f" (by at most {self.largest:.3g}): {', '.join(self.where)}"
        return sentence


def replay(folder: Folder, run_id: str, found: Devices) -> Comparison:
    """Trains `run_id` from step 0, without its neighbours, to its last committed step.

    Args:
      found: devices of this machine; for equal bits of the kind that trained the run.
    Raises:
      InputError: no such run, nothing committed yet, or the run cannot be trained here.
    """
    sweep = launched_sweep(folder)
    pack = _pack_of(folder, run_id)
    run = next(r for r in pack.runs if r.run_id == run_id)
    with tempfile.TemporaryDirectory(prefix="tfc-replay-") as scratch:
        again = Folder(Path(scratch))
        store.create(again, sweep.record)
        task = Task(
            out=scratch,
            pack=pack_id([run_id]),
            program="replay",
            runs=(run,),
            width=pack.width,
            schedule=pack.schedule,
            record=sweep.record,
            steps=pack.steps_done,
        )
        _train(task, found)
        tables = list(result_columns(sweep.record))
        return _compare(Results(folder), Results(again), run_id, tables)


def _pack_of(folder: Folder, run_id: str) -> StartedPack:
    Results(folder).run(run_id)  # raises for an unknown run
    pack = next(p for p in started_packs(folder) if run_id in {r.run_id for r in p.runs})
    if pack.steps_done == 0:
        raise InputError(f"{run_id}: no step of it is committed yet. Finish it with `tfc run`.")
    return pack


def _train(task: Task, found: Devices) -> None:
    failures: list[str] = []

    def watch(event: dict[str, str]) -> None:
        if event["event"] == "failed":
            failures.append(event["error"])

    with tempfile.TemporaryFile("w") as diagnostics:
        extra = worker_settings(Options(deterministic=True))
        settings = local.Settings(found, 1, extra, diagnostics)
        local.execute([task], settings, watch, Interrupt())
    if failures:
        raise InputError(f"The replay could not be trained here: {failures[0]}.")


def _compare(stored: Results, again: Results, run_id: str, tables: list[str]) -> Comparison:
    where = f'run_id == "{run_id}"'
    pairs = {table: (stored.table(table, where), again.table(table, where)) for table in tables}
    values = differing = 0
    largest, places = 0.0, []
    for table, (old, new) in pairs.items():
        for column in old.columns:
            n, size = _differences(old[column], new[column])
            values, differing, largest = values + len(old), differing + n, max(largest, size)
            places += [f"{table}.{column}: {n} values"] if n else []
    return Comparison(values, differing, largest, tuple(places[:10]))


def _differences(old: pd.Series, new: pd.Series) -> tuple[int, float]:
    """Returns how many values differ in a bit, and by how much at most."""
    if len(old) != len(new):
        return max(len(old), len(new)), float("inf")
    if old.dtype != np.float32:
        return int((old.to_numpy() != new.to_numpy()).sum()), 0.0
    a, b = old.to_numpy(), new.to_numpy()
    is_different = (a.view(np.uint32) != b.view(np.uint32)) & ~(np.isnan(a) & np.isnan(b))
    if not is_different.any():
        return 0, 0.0
    with np.errstate(invalid="ignore"):
        return int(is_different.sum()), float(np.nanmax(np.abs(a - b)[is_different]))
