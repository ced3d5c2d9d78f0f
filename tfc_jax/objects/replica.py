"""Commits a pack to an object store: first on the local disk, as ever, then there.

A commit counts when the object store has it. The local folder holds the group at work and the
newest checkpoints; what else was there of the pack gives way to what the object store says.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfc_jax import files
from tfc_jax.checkpoint import Checkpoint, Part
from tfc_jax.layout import Folder, last_step
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.head import step_of
from tfc_jax.objects.writer import Writer
from tfc_jax.parts import DamagedPart
from tfc_jax.schema import result_columns
from tfc_jax.stage import Stage
from tfc_jax.store import PackStore
from tfc_jax.task import Task


class ReplicatedStore(PackStore):
    """Commits one pack, to a folder and to an object store."""

    def __init__(
        self, bucket: Bucket, folder: Folder, task: Task, facts: Mapping[str, Any]
    ) -> None:
        super().__init__(folder, task.pack, task.runs, task.record, facts)
        self._bucket = bucket
        self._writer: Writer | None = None
        self._is_committing = False

    def recover(self) -> Checkpoint | None:
        """Takes the pack over, here and there; what is there counts.

        Returns:
          where to go on from; None at the start.
        Raises:
          Fenced: another writer takes it over at the same moment.
          DamagedPart: a data file that the checkpoint names is gone.
        """
        self._writer = Writer.take(self._bucket, self.pack)
        self._stage = Stage.take(self.folder, self.pack)  # nobody else here moves files in now
        self._forget_local()
        brought = self._bring_checkpoints()
        checkpoint = super().recover()
        self._writer.set_aside(k for k, path in brought.items() if path not in self._checkpoints)
        return checkpoint

    def commit(self, state: dict[str, np.ndarray], wall_s: float, status: str) -> None:
        """Makes all chunks since the last commit durable and visible, on the disk and there."""
        known, self._is_committing = set(self._parts), True
        try:
            super().commit(state, wall_s, status)
        finally:
            self._is_committing = False
        new = [self.folder.root / path for path in self._parts if path not in known]
        weights = [self.folder.weights_of(self.pack)] if status == "done" else []
        self._send([*new, *weights, self._rows], self._checkpoints[-1])
        for path in (*new, *weights):
            files.remove(path)

    def write_runs(self, status: str, steps_done: int, wall_s: float) -> None:
        """Rewrites the pack's rows of the runs table."""
        super().write_runs(status, steps_done, wall_s)
        if not self._is_committing:
            self._send([self._rows])

    def write_params(self, state: Mapping[str, np.ndarray]) -> None:
        """Final weights of the real lanes, readable with `np.load`."""
        super().write_params(state)
        if not self._is_committing:
            self._send([self.folder.weights_of(self.pack)])
            files.remove(self.folder.weights_of(self.pack))

    def release(self) -> None:
        """Gives the pack back; only its rows stay on the local disk, for plans."""
        super().release()
        for path in self.folder.checkpoints_of(self.pack):
            files.remove(path)

    @property
    def _rows(self) -> Path:
        return self.folder.runs / f"{self.pack}.parquet"

    def _send(self, paths: Iterable[Path], checkpoint: Path | None = None) -> None:
        assert self._writer is not None, "it is recovered first"
        found = {path.relative_to(self.folder.root).as_posix(): path for path in paths}
        state = (self._done, checkpoint) if checkpoint else None
        self._writer.publish(found, state)

    def _forget_local(self) -> None:
        """Drops what this machine has of the pack, but rows that wait to be compared."""
        for path in self.folder.checkpoints_of(self.pack):
            files.remove(path)
        for table in result_columns(self.record):
            for part in self.folder.parts_of(table, self.pack):
                files.remove(part)

    def _bring_checkpoints(self) -> dict[str, Path]:
        """Returns the local files of the pack's checkpoints, by their keys."""
        assert self._writer is not None
        brought = {}
        for key in self._writer.checkpoints:
            step = step_of(key, self.pack)
            assert step is not None, "a head names checkpoints alone"
            path = self.folder.checkpoint(self.pack, step)
            if not self._bucket.download(key, path):
                path.touch()  # one that is gone is as damaged as can be
            brought[key] = path
        return brought

    def _roll_forward(self, parts: Mapping[str, Part]) -> None:
        """What was committed is in its place already; that all of it is there is made sure of."""
        tables = {path.split("/")[0] for path in parts}
        there = {key for table in tables for key in self._stored(table)}
        missing = sorted(set(parts) - there)
        if missing:
            raise DamagedPart(
                f"{self._bucket.place.url}/{missing[0]} is missing. Restore it from a copy, or "
                f"train again with --fresh."
            )

    def _withdraw(self) -> None:
        """Takes away what the checkpoint does not cover, there and here."""
        assert self._writer is not None
        keys = [key for table in result_columns(self.record) for key in self._stored(table)]
        late = [key for key in keys if last_step(Path(key)) > self._done]
        for key in late:
            self._bucket.download(key, self.folder.root / key)
        self._writer.withdraw(late)
        super()._withdraw()

    def _stored(self, table: str) -> list[str]:
        """Keys of the pack's parts of a table."""
        return [entry.key for entry in self._bucket.beginning(table, f"{self.pack}-")]
