"""tfc_jax itself: its packs, its engine, its store, as `tfc run` uses them on a CPU."""

import tempfile
from collections import deque
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
import pyarrow.parquet as pq

from bench import limits, sweep
from bench.child import Contender
from tfc_jax.chunk import Chunk
from tfc_jax.engine import PackEngine
from tfc_jax.folder_tables import create
from tfc_jax.layout import Folder
from tfc_jax.record import Record
from tfc_jax.worker import prepare, train_pack

WHOLE_RUN_CHUNKS = 4  # 1000 steps, the default of a sweep
DROPPED, STORED = "whole pack, dropped", "whole pack, to Parquet"


class Bare(Contender):
    """Row `bare`: one chunk of one pack, without records but loss and accuracy.

    A repeat trains the first pack: a mapped program trains lane after lane, so neither the other
    lanes nor the other packs change what a step takes.
    """

    rows: tuple[str, ...] = ("bare",)
    records: ClassVar[Mapping[str, Record]] = {"bare": sweep.BARE}

    def prepare(self) -> None:
        self.engines = {row: self._engines(record) for row, record in self.records.items()}
        self.states: dict[str, tuple[Any, int]] = {}

    def losses(self) -> dict[str, np.ndarray]:
        return {row: self._first_losses(row) for row in self.records}

    def repeat(self, row: str) -> float:
        engine = self.engines[row][0]
        carry, start = self.states[row]
        stop = start + self.problem.chunk
        self.states[row] = (_train(engine, carry, start, stop).carry, stop)
        return len(engine.runs) * self.problem.chunk

    def versions(self) -> dict[str, str]:
        return {"tfc_jax": version("tfc_jax"), "jax": jax.__version__}

    def _engines(self, record: Record) -> list[PackEngine]:
        tasks = sweep.tasks(self.problem, self.folder, record, self.problem.steps)
        return [prepare(task)[0] for task in tasks]

    def _first_losses(self, row: str) -> np.ndarray:
        losses = []
        for engine in self.engines[row]:
            chunk = _train(engine, engine.init(), 0, self.problem.steps)
            losses.append(chunk.every_step["loss"])
            self.states.setdefault(row, (chunk.carry, self.problem.steps))
        return np.concatenate(losses)


class Ours(Bare):
    """What recording costs, and what the machine could do, beside `bare` in one process.

    `metrics ...` are the default families. DROPPED trains a pack from its initial weights to its
    end, with the metrics at every step, and drops what it fetched; for STORED, the worker does the
    same and stores everything.
    """

    rows = (
        *("bare", "metrics every step", "metrics every 10 steps", DROPPED, STORED),
        *("matmul peak", "memory copy"),
    )
    records: ClassVar[Mapping[str, Record]] = {
        "bare": sweep.BARE,
        "metrics every step": sweep.EVERY_STEP,
        "metrics every 10 steps": sweep.EVERY_10,
    }

    def prepare(self) -> None:
        super().prepare()
        self.peak, self.copy = limits.fastest_matmul(self.problem), limits.Copy()

    def losses(self) -> dict[str, np.ndarray]:
        losses = super().losses()
        for row in (DROPPED, STORED):
            self.before(row)
            self.repeat(row)
        return losses | {STORED: self._stored_losses()[:, : self.problem.steps]}

    def before(self, row: str) -> None:
        if row == STORED:
            self.out = Path(tempfile.mkdtemp(dir=self.folder))
            create(Folder(self.out), sweep.EVERY_STEP)

    def repeat(self, row: str) -> float:
        if row == "matmul peak":
            return self.peak.run()
        if row == "memory copy":
            return self.copy.run()
        if row == DROPPED:
            engine = self.engines["metrics every step"][0]
            _train(engine, engine.init(), 0, self.whole_run)
            return len(engine.runs) * self.whole_run
        if row == STORED:
            return self._store_pack()
        return super().repeat(row)

    @property
    def whole_run(self) -> int:
        """Steps of a run that is stored."""
        return WHOLE_RUN_CHUNKS * self.problem.chunk

    def _store_pack(self) -> float:
        problem, folder = self.problem, self.folder
        task = sweep.tasks(problem, folder, sweep.EVERY_STEP, self.whole_run, self.out)[0]
        if not train_pack(task, lambda event: None, lambda: False):
            raise RuntimeError("the pack stopped before its end")
        return len(task.runs) * self.whole_run

    def _stored_losses(self) -> np.ndarray:
        """The losses (R, steps) that the last repeat stored."""
        parts = sorted(Folder(self.out).table("steps").glob("*.parquet"))
        rows = pq.read_table([str(part) for part in parts], columns=["run_id", "step", "loss"])
        losses = rows.sort_by("step").to_pandas().pivot(index="run_id", columns="step")["loss"]
        runs = self.engines["metrics every step"][0].runs
        return losses.loc[[run.run_id for run in runs]].to_numpy()


def _train(engine: PackEngine, carry: Any, start: int, stop: int) -> Chunk:
    """Trains, drops what comes out of it, and returns the last chunk, which has the state."""
    return deque(engine.train(carry, start, stop, lambda span: False), maxlen=1)[0]
