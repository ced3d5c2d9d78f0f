"""Trains one run again, alone, and compares every stored value bit by bit."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tfc_jax import folder_tables
from tfc_jax.devices import Devices
from tfc_jax.errors import InputError
from tfc_jax.event_log import entries
from tfc_jax.executors import local
from tfc_jax.executors.local import Interrupt
from tfc_jax.layout import Folder
from tfc_jax.manifest import launched_sweep
from tfc_jax.options import Options, worker_settings
from tfc_jax.pack import pack_id
from tfc_jax.plan import StartedPack
from tfc_jax.results import Results
from tfc_jax.schema import result_columns
from tfc_jax.started import started_packs
from tfc_jax.task import Task
from tfc_jax.untrusted import reading


@dataclass(frozen=True)
class Comparison:
    """Outcome of a replay.

    Attributes:
      values: numbers compared, over all tables and the final weights.
      differing: how many of them differ in a bit; missing or extra rows count whole.
      largest: largest absolute difference among them.
      where: table and column of each difference, at most ten.
      halved: for want of device memory the pack went on with another width in the middle of its
        training, or was replayed with another; bits are promised for one pack width only.
      run_id: the whole id of the run.
    """

    values: int
    differing: int
    largest: float
    where: tuple[str, ...]
    halved: bool = False
    run_id: str = ""

    def as_text(self, run_id: str) -> str:
        """One sentence, and where the differences are."""
        sentence = f"{run_id}: {self.differing} of {self.values:,} values differ in a bit"
        if self.differing:
            sentence += f" (by at most {self.largest:.3g}): {', '.join(self.where)}"
        if self.differing and self.halved:
            sentence += (
                ". Bits may differ here: a device ran out of memory while this pack trained, which "
                "went on with another pack width"
            )
        return sentence


def replay(folder: Folder, run_id: str, found: Devices) -> Comparison:
    """Trains a run from step 0, without its neighbours, to its last committed step.

    Args:
      run_id: its id, or the beginning of it that no other run shares.
      found: devices of this machine; for equal bits of the kind that trained the run.
    Raises:
      InputError: no such run, nothing committed yet, or the run cannot be trained here.
    """
    with reading(folder.root):
        sweep = launched_sweep(folder)
        run_id = str(Results(folder).run(run_id)["run_id"])
        pack = _pack_of(folder, run_id)
        was_halved = _was_halved(folder, pack)
    run = next(r for r in pack.runs if r.run_id == run_id)
    with tempfile.TemporaryDirectory(prefix="tfc-replay-") as scratch:
        again = Folder(Path(scratch))
        folder_tables.create(again, sweep.record)
        task = Task(
            out=scratch,
            pack=pack_id([run_id]),
            program="replay",
            runs=(run,),
            width=pack.width,
            schedule=pack.schedule,
            record=sweep.record,
            steps=pack.steps_done,
            dataset_sha256=pack.dataset_sha256 or "",
        )
        was_halved = _train(task, found) or was_halved
        tables = list(result_columns(sweep.record))
        with reading(folder.root):
            outcome = _compare(Results(folder), Results(again), run_id, tables)
        return replace(outcome, halved=was_halved, run_id=run_id)


def _pack_of(folder: Folder, run_id: str) -> StartedPack:
    pack = next(p for p in started_packs(folder) if run_id in {r.run_id for r in p.runs})
    if pack.steps_done == 0:
        raise InputError(f"{run_id}: no step of it is committed yet. Finish it with `tfc run`.")
    return pack


def _was_halved(folder: Folder, pack: StartedPack) -> bool:
    """Whether a pack changed its width after its first steps, by the log."""
    name = pack_id(run.run_id for run in pack.runs)
    return any(e.event == "halved" and e.pack == name and e.step for e in entries(folder))


def _train(task: Task, found: Devices) -> bool:
    """Returns whether the device had no memory for the width that was asked for."""
    failures: list[str] = []
    widths: list[str] = []

    def watch(event: dict[str, str]) -> None:
        if event["event"] == "halved":
            widths.append(event["width"])
        if event["event"] == "failed":
            failures.append(event["error"])

    with tempfile.TemporaryFile("w") as diagnostics:
        extra = worker_settings(Options(deterministic=True))
        settings = local.Settings(found, 1, extra, diagnostics)
        local.execute([task], settings, watch, Interrupt())
    if failures:
        raise InputError(f"The replay could not be trained here: {failures[0]}.")
    return bool(widths)


def _compare(stored: Results, again: Results, run_id: str, tables: list[str]) -> Comparison:
    pairs: dict[str, tuple[Any, Any]] = {}
    for table in tables:
        old, new = (results.arrow(table, run_id) for results in (stored, again))
        pairs |= {f"{table}.{name}": (old[name], new[name]) for name in old.column_names}
    if stored.run(run_id)["status"] in ("done", "diverged"):
        weights, trained = (results.params(run_id) for results in (stored, again))
        pairs |= {f"params/{name}": (weights[name], trained[name]) for name in weights}
    found = {name: _differences(_column(a), _column(b)) for name, (a, b) in pairs.items()}
    where = [f"{name}: {n} values" for name, (_, n, _) in found.items() if n]
    return Comparison(
        values=sum(n for n, _, _ in found.values()),
        differing=sum(n for _, n, _ in found.values()),
        largest=max((size for _, _, size in found.values()), default=0.0),
        where=tuple(where[:10]),
    )


def _column(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns values and where they are null, flat; nulls hold zeros."""
    if isinstance(values, np.ndarray):
        return values.ravel(), np.zeros(values.size, bool)
    null = values.is_null().to_numpy()
    zero = "" if pa.types.is_string(values.type) else 0
    return values.fill_null(zero).to_numpy(), null


def _differences(
    old: tuple[np.ndarray, np.ndarray], new: tuple[np.ndarray, np.ndarray]
) -> tuple[int, int, float]:
    """Returns how many values there are, how many differ in a bit, and by how much at most."""
    (a, a_null), (b, b_null) = old, new
    if len(a) != len(b):
        return len(a), max(len(a), len(b)), float("inf")
    if a.dtype != np.float32:
        return len(a), int(((a != b) | (a_null != b_null)).sum()), 0.0
    both_nan = np.isnan(a) & np.isnan(b)
    differs = ((a.view(np.uint32) != b.view(np.uint32)) & ~both_nan) | (a_null != b_null)
    with np.errstate(invalid="ignore"):
        gaps = np.abs(a - b)[differs]
    return len(a), int(differs.sum()), float(gaps[np.isfinite(gaps)].max(initial=0.0))
