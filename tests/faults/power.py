"""A model of a disk that loses power: what was not synced is there, or not, or in part.

`Recorder` stands for `os` in tfc_jax.files and notes what a program does to the disk. `crashes`
then yields what may be left when the power goes after any of its calls: of each write and each
entry of a folder that no fsync has made durable, either all or nothing, of a write also its first
half, in any combination. A rename within a folder happens or does not; one between folders is two
changes, of which either may be lost. No file system that keeps a journal loses as much.
"""

import itertools
import math
import os
import random
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Content = bytes | None  # None is a folder
State = dict[str, Content]  # by path below the root
ROOT = 0


@dataclass(frozen=True)
class Write:
    """Bytes of a file at an offset."""

    node: int
    offset: int
    content: bytes


@dataclass(frozen=True)
class Entries:
    """Names of one folder that change together; None takes a name away."""

    node: int
    names: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True)
class Sync:
    """An fsync of a file or a folder, and the last functions of tfc_jax that led to it."""

    node: int
    site: str


@dataclass(frozen=True)
class Told:
    """From here on the program has told the world something."""

    what: Any


Change = Write | Entries
Event = Change | Sync | Told


@dataclass
class Disk:
    """Contents of files and names in folders, by node."""

    contents: dict[int, bytes] = field(default_factory=dict)
    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})

    def copy(self) -> "Disk":
        return Disk(
            dict(self.contents), {node: dict(names) for node, names in self.folders.items()}
        )

    def apply(self, change: Change, share: float = 1.0) -> None:
        """Makes a change; of a write, the first `share` of its bytes."""
        match change:
            case Write(node, offset, content):
                old = self.contents.get(node, b"").ljust(offset, b"\0")
                kept = content[: int(len(content) * share)]
                self.contents[node] = old[:offset] + kept + old[offset + len(kept) :]
            case Entries(node, names):
                folder = self.folders.setdefault(node, {})
                for name, target in names:
                    folder.pop(name, None)
                    if target is not None:
                        folder[name] = target

    def state(self, node: int = ROOT, below: str = "") -> State:
        """What can be reached from the root."""
        found: State = {}
        for name, target in self.folders[node].items():
            path = f"{below}{name}"
            if target in self.folders:
                found |= {path: None} | self.state(target, f"{path}/")
            else:
                found[path] = self.contents.get(target, b"")
        return found


class Killed(BaseException):
    """The process ends here."""


class Recorder:
    """What `os` is for tfc_jax.files below `root`; does what it notes.

    Attributes:
      start: the disk before, all of it durable.
      events: what happened since.
      calls: names of the calls that changed the disk.
      kill_at: number of the call (from 0) before which the process is killed; it does nothing more
        until this is set again.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.start, self.events = root, Disk(), list[Event]()
        self.calls, self.kill_at = list[str](), -1
        self._numbers = itertools.count(ROOT + 1)
        self._nodes = {root: ROOT}  # by path, as the names are now
        self._open: dict[int, tuple[int, int]] = {}  # descriptor -> node, offset
        for path in sorted(root.rglob("*")):
            node = self._new_node(path, path.is_dir())
            self.start.folders[self._nodes[path.parent]][path.name] = node
            if path.is_file():
                self.start.contents[node] = path.read_bytes()

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def tell(self, what: Any) -> None:
        self.events.append(Told(what))

    @property
    def is_killed(self) -> bool:
        return len(self.calls) == self.kill_at

    def _call(self, name: str) -> None:
        if self.is_killed:
            raise Killed
        self.calls.append(name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            self._call("open")
        descriptor = os.open(path, flags, mode)
        if flags & os.O_CREAT:  # a file that was there is another one, emptied
            self._enter(path, self._new_node(path, False))
        self._open[descriptor] = (self._nodes[path], 0)
        return descriptor

    def write(self, descriptor: int, content: memoryview) -> int:
        if self.is_killed:  # what is left in a buffer when it is thrown away
            return len(content)
        self._call("write")
        n = os.write(descriptor, content)
        node, offset = self._open[descriptor]
        self.events.append(Write(node, offset, bytes(content[:n])))
        self._open[descriptor] = (node, offset + n)
        return n

    def fsync(self, descriptor: int) -> None:
        self._call("fsync")
        os.fsync(descriptor)
        frames = traceback.extract_stack()
        ours = [f for f in frames if Path(f.filename).parent.name == "tfc_jax"]
        names = [f"{Path(f.filename).stem}.{f.name}" for f in ours]
        site = [name for name, _ in itertools.groupby(names)][-3:]
        self.events.append(Sync(self._open[descriptor][0], " > ".join(site)))

    def mkdir(self, path: Path) -> None:
        self._call("mkdir")
        os.mkdir(path)
        self._enter(path, self._new_node(path, True))

    def link(self, source: Path, target: Path) -> None:
        self._call("link")
        os.link(source, target)
        self._nodes[target] = self._nodes[source]
        self._enter(target, self._nodes[source])

    def rename(self, source: Path, target: Path) -> None:
        self._call("rename")
        os.rename(source, target)
        for path in [p for p in self._nodes if p == source or source in p.parents]:
            self._nodes[target / path.relative_to(source)] = self._nodes.pop(path)
        here, there = self._nodes[source.parent], self._nodes[target.parent]
        entry, gone = (target.name, self._nodes[target]), (source.name, None)
        if here == there:
            self.events.append(Entries(here, (gone, entry)))
        else:
            self.events += [Entries(there, (entry,)), Entries(here, (gone,))]

    replace = rename

    def unlink(self, path: Path) -> None:
        self._call("unlink")
        os.unlink(path)
        self._enter(path, None)
        del self._nodes[path]

    def rmdir(self, path: Path) -> None:
        self._call("rmdir")
        os.rmdir(path)
        self._enter(path, None)
        del self._nodes[path]

    def _new_node(self, path: Path, is_folder: bool) -> int:
        node = self._nodes[path] = next(self._numbers)
        if is_folder:
            self.start.folders[node] = {}  # nothing is in it before something is entered
        return node

    def _enter(self, path: Path, node: int | None) -> None:
        self.events.append(Entries(self._nodes[path.parent], ((path.name, node),)))


def crashes(
    start: Disk, events: Iterable[Event], at_most: int, rng: random.Random
) -> Iterator[tuple[State, Any]]:
    """Yields what may be left after each event, and what was told last before it.

    Args:
      at_most: states for one event; all there are, if they are no more.
    """
    durable, pending, told = start.copy(), list[Change](), None
    for event in events:
        match event:
            case Told(what):
                told = what
            case Sync(node, _):
                for change in pending:
                    if change.node == node:
                        durable.apply(change)
                pending = [change for change in pending if change.node != node]
            case _:
                pending.append(event)
        for shares in _choices(pending, at_most, rng):
            left = durable.copy()
            for change, share in zip(pending, shares, strict=True):
                if share:
                    left.apply(change, share)
            yield left.state(), told


def _choices(
    pending: list[Change], at_most: int, rng: random.Random
) -> Iterator[tuple[float, ...]]:
    """Which share of each change survives: all combinations; if too many, the extreme and some."""
    options = [(0.0, 0.5, 1.0) if isinstance(c, Write) else (0.0, 1.0) for c in pending]
    n = len(options)
    if math.prod(map(len, options)) <= at_most:
        yield from itertools.product(*options)
        return
    yield from ((0.0,) * n, (1.0,) * n)
    for i in range(n):
        yield tuple(float(i == j) for j in range(n))
        yield tuple(float(i != j) for j in range(n))
    for _ in range(at_most - 2 - 2 * n):
        yield tuple(map(rng.choice, options))


def put(state: State, root: Path) -> None:
    """Makes a state of the disk real, below an empty folder."""
    for path, content in sorted(state.items()):
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)
