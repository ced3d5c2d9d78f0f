"""Only one launch writes in a results folder."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tfc_jax.errors import InputError
from tfc_jax.files import make_folder, sync_folder
from tfc_jax.layout import Folder

ORPHAN_SECONDS = 30.0
LOOK_SECONDS = 0.05
PATIENT_LOOK_SECONDS = 1.0  # of who waits for as long as it takes, maybe for days
RECORD_SECONDS = 1.0  # who took a lock writes its record at once
RECORD_BYTES = 200
UNKNOWN = "a process that left no record"


class LockLost(InputError):
    """Another launch has taken over; this one must not write any more."""


@dataclass(frozen=True)
class Lock:
    """A lock that is held.

    Attributes:
      descriptor: workers inherit it.
      record: who holds it, for others to read.
    """

    path: Path
    descriptor: int
    record: str

    def check(self) -> None:
        """Asks whether the folder is still this launch's own; costs a few microseconds.

        The system guards the open file, not its name: someone may have deleted or replaced it, or
        have locked it on another machine whose locks are not seen here.

        Raises:
          LockLost: it is not.
        """
        if _is_at(self.path, self.descriptor) and _record_of(self.descriptor) == self.record:
            return
        raise LockLost(
            f"{self.path.parent}: this launch ({self.record}) holds the folder no longer: its lock "
            f"file {self.path.name} was deleted or taken over. It stops and writes nothing more; "
            f"`tfc run` goes on from the last commit."
        )


@contextmanager
def sole_writer(
    folder: Folder, patience_s: float = 0.0, say: Callable[[str], None] | None = None
) -> Iterator[Lock]:
    """Holds the folder's lock, whose descriptor workers inherit.

    The system drops the lock when the launcher and all its workers have ended, however they ended:
    one that is left over needs no hand. A launcher that was killed leaves workers behind for a
    moment; they are waited for.

    Args:
      patience_s: how long to wait for an owner that lives.
      say: called once with a line about who is waited for, if anybody is.
    Raises:
      InputError: someone else holds it, or there can be none.
    """
    descriptor = _locked(folder, patience_s, say)
    try:
        _make_durable(folder)
        yield Lock(folder.lock, descriptor, _signed(descriptor, folder))
    finally:
        os.close(descriptor)


def _make_durable(folder: Folder) -> None:
    """Syncs the name of a folder, and of those above it.

    A launch that was killed may have made each of them just now.
    """
    path = folder.root.resolve()
    while not path.is_mount() and os.access(path.parent, os.W_OK):
        path = path.parent
        try:
            sync_folder(path)
        except PermissionError:
            return  # it may be written, and not read
        except OSError as error:
            raise _not_writable(folder, error) from error


def check_free(folder: Folder) -> None:
    """Asks whether a launch could write in the folder now.

    Raises:
      InputError: someone else holds its lock, or there can be none.
    """
    os.close(_locked(folder))


def owner_is_gone(folder: Folder) -> bool:
    """Whether the last launch was of this machine, and its process lives no longer; reads only."""
    try:
        descriptor = os.open(folder.lock, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:  # no launch was here, or not one of ours
        return False
    try:
        record = _record_of(descriptor)
    finally:
        os.close(descriptor)
    return bool(record) and not _is_alive(record.split())


def own_record() -> str:
    """Returns who this process is, for others to read."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f"process {os.getpid()} on {os.uname().nodename} since {now}"


def may_live(record: str) -> bool:
    """Whether the process of a record may be alive; one of another machine always may."""
    return _is_alive(record.split())


def _signed(descriptor: int, folder: Folder) -> str:
    """Writes who holds the lock: in one piece over the old record, so that there is always one."""
    record = own_record()
    try:
        os.pwrite(descriptor, record.encode().ljust(RECORD_BYTES), 0)
    except OSError as error:
        raise _not_writable(folder, error) from error
    return record


def _locked(
    folder: Folder, patience_s: float = 0.0, say: Callable[[str], None] | None = None
) -> int:
    began = time.monotonic()
    _make_root(folder)
    while True:
        descriptor = _opened(folder)
        if _try_lock(descriptor, folder):
            if _is_at(folder.lock, descriptor):
                return descriptor
            record = ""  # deleted since it was opened: the next one has another
        else:
            record = _record_of(descriptor)
        os.close(descriptor)
        if time.monotonic() - began >= max(_patience(record), patience_s):
            raise InputError(
                f"{folder.root}: another `tfc run` or `tfc compact` is writing here "
                f"({record or UNKNOWN}). Wait for it (`tfc compact` does with --wait), stop it, or "
                f"write elsewhere with --out."
            )
        if say:
            say(f"{folder.root}: waiting for {record or UNKNOWN}, which is writing here.")
            say = None
        time.sleep(PATIENT_LOOK_SECONDS if patience_s else LOOK_SECONDS)


def _make_root(folder: Folder) -> None:
    try:
        make_folder(folder.root)
    except OSError as error:
        raise _not_writable(folder, error) from error


def _opened(folder: Folder) -> int:
    """Opens the lock file, and makes it; a folder that was deleted meanwhile stays so."""
    try:
        # Never through a link: the file is written to.
        return os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except FileNotFoundError as error:
        raise InputError(
            f"{folder.root}: this folder is gone: it was deleted or moved while its lock was "
            f"waited for. Give the folder where the results are now."
        ) from error
    except OSError as error:
        raise _not_writable(folder, error) from error


def _not_writable(folder: Folder, error: OSError) -> InputError:
    return InputError(
        f"{folder.root}: results cannot be written here ({_reason(error)}). Make the "
        f"folder writable, or give another --out."
    )


def _try_lock(descriptor: int, folder: Folder) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        os.close(descriptor)
        raise InputError(
            f"{folder.root}: the file system grants no lock here ({_reason(error)}). Give an --out "
            f"on another."
        ) from error
    return True


def _reason(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror}{where}"


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the file that is open is the one that has this name."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False


def _record_of(descriptor: int) -> str:
    """Who wrote the record, on one line; empty without one."""
    text = os.pread(descriptor, RECORD_BYTES, 0).decode(errors="replace").strip("\0 \n")
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _patience(record: str) -> float:
    """Seconds to wait for the lock: none if its owner lives."""
    owner = record.split()
    if not record:
        return RECORD_SECONDS
    return 0.0 if _is_alive(owner) else ORPHAN_SECONDS


def _is_alive(owner: list[str]) -> bool:
    """Whether `process PID on HOST` lives; anything else, and one on another host, is taken to."""
    if len(owner) < 4 or owner[3] != os.uname().nodename or not owner[1].isdecimal():
        return True
    try:
        os.kill(int(owner[1]), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is someone else's, hence alive
    return True
