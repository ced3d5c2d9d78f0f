"""Only one launch writes in a results folder."""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from tfc_jax.errors import InputError
from tfc_jax.files import make_folder
from tfc_jax.layout import Folder

ORPHAN_SECONDS = 30.0


@contextmanager
def sole_writer(folder: Folder) -> Iterator[int]:
    """Holds the folder's lock and gives its descriptor, which workers inherit.

    The system drops the lock when the launcher and all its workers have ended, however they ended.
    A launcher that was killed leaves workers behind for a moment; they are waited for.
    """
    with _open_lock(folder) as lock:
        give_up = time.monotonic() + ORPHAN_SECONDS
        while not _try_lock(lock):
            lock.seek(0)
            owner = lock.read().split()
            if _is_alive(owner) or time.monotonic() > give_up:
                raise InputError(
                    f"{folder.root}: another `tfc run` is writing here ({' '.join(owner)}). Wait "
                    f"for it, stop it, or write elsewhere with --out."
                )
            time.sleep(0.05)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {os.uname().nodename}")
        lock.flush()
        yield lock.fileno()


def _open_lock(folder: Folder) -> IO[str]:
    try:
        make_folder(folder.root)
        return open(folder.lock, "a+")
    except OSError as error:
        raise InputError(
            f"{folder.root}: results cannot be written here ({error.strerror}). Give another --out."
        ) from error


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(owner: Sequence[str]) -> bool:
    """Whether `process PID on HOST` lives; one on another host is taken to."""
    if len(owner) != 4 or owner[3] != os.uname().nodename:
        return True
    try:
        os.kill(int(owner[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is someone else's, hence alive
    return True
