"""Cheap reading of a results folder, again and again, also while a sweep writes to it.

A file that has not changed is not read again. Files move in whole and may vanish at any time (a
recovery drops parts, `--fresh` all of them): one that is gone counts as not there.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa

from tfc_jax.config import Outline
from tfc_jax.event_log import MAX_LINE, Entry, entry_of, lines, opened
from tfc_jax.files import Mark, mark
from tfc_jax.layout import Folder
from tfc_jax.lock import owner_is_gone
from tfc_jax.manifest import launched_outline
from tfc_jax.run_arrays import RunArrays, of_outline, of_runs
from tfc_jax.runs_table import RunsTable, joined
from tfc_jax.untrusted import reading

T = TypeVar("T")
HEAD = 200  # bytes that tell one log from another
RUN_COLUMNS = ("run_id", "pack", "status", "steps_done", "prior_loss", "built_width")


class Cache(Generic[T]):
    """What was read from each file, until the file changes or is no longer asked for."""

    def __init__(self, load: Callable[[Path], T]) -> None:
        self._load = load
        self._kept: dict[Path, tuple[Mark, T]] = {}

    def read(self, paths: list[Path]) -> dict[Path, T]:
        """Returns what each file holds; files that are gone are left out, others forgotten."""
        fresh = {}
        for path in paths:
            try:
                now = mark(path)
                kept = self._kept.get(path)
                fresh[path] = kept if kept and kept[0] == now else (now, self._load(path))
            except FileNotFoundError:
                continue
        self._kept = fresh
        return {path: value for path, (_, value) in fresh.items()}


@dataclass
class Launch:
    """What the log says of the newest launch.

    Attributes:
      committed_steps: run-steps that were there before.
      began, ended: seconds since the epoch, of its first and its newest entry.
      elapsed_s: between them, by a clock that nobody sets where the log has one.
      over: whether it said that it ended.
      first, newest: step by pack, at its start and now; `started` alone gives no newest.
      finished: packs.
      errors: of failed packs, by pack.
    """

    committed_steps: int = 0
    began: float | None = None
    ended: float = 0.0
    elapsed_s: float = 0.0
    over: bool = False
    first: dict[str, int] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    errors: dict[str, str] = field(default_factory=dict)

    def take(self, entry: Entry) -> None:
        """Adds one entry."""
        self.ended = entry.time
        self.began = self.ended if self.began is None else self.began
        self.elapsed_s = self.ended - self.began if entry.elapsed_s is None else entry.elapsed_s
        self.over = entry.event == "ended"
        match entry.event:
            case "launched":
                self.committed_steps = entry.committed_steps
            case "started":
                self.first[entry.pack] = entry.step
            case "step":
                self.newest[entry.pack] = entry.step
            case "halved" if entry.pack in self.newest:
                self.newest[entry.pack] = entry.step  # it goes on from there
            case "finished":
                self.finished.add(entry.pack)
            case "failed":
                self.errors[entry.pack] = entry.error


class Log:
    """log.jsonl from where the last reading stopped.

    Lines that are cut short, or that no launch of ours writes, are left out.

    A log that begins otherwise than the one that was read is another one (`--fresh`): its first
    entry holds the time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._forget()

    def _forget(self) -> None:
        self._head, self._offset, self._launch = b"", 0, Launch()

    def read(self) -> Launch:
        """Returns the newest launch; an empty one without a log.

        Raises:
          InputError: the log is larger than 1 GiB.
        """
        try:
            with opened(self._path) as log:
                shorter = log.seek(0, os.SEEK_END) < self._offset
                log.seek(0)
                if shorter or log.read(len(self._head)) != self._head:
                    self._forget()
                log.seek(self._offset)
                for line in lines(log):
                    if not line.endswith(b"\n") and len(line) < MAX_LINE:
                        break  # still being written
                    self._head = self._head or line[:HEAD]
                    self._offset += len(line)
                    self._take(line)
        except OSError:  # absent, or not for us to read
            self._forget()
        return self._launch

    def _take(self, line: bytes) -> None:
        entry = entry_of(line)
        if entry is None:
            return
        if entry.event == "launched":
            self._launch = Launch()
        self._launch.take(entry)


@dataclass(frozen=True)
class Asked:
    """What the results are of.

    Attributes:
      name, steps: as of the sweep.
      runs: those of all rounds that the results ask for.
      round: of a sweep that refines, the newest; None for others.
      more: at most so many runs can follow in later rounds.
    """

    name: str
    steps: int
    runs: RunArrays
    round: int | None = None
    more: int = 0


class Glance:
    """One folder, read repeatedly."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._log = Log(folder.log)
        self._table = RunsTable(folder, RUN_COLUMNS)
        self._copied: Mark | None = None  # the copy of the runs table that was read
        self._alone: Cache[pa.Table] = Cache(self._table.read_alone)
        self._rows: tuple[Any, pa.Table] | None = None
        self._outline: tuple[Any, Outline] | None = None
        self._asked: tuple[Any, Asked] | None = None

    def asked(self) -> Asked:
        """Returns what the sweep asks for that was launched last, and its results so far.

        Raises:
          InputError: the folder holds no results.
        """
        files = [p for p in (self.folder.manifest, self.folder.sweep) if p.exists()]
        marks: list[Any] = [(path, mark(path)) for path in files]
        if self._outline is None or self._outline[0] != marks:
            self._outline = marks, launched_outline(self.folder)
        outline = self._outline[1]
        if outline.refine:  # then outcomes ask for runs
            marks += self._table.marks().items()
        if self._asked is None or self._asked[0] != marks:
            self._asked = marks, self._known(outline)
        return self._asked[1]

    def _known(self, outline: Outline) -> Asked:
        if outline.refine is None:
            return Asked(outline.name, outline.steps, of_outline(outline))
        from tfc_jax import rounds  # and with it pandas, which takes as long as all the rest

        sweep = rounds.known(outline.sweep, self.folder)
        return Asked(sweep.name, sweep.steps, of_runs(sweep.runs), sweep.round, sweep.more)

    def launch(self) -> Launch:
        """Returns what the log says; a launch whose process is gone is over, though it says not."""
        launch = self._log.read()
        if not launch.over and owner_is_gone(self.folder):
            return replace(launch, over=True)
        return launch

    def runs(self) -> pa.Table:
        """Returns RUN_COLUMNS of every started run; a column that no file has is not there.

        Raises:
          InputError: a file is damaged, or holds what no launch writes.
        """
        marks = self._table.marks()
        if self._rows is None or self._rows[0] != marks:
            self._look_at_copy()
            self._rows = marks, self._read(marks)
        return self._rows[1]

    def _look_at_copy(self) -> None:
        """Takes a copy of the runs table that was written since, which stands for more files."""
        path = self.folder.gathered
        copied = mark(path) if path.exists() else None
        if copied != self._copied:
            self._table, self._copied = RunsTable(self.folder, RUN_COLUMNS), copied

    def _read(self, marks: Mapping[str, Mark]) -> pa.Table:
        places = self._table.places(marks)
        alone = [self.folder.runs / name for name, place in places.items() if place is None]
        pieces = list(self._table.pieces(places, self._alone.read(alone).get))
        if not pieces:
            return pa.table({name: [] for name in RUN_COLUMNS})
        with reading(self.folder.root, self.folder.runs):
            rows = joined(pieces)
            self._table.check(rows)
        return rows
