"""Files through which a launch and workers on other machines speak: all that both need to see.

A launch makes a folder of its own among the results. There it says whether to go on, and each pack
has a file to which its worker appends what happens, one JSON object per line. A folder that is gone
says that the launch is over: a worker that is left over, or that comes too late, then ends without
writing anything, whatever engine carried it there.

Files are opened anew each time they are read: over NFS only that shows what others have written.
"""

import errno
import json
import logging
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, Field, ValidationError

from tfc_jax import event_log, files
from tfc_jax.layout import Folder, is_channel
from tfc_jax.lock import LockLost

GO, STOP = b"go", b"stop"
LOOK_SECONDS = 1.0  # how often a worker looks whether it is to stop
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)  # ESTALE: as NFS says it
_Count = Annotated[int, Field(ge=0, lt=2**53)]

logger = logging.getLogger(__name__)


class _Said(BaseModel, strict=True, extra="forbid"):
    """What is read of one line: the only judge of what stands in a file of a pack."""

    event: Literal["compiling", "compiled", "started", "halved", "warned", "step"]
    step: _Count = 0
    width: _Count = 0
    text: str = ""
    commit_s: Annotated[float, Field(allow_inf_nan=False, ge=0)] = 0.0


@dataclass
class Channel:
    """The launcher's end.

    Attributes:
      path: the folder of this launch.
    """

    path: Path
    _read: dict[str, int] = field(default_factory=dict)  # bytes, by pack

    @classmethod
    @contextmanager
    def opened(cls, folder: Folder) -> Iterator["Channel"]:
        """Gives a channel; when the context ends, workers that are left write nothing more."""
        files.make_folder(folder.progress)
        path = folder.channel(secrets.token_hex(8))
        files.make_new_folder(path)
        try:
            path.chmod(0o700)  # submitit keeps there what its jobs run
            channel = cls(path)
            channel._order(GO)
            yield channel
        finally:
            _drop(path)
            with suppress(OSError):  # something else is in it
                files.remove(folder.progress)

    def stop(self) -> None:
        """Asks all workers to end after their running chunk; a folder that is gone does so too."""
        with suppress(FileNotFoundError):
            self._order(STOP)

    def news(self, pack: str) -> Iterator[dict[str, Any]]:
        """Yields what the worker of a pack has said since it was last asked."""
        with suppress(FileNotFoundError), _plain(self.path / f"{pack}.jsonl") as file:
            file.seek(self._read.get(pack, 0))
            for line in event_log.lines(file):
                if not line.endswith(b"\n") and len(line) < event_log.MAX_LINE:
                    break  # still being written
                self._read[pack] = self._read.get(pack, 0) + len(line)
                if (said := _understood(line)) is not None:
                    yield said | {"pack": pack}

    def _order(self, order: bytes) -> None:
        files.write_whole(self.path / "orders", order)


class LaunchOver(LockLost):
    """The launch that a worker belongs to is over: it must not write any more."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: this launch is over, so its worker stops and writes nothing.")


@dataclass
class Post:
    """A worker's end.

    Attributes:
      path: the folder of the launch.
      pack: of which it reports.
    """

    path: Path
    pack: str
    _told: float = -event_log.STEP_LOG_SECONDS  # when a step was last told
    _looked: float = -LOOK_SECONDS
    _stops: bool = False

    @property
    def is_seen(self) -> bool:
        """Whether this machine sees the files of the launch."""
        return (self.path / "orders").is_file()

    def should_stop(self) -> bool:
        """Whether to end after the running chunk; asks at most once a second.

        Raises:
          LaunchOver: nothing more may be written.
        """
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            with self._unless_over():
                self._stops = (self.path / "orders").read_bytes() == STOP
        return self._stops

    def say(self, event: dict[str, Any]) -> None:
        """Appends an event; of those that say `step`, one in five seconds.

        Raises:
          LaunchOver: nothing more may be written.
        """
        now = time.monotonic()
        if event["event"] == "step":
            if now - self._told < event_log.STEP_LOG_SECONDS:
                return
            self._told = now
        said = {name: value for name, value in event.items() if name != "pack"}
        try:
            with self._unless_over():
                self.append(said)
        except OSError as error:  # results are stored elsewhere, or fail by themselves
            logger.warning("%s: what happens is not told there (%s).", self._file, error)

    def append(self, said: dict[str, Any]) -> None:
        """Writes a line, after the end of one that a kill has cut short."""
        cut = "\n" * event_log.is_cut(self._file)
        event_log.append(self._file, f"{cut}{json.dumps(said)}\n".encode())

    @property
    def _file(self) -> Path:
        return self.path / f"{self.pack}.jsonl"

    @contextmanager
    def _unless_over(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _GONE:
                raise LaunchOver(self.path) from error
            raise


def dismiss(folder: Folder) -> None:
    """Ends what a launch that was killed has left: its workers on other machines write no more."""
    if not folder.progress.is_dir():
        return
    for path in filter(lambda path: is_channel(path.name), folder.progress.iterdir()):
        _drop(path)
    with suppress(OSError):
        files.remove(folder.progress)


def _drop(path: Path) -> None:
    """Under another name first, so that nobody adds to a folder while it is deleted."""
    away = path.with_name(f"launch-{secrets.token_hex(8)}")
    with suppress(FileNotFoundError):
        files.rename(path, away)
        # What a node still holds open stays over NFS; the next launch deletes it.
        shutil.rmtree(away, ignore_errors=True)


def _understood(line: bytes) -> dict[str, Any] | None:
    try:
        return _Said.model_validate_json(line).model_dump(exclude_unset=True)
    except ValidationError:
        return None


@contextmanager
def _plain(path: Path) -> Iterator[BinaryIO]:
    """Opens a plain file; a link leads elsewhere, and a pipe would hold its reader.

    Raises:
      FileNotFoundError: there is none.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(errno.ENOENT, "a link", str(path)) from error
        raise
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(errno.ENOENT, "no plain file", str(path))
        yield file
