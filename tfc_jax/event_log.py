"""log.jsonl: what a launch says of itself and what its workers report."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import BaseModel, Field, ValidationError

from tfc_jax.errors import InputError
from tfc_jax.layout import Folder

OnEvent = Callable[[dict[str, Any]], None]
ENDS = ("finished", "stopped", "failed")  # the last event of a pack
STEP_LOG_SECONDS = 5.0
STEP_LINES = 10  # per second at most, of all packs together
MAX_LOG = 2**30  # bytes; at so many lines per second it takes a launch twelve days
MAX_LINE = 2**20  # bytes; a traceback takes a few thousand
_Count = Annotated[int, Field(strict=True, ge=0, lt=2**53)]

logger = logging.getLogger(__name__)


class Entry(BaseModel):
    """What is read of one line of the log: the only judge of what a stranger wrote there.

    Attributes:
      time: seconds since the epoch, by the wall clock.
      elapsed_s: since the launch; None in a log of before it was written.
      pack, step, width, committed_steps, error: of the events that say them.
    """

    time: Annotated[float, Field(strict=True, ge=0, lt=2**40)]
    elapsed_s: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)] | None = None
    event: str
    pack: str = ""
    step: _Count = 0
    width: _Count = 0
    committed_steps: _Count = 0
    error: str = ""


def entries(folder: Folder) -> Iterator[Entry]:
    """Yields what the log of a results folder says, oldest first; lines cut short are left out.

    Raises:
      InputError: the log is larger than 1 GiB.
    """
    if not folder.log.exists():
        return
    with opened(folder.log) as log:
        yield from filter(None, map(entry_of, lines(log)))


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Opens a log for reading.

    Raises:
      InputError: it is larger than 1 GiB.
      OSError: it is absent, or not for us to read.
    """
    with open(path, "rb") as log:
        if os.fstat(log.fileno()).st_size > MAX_LOG:
            raise InputError(f"{path}: larger than {MAX_LOG} bytes. Move it away.")
        yield log


def lines(log: BinaryIO) -> Iterator[bytes]:
    """Yields the lines from here on; one that is longer than 1 MiB in pieces."""
    return iter(partial(log.readline, MAX_LINE), b"")


class EventLog:
    """Keeps every event, but of those that say `step` one in five seconds.

    Where hundreds of packs train at a time, each has its turn less often.
    `time` is the wall clock's, which may be set back and forth; `elapsed_s` counts from the launch
    by a clock that only goes on.
    The log only tells how far a launch is: where it cannot be written, the launch goes on.
    """

    def __init__(self, folder: Folder) -> None:
        self._path, self._began = folder.log, time.monotonic()
        self._last: dict[str, float] = {}  # when a pack that trains had its turn
        self._is_cut, self._has_warned = is_cut(folder.log), False

    def write(self, event: Mapping[str, Any]) -> None:
        """Appends one line; the first that cannot be written is warned of."""
        elapsed_s = round(time.monotonic() - self._began, 3)
        stamped = {"time": round(time.time(), 3), "elapsed_s": elapsed_s, **event}
        entry = json.dumps(stamped) + "\n"
        line = ("\n" * self._is_cut + entry).encode()
        try:
            self._is_cut = append(self._path, line) < len(line)
            if self._is_cut:
                raise OSError("the disk is full")
        except OSError as error:
            self._warn(error)

    def before(self, on_event: OnEvent) -> OnEvent:
        """Returns a handler that logs an event and passes it on."""

        def handle(event: dict[str, Any]) -> None:
            now, pack = time.monotonic(), event["pack"]
            pause = max(STEP_LOG_SECONDS, len(self._last) / STEP_LINES)
            if event["event"] != "step" or now - self._last.get(pack, 0) > pause:
                self._last[pack] = now
                self.write(event)
            if event["event"] in ENDS:
                self._last.pop(pack, None)
            on_event(event)

        return handle

    def _warn(self, error: OSError) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s cannot be written (%s). The launch goes on and no result is lost, but `tfc "
                "status` does not see how far it is between two commits.",
                *(self._path, error.strerror or error),
            )


def is_cut(path: Path) -> bool:
    """Whether a crash has cut the last line short, so that the next one must begin anew."""
    try:
        with open(path, "rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - 1, 0))
            return log.read() not in (b"", b"\n")
    except OSError:
        return False  # what is wrong is told by the first line that is written


def append(path: Path, line: bytes) -> int:
    """Writes in one piece; returns how many bytes there was room for."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        return os.write(descriptor, line)
    finally:
        os.close(descriptor)


def entry_of(line: bytes) -> Entry | None:
    """Returns the entry that a line holds; None for one that is cut short, or that is not ours."""
    try:
        return Entry.model_validate_json(line)
    except ValidationError:
        return None
