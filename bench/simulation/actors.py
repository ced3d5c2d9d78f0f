"""Code that believes in its disk and its clock, run as a coroutine of the simulation.

An actor is a greenlet: the real commit code runs in it, and wherever that changes the disk or lists
a folder it waits here until simulated time has passed for the call. An actor that is killed never
comes back from such a wait, so the call it waited for does not happen: what stands on the disk then
is what the death of a process at that moment leaves.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from greenlet import GreenletExit, getcurrent, greenlet

from tfc_jax import files


class Call(NamedTuple):
    """A call of the storage: its name, the bytes that it sends, the entries that it lists."""

    name: str
    n_bytes: float = 0.0
    n_entries: int = 0


class Work(NamedTuple):
    """A wait that is no call of the storage."""

    seconds: float


Request = Call | Work
SizeOf = Callable[[str, int], float]


class Actor(greenlet):
    """Runs a function, a piece at a time.

    Attributes:
      size_of: bytes for which a file counts, by its name and the bytes that are really in it.
      error: what the function raised, if it did.
    """

    def __init__(self, function: Callable[[], None], size_of: SizeOf) -> None:
        super().__init__(self._run)
        self._function, self._is_killed, self.size_of = function, False, size_of
        self.error: Exception | None = None

    def _run(self) -> None:
        try:
            self._function()
        except Exception as error:
            self.error = error

    def resume(self) -> Request | None:
        """Goes on to the next request; None when the function has ended."""
        self.parent = getcurrent()
        request: Request | None = self.switch()
        return request

    def kill(self) -> None:
        """Ends the function where it waits."""
        self.parent, self._is_killed = getcurrent(), True
        if not self.dead:
            self.throw(GreenletExit)

    def wait(self, request: Request) -> None:
        """Hands a request to the simulation; returns when it has been served."""
        if self._is_killed:  # on the way out of its contexts, which a dead process does not leave
            raise GreenletExit
        assert self.parent is not None
        self.parent.switch(request)


def wait(request: Request) -> None:
    """Waits in an actor; code outside of one takes no simulated time."""
    current = getcurrent()
    if isinstance(current, Actor):
        current.wait(request)


@dataclass
class SharedDisk:
    """Stands for `os` in tfc_jax.files: each call that changes the disk waits for its turn first.

    Reading a file, and asking whether it is there, takes no time.

    Attributes:
      root: listings of folders below it are calls, too.
    """

    root: Path
    _entries: Counter[str] = field(default_factory=Counter)  # names in each folder, by its path
    _open: dict[int, tuple[str, int]] = field(default_factory=dict)  # name, bytes not yet sent

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Everything that tfc_jax does to the disk goes through this one meanwhile."""
        with (
            patch.object(files, "os", self),
            patch.object(os, "scandir", self._telling(os.scandir)),
            patch.object(os, "listdir", self._telling(os.listdir)),
        ):
            yield

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        is_new = bool(flags & os.O_CREAT)
        if is_new:
            wait(Call("create"))
            self._enter(path)
        descriptor = os.open(path, flags, mode)
        self._open[descriptor] = (Path(path).name, 0)
        return descriptor

    def write(self, descriptor: int, content: memoryview) -> int:
        written = os.write(descriptor, content)
        name, n_bytes = self._open[descriptor]
        self._open[descriptor] = (name, n_bytes + written)
        return written

    def fsync(self, descriptor: int) -> None:
        """Sends the bytes of a file; nothing is lost without it, since nodes fail, no disk."""
        name, n_bytes = self._open[descriptor]
        current = getcurrent()
        size = current.size_of(name, n_bytes) if isinstance(current, Actor) and n_bytes else 0.0
        wait(Call("sync", n_bytes=size))
        self._open[descriptor] = (name, 0)

    def close(self, descriptor: int) -> None:
        self._open.pop(descriptor, None)
        os.close(descriptor)

    def mkdir(self, folder: Path) -> None:
        wait(Call("mkdir"))
        os.mkdir(folder)
        self._enter(folder, is_there=False)

    def link(self, source: Path, target: Path) -> None:
        wait(Call("link"))
        os.link(source, target)
        self._enter(target, is_there=False)

    def rename(self, source: Path, target: Path) -> None:
        wait(Call("rename"))
        is_there = os.path.lexists(target)
        os.rename(source, target)
        self._leave(source)
        self._enter(target, is_there)

    replace = rename

    def unlink(self, path: Path) -> None:
        wait(Call("unlink"))
        os.unlink(path)
        self._leave(path)

    def rmdir(self, folder: Path) -> None:
        wait(Call("rmdir"))
        os.rmdir(folder)
        self._leave(folder)

    def _enter(self, path: Path, is_there: bool | None = None) -> None:
        if not (os.path.lexists(path) if is_there is None else is_there):
            self._entries[os.path.dirname(path)] += 1

    def _leave(self, path: Path) -> None:
        self._entries[os.path.dirname(path)] -= 1

    def _telling(self, listing: Callable[..., Any]) -> Callable[..., Any]:
        """A listing takes as long as the folder has entries."""

        def listed(folder: Any = ".") -> Any:
            path = os.fspath(folder) if not isinstance(folder, int) else ""
            if str(path).startswith(str(self.root)):
                wait(Call("list", n_entries=max(self._entries[str(path)], 1)))
            return listing(folder)

        return listed
