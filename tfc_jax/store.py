"""The only writer of results.

A group of chunks is committed in this order: stage the parts beside the tables and sync them; write
a checkpoint that names them with their SHA-256 (the commit point); move the parts into the tables;
write the final weights, if done; rewrite the pack's rows of the runs table. Recovery finishes what
the newest good checkpoint names and drops everything it does not cover, so no row is lost or
doubled, and none stands half written.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfc_jax import checkpoint as checkpoints
from tfc_jax import files
from tfc_jax.checkpoint import Checkpoint, DamagedCheckpoint
from tfc_jax.chunk import Chunk
from tfc_jax.keys import KEYS, Run
from tfc_jax.layout import Folder, first_step, part_name
from tfc_jax.record import Record
from tfc_jax.runs_table import RunsTable, described, joined
from tfc_jax.schema import arrow_schema, result_columns, run_columns
from tfc_jax.tables import group_tables, write_parquet
from tfc_jax.task import Task

logger = logging.getLogger(__name__)

KEPT_CHECKPOINTS = 2
# Gives readers the columns while a table has no row yet.
EMPTY_PART = "empty.parquet"


def create(folder: Folder, record: Record) -> None:
    """Makes the folders of every table, each with an empty part, so that readers always succeed."""
    files.make_folder(folder.staging)
    files.make_folder(folder.params)
    for table, columns in {**result_columns(record), "runs": run_columns(record)}.items():
        if not folder.table(table).exists():
            staged = folder.staging / table
            staged.mkdir(exist_ok=True)
            write_parquet(arrow_schema(table, columns).empty_table(), staged / EMPTY_PART)
            files.sync_file(staged / EMPTY_PART)
            files.sync_folder(staged)
            files.move_in(staged, folder.table(table))


@dataclass
class PackStore:
    """Commits one pack.

    Attributes:
      pack: its id; also the prefix of all its files.
      runs: the real lanes.
      facts: columns of the runs table that are the same for all commits, by name, each one value
        or one per run.
      pending_bytes: size of the arrays that wait for a commit.
    """

    folder: Folder
    pack: str
    runs: tuple[Run, ...]
    record: Record
    facts: Mapping[str, Any]
    pending_bytes: int = field(default=0, init=False)
    _chunks: list[Chunk] = field(default_factory=list)
    _first_probe: dict[str, np.ndarray] | None = None
    _final: dict[str, np.ndarray] = field(default_factory=dict)
    _first_bad_step: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._first_bad_step = np.full(len(self.runs), -1)

    def recover(self) -> Checkpoint | None:
        """Finishes or drops what an interrupted launch left; returns where to go on from."""
        checkpoint = self._newest_good_checkpoint()
        done = checkpoint.step if checkpoint else 0
        if checkpoint:
            self._publish(checkpoint.parts)
            self._final = dict(checkpoint.final)
            self._remember(checkpoint.arrays)
        for table in result_columns(self.record):
            for part in self.folder.parts_of(table, self.pack):
                if first_step(part) >= done:
                    part.unlink()
            files.sync_folder(self.folder.table(table))
        for leftover in self.folder.leftovers_of(self.pack):
            leftover.unlink()
        return checkpoint

    def add_first_probe(self, probe: dict[str, np.ndarray] | None) -> None:
        """Takes the probe at step 0."""
        self._first_probe = probe

    def add(self, chunk: Chunk) -> None:
        """Takes a chunk into the group that the next commit writes."""
        self._chunks.append(chunk)
        groups = (chunk.every_step, chunk.measured, chunk.probe or {})
        self.pending_bytes += sum(a.nbytes for columns in groups for a in columns.values())
        last = {name: a[:, -1] for name, a in chunk.every_step.items()}
        probed = {name: a for name, a in (chunk.probe or {}).items() if a.ndim == 1}  # per run
        self._final |= {n: last[n] for n in ("loss", "accuracy") if n in last} | probed

    def commit(self, state: dict[str, np.ndarray], wall_s: float, status: str) -> None:
        """Makes all chunks since the last commit durable and visible.

        Args:
          state: the carry after the last chunk, by name, padding lanes included.
          wall_s: seconds spent on the pack so far.
          status: `running`, or `done` after the last step.
        """
        start, stop = self._chunks[0].span.start, self._chunks[-1].span.stop
        parts = self._stage(part_name(self.pack, start, stop))
        path = self.folder.checkpoint(self.pack, stop)
        checkpoints.save(path, Checkpoint(stop, state, parts, self._final, wall_s))
        self._publish(parts)
        self._remember(state)
        if status == "done":  # first, since nobody comes back to a pack whose rows say so
            self.write_params(state)
        self.write_runs(status, stop, wall_s)
        self._chunks, self._first_probe, self.pending_bytes = [], None, 0
        kept = 1 if status == "done" else KEPT_CHECKPOINTS
        for old in self.folder.checkpoints_of(self.pack)[kept:]:
            old.unlink()

    def write_runs(self, status: str, steps_done: int, wall_s: float) -> None:
        """Rewrites the pack's rows of the runs table; done runs that went bad are `diverged`."""
        n, is_bad = len(self.runs), self._first_bad_step >= 0
        statuses = np.where(is_bad & (status == "done"), "diverged", status)
        outcome = {
            "run_id": [run.run_id for run in self.runs],
            **{name: [getattr(run, name) for run in self.runs] for name in KEYS},
            **self.facts,
            "status": statuses.tolist(),
            "first_bad_step": [int(s) if s >= 0 else None for s in self._first_bad_step],
            "steps_done": steps_done,
            "pack": self.pack,
            "lane": list(range(n)),
            "wall_s": wall_s / n,
            **{f"final_{name}": values.tolist() for name, values in self._final.items()},
        }
        schema = arrow_schema("runs", run_columns(self.record))
        table = pa.Table.from_arrays(
            [pa.array(_per_run(outcome.get(f.name), n), f.type) for f in schema], schema=schema
        )
        staged = self.folder.staging / f"runs-{self.pack}-rows.parquet"
        # Few rows of many columns: compressed, they take twice as long to read.
        write_parquet(table, staged, compression="none")
        files.sync_file(staged)
        files.move_in(staged, self.folder.runs / f"{self.pack}.parquet")

    def _stage(self, name: str) -> dict[str, str]:
        """Writes the group's parts beside the tables; returns path -> SHA-256."""
        run_ids = [run.run_id for run in self.runs]
        columns = result_columns(self.record)
        parts = {}
        for table, rows in group_tables(self._chunks, run_ids, columns, self._first_probe).items():
            if rows.num_rows:
                staged = self.folder.staging / f"{table}-{name}"
                write_parquet(rows, staged)
                files.sync_file(staged)
                parts[f"{table}/{name}"] = files.sha256(staged)
        files.sync_folder(self.folder.staging)
        return parts

    def _publish(self, parts: Mapping[str, str]) -> None:
        """Moves staged parts into their tables; those that are there already stay."""
        for relative in parts:
            staged = self.folder.staging / relative.replace("/", "-", 1)
            if staged.exists():
                files.move_in(staged, self.folder.root / relative)

    def _remember(self, state: Mapping[str, np.ndarray]) -> None:
        self._first_bad_step = state["first_bad_step"][: len(self.runs)]

    def _newest_good_checkpoint(self) -> Checkpoint | None:
        for path in self.folder.checkpoints_of(self.pack):
            try:
                return checkpoints.load(path)
            except DamagedCheckpoint as error:
                path.rename(path.with_suffix(".damaged"))
                logger.warning("%s Set aside; the pack goes on from the one before.", error)
        return None

    def write_params(self, state: Mapping[str, np.ndarray]) -> None:
        """Final weights of the real lanes, readable with `np.load`."""
        weights: dict[str, Any] = {
            name.removeprefix("params/"): array[: len(self.runs)]
            for name, array in state.items()
            if name.startswith("params/")
        }
        staged = self.folder.staging / f"params-{self.pack}-weights.npz"
        np.savez(staged, **weights)
        files.sync_file(staged)
        files.move_in(staged, self.folder.params / f"{self.pack}.npz")


def write_cells(folder: Folder, table: pa.Table) -> None:
    """Rewrites the leaf cells of a sweep that refines."""
    files.make_folder(folder.cells.parent)
    staged = folder.staging / "cells-leaves.parquet"
    write_parquet(table, staged)
    files.sync_file(staged)
    files.move_in(staged, folder.cells)


def gather_runs(folder: Folder) -> None:
    """Copies the rows of all packs into one file, if that is not done; nobody else may write.

    All rows are stored without it, so a disk without room for it only costs later readers time.
    """
    try:
        _gather_runs(folder)
    except OSError as error:
        logger.warning(
            "%s: this copy of the runs table was not written (%s). No row is lost; plans and "
            "status take longer.",
            *(folder.gathered, error),
        )


def _gather_runs(folder: Folder) -> None:
    table = RunsTable(folder)
    marks = {file.name: files.mark(file) for file in table.files}
    if table.copies(marks):
        return
    copied = []

    def rows() -> Iterator[pa.Table]:
        for name, mark in marks.items():
            part = table.rows_of(folder.runs / name)
            copied.append((name, mark, len(part)))
            yield part

    gathered = joined(rows())
    staged = folder.staging / "runs-gathered.parquet"
    write_parquet(gathered.replace_schema_metadata(described(copied)), staged)
    files.sync_file(staged)
    files.move_in(staged, folder.gathered)


def mark_failed(task: Task) -> None:
    """Stores that a pack could not be trained; what it committed stays, `tfc retry` goes on."""
    folder = Folder(Path(task.out))
    facts = {"schedule": task.schedule, "pack_width": task.width, "program": task.program}
    known = facts | stored_facts(folder, task.pack)
    store = PackStore(folder, task.pack, task.runs, task.record, known)
    checkpoint = store.recover()
    step, wall_s = (checkpoint.step, checkpoint.wall_s) if checkpoint else (0, 0.0)
    store.write_runs("failed", step, wall_s)


def stored_facts(folder: Folder, pack: str) -> dict[str, Any]:
    """What a pack's rows say besides its keys, one list per column, such as versions."""
    rows = folder.runs / f"{pack}.parquet"
    if not rows.exists():
        return {}
    columns = pq.read_table(rows, partitioning=None).to_pydict()
    return {name: values for name, values in columns.items() if name not in KEYS}


def _per_run(value: Any, n: int) -> Sequence[Any]:
    return value if isinstance(value, list) else [value] * n
