"""The only writer of results.

A group of chunks is committed in this order: stage the parts beside the tables and sync them; write
a checkpoint that names them with their SHA-256 and move it in (the commit point); publish the parts
by hard links, which never take the place of another file; write the final weights, if done; rewrite
the pack's rows of the runs table, which is what others call committed. Recovery publishes what the
newest good checkpoint names and takes away everything that it does not cover, so no row is lost or
doubled, and none stands half written. All of it goes through the writer's own folder (stage.py),
so that a writer that was replaced changes nothing.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfc_jax import checkpoint as checkpoints
from tfc_jax import files, merged
from tfc_jax.checkpoint import Checkpoint, DamagedCheckpoint, Part
from tfc_jax.chunk import Chunk
from tfc_jax.keys import KEYS, Run
from tfc_jax.layout import Folder, last_step, part_name
from tfc_jax.parts import (
    DamagedPart,
    check_content,
    check_names,
    damage,
    final_weights,
    same_rows,
    staged_name,
)
from tfc_jax.record import Record
from tfc_jax.runs_table import content, rows_schema
from tfc_jax.schema import result_columns
from tfc_jax.stage import Stage
from tfc_jax.successor import succeeding
from tfc_jax.tables import group_tables, write_parquet

logger = logging.getLogger(__name__)

KEPT_CHECKPOINTS = 2
# Names in the folder of a pack's writer, besides those of parts.
CHECKPOINT, OLD_CHECKPOINT = "checkpoint.npz", "checkpoint-old.npz"
DAMAGED_CHECKPOINT = "checkpoint-damaged.npz"
ROWS, WEIGHTS = "rows.parquet", "weights.npz"
WITHDRAWN = "withdrawn-"


class Contradiction(Exception):
    """Rows that were computed again are not those that were stored before."""


@dataclass
class PackStore:
    """Commits one pack.

    Attributes:
      pack: its id; also the prefix of all its files.
      runs: the real lanes.
      facts: columns of the runs table that are the same for all commits, by name, each one value
        or one per run.
      pending_bytes: size of the arrays that wait for a commit.
      ends: steps at which to commit, since there are rows up to them to compare with.
      notices: what the user should be told of the state in which the pack was found.
    """

    folder: Folder
    pack: str
    runs: tuple[Run, ...]
    record: Record
    facts: Mapping[str, Any]
    pending_bytes: int = field(default=0, init=False)
    ends: frozenset[int] = field(default=frozenset(), init=False)
    notices: list[str] = field(default_factory=list, init=False)
    _done: int = field(default=0, init=False)  # steps that are committed
    _chunks: list[Chunk] = field(default_factory=list)
    _first_probe: dict[str, np.ndarray] | None = None
    _final: dict[str, np.ndarray] = field(default_factory=dict)
    _parts: dict[str, Part] = field(default_factory=dict)  # all that are committed
    _checkpoints: list[Path] = field(default_factory=list)  # newest last
    _first_bad_step: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._first_bad_step = np.full(len(self.runs), -1)

    @cached_property
    def _stage(self) -> Stage:
        return Stage.take(self.folder, self.pack)

    def recover(self) -> Checkpoint | None:
        """Takes the pack over; publishes or takes away what its last writer left.

        Returns:
          where to go on from; None at the start.
        Raises:
          Fenced: another writer takes it over at the same moment.
          DamagedPart: a data file that the checkpoint names is gone, or is not what it was.
        """
        self._stage = Stage.take(self.folder, self.pack)  # first: what is read below stays so
        files.sync_folder(self.folder.checkpoints)  # a kill may have come before its own sync
        checkpoint = self.newest_good_checkpoint()
        if checkpoint:
            self._stage = self._stage.after(checkpoint.epoch)
            self._done = checkpoint.step
            self._final, self._parts = dict(checkpoint.final), dict(checkpoint.parts)
            self._remember(checkpoint.arrays)
            self._roll_forward(checkpoint.parts)
        self._withdraw()
        for name in self._stage.names():
            if not self._is_ahead(name):
                self._stage.drop(name)
        self.ends = frozenset(last_step(Path(name)) for name in self._stage.names())
        return checkpoint

    def next_end(self, step: int) -> int | None:
        """Returns the next of `ends` that is not before a step; until then nothing is committed."""
        return min((end for end in self.ends if end >= step), default=None)

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
        Raises:
          Fenced: another writer has taken the pack over.
          Contradiction: these rows were stored before, and were others.
        """
        start, stop = self._chunks[0].span.start, self._chunks[-1].span.stop
        parts = self._stage_parts(part_name(self.pack, start, stop))
        self._parts |= parts
        with self._stage.new_file(CHECKPOINT) as file:
            saved = Checkpoint(stop, state, self._parts, self._final, wall_s, self._stage.epoch)
            checkpoints.save(file, saved)
        self._stage.sync()
        self._checkpoints.append(self.folder.checkpoint(self.pack, stop))
        self._stage.move_out(CHECKPOINT, self._checkpoints[-1])
        self._done = stop
        self._publish(parts)
        self._sync_tables(parts)
        self._remember(state)
        if status == "done":  # first, since nobody comes back to a pack whose rows say so
            self.write_params(state)
        self.write_runs(status, stop, wall_s)
        self._chunks, self._first_probe, self.pending_bytes = [], None, 0
        while len(self._checkpoints) > KEPT_CHECKPOINTS:
            self._stage.take_in(self._checkpoints.pop(0), OLD_CHECKPOINT)
        for name in (OLD_CHECKPOINT, *map(staged_name, parts)):
            self._stage.drop(name)

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
        schema = rows_schema(self.record)
        table = pa.Table.from_arrays(
            [pa.array(_per_run(outcome.get(f.name), n), f.type) for f in schema], schema=schema
        )
        place = self.folder.runs / f"{self.pack}.parquet"
        former = content(place) if place.exists() else b""
        with self._stage.new_file(ROWS) as file:
            # Few rows of many columns: compressed, they take twice as long to read.
            file.write(succeeding(former, table, compression="none"))
        self._stage.move_out(ROWS, place)

    def write_failed(self, checkpoint: Checkpoint | None) -> None:
        """Says in the runs table that the pack could not be trained beyond its last commit."""
        step, wall_s = (checkpoint.step, checkpoint.wall_s) if checkpoint else (0, 0.0)
        self.write_runs("failed", step, wall_s)

    def write_params(self, state: Mapping[str, np.ndarray]) -> None:
        """Final weights of the real lanes, readable with `np.load`."""
        real = len(self.runs)
        weights: dict[str, Any] = {n: a[:real] for n, a in final_weights(state).items()}
        with self._stage.new_file(WEIGHTS) as file:
            np.savez(file, **weights)
        self._stage.move_out(WEIGHTS, self.folder.params / f"{self.pack}.npz")

    def release(self) -> None:
        """Gives the pack back, unless there are rows left to compare with later ones."""
        if not any(map(self._is_ahead, self._stage.names())):
            self._stage.close()

    def _stage_parts(self, name: str) -> dict[str, Part]:
        """Writes the group's parts beside the tables."""
        run_ids = [run.run_id for run in self.runs]
        columns = result_columns(self.record)
        parts = {}
        for table, rows in group_tables(self._chunks, run_ids, columns, self._first_probe).items():
            if rows.num_rows:
                path = f"{table}/{name}"
                with self._stage.new_file(staged_name(path)) as file:
                    write_parquet(rows, file)
                parts[path] = Part(file.digest().hex(), rows.num_rows)
                self._compare(path, parts[path])
        return parts

    def _compare(self, path: str, part: Part) -> None:
        """Compares a staged part with the one that was withdrawn, if there is one, and drops that.

        Another version of a library may write the same rows in other bytes.
        """
        name = WITHDRAWN + staged_name(path)
        withdrawn = self._stage.path / name
        if not withdrawn.exists():
            return
        is_same = files.sha256(withdrawn) == part.sha256
        if not is_same and not same_rows(withdrawn, self._stage.path / staged_name(path)):
            raise Contradiction(
                f"{path}: these rows were computed again, since a checkpoint was damaged, and "
                f"differ from those that were stored before (another version of jax, or another "
                f"device?). To go on with the new ones, delete {name} in the folder "
                f"{self.folder.staging / self.pack}.*, then use `tfc retry`."
            )
        self._stage.drop(name)

    def _publish(self, parts: Mapping[str, Part]) -> None:
        """Gives staged parts their place in the tables; the names are not durable yet."""
        for path, part in parts.items():
            target = self.folder.root / path
            try:
                self._stage.link(staged_name(path), target)
            except FileExistsError:
                check_content(target, part)

    def _sync_tables(self, parts: Iterable[str]) -> None:
        """Makes the names of parts durable."""
        for table in sorted({path.split("/")[0] for path in parts}):
            files.sync_folder(self.folder.table(table))

    def _roll_forward(self, parts: Mapping[str, Part]) -> None:
        """Publishes what a checkpoint names and a crash kept from being published."""
        staged = self._stage.names()
        standing = merged.standing(self.folder, parts, merged.read(self.folder, self.pack))
        missing = {p: part for p, part in standing.items() if not (self.folder.root / p).exists()}
        for path, part in missing.items():
            if staged_name(path) not in staged:
                raise DamagedPart(damage(self.folder.root / path, "is missing"))
            check_content(self._stage.path / staged_name(path), part)
        self._publish(missing)
        self._sync_tables(parts)  # also of those whose writer was killed before it did

    def _withdraw(self) -> None:
        """Takes away what the checkpoint does not cover; what comes instead is compared with it."""
        for table in result_columns(self.record):
            parts = self.folder.parts_of(table, self.pack)
            late = [part for part in parts if last_step(part) > self._done]
            for part in late:
                self._stage.take_in(part, WITHDRAWN + staged_name(f"{table}/{part.name}"))
            if late:
                files.sync_folder(self.folder.table(table))

    def _is_ahead(self, name: str) -> bool:
        """Whether a staged file waits to be compared with rows that are yet to be computed."""
        return name.startswith(WITHDRAWN) and last_step(Path(name)) > self._done

    def _remember(self, state: Mapping[str, np.ndarray]) -> None:
        self._first_bad_step = state["first_bad_step"][: len(self.runs)]

    def newest_good_checkpoint(self) -> Checkpoint | None:
        """Reads where to go on from; sets damaged checkpoints aside."""
        found = self.folder.checkpoints_of(self.pack)
        for number, path in enumerate(found):
            try:
                checkpoint = checkpoints.load(path)
                check_names(checkpoint, self.pack, path)
            except DamagedCheckpoint as error:
                self._stage.take_in(path, DAMAGED_CHECKPOINT)
                self._stage.move_out(DAMAGED_CHECKPOINT, path.with_suffix(".damaged"))
                notice = f"{error} Set aside; the pack goes on from the one before."
                logger.warning(notice)
                self.notices.append(notice)
            else:
                self._checkpoints = found[number:][::-1]
                return checkpoint
        return None


def stored_facts(folder: Folder, pack: str) -> dict[str, Any]:
    """What a pack's rows say besides its keys, one list per column, such as versions."""
    rows = folder.runs / f"{pack}.parquet"
    if not rows.exists():
        return {}
    columns = pq.read_table(rows, partitioning=None).to_pydict()
    return {name: values for name, values in columns.items() if name not in KEYS}


def _per_run(value: Any, n: int) -> Sequence[Any]:
    return value if isinstance(value, list) else [value] * n
