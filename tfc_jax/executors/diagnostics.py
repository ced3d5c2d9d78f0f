"""workers.log of a results folder: what workers and the libraries below them print."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from tfc_jax.layout import Folder

logger = logging.getLogger(__name__)


def diagnostics(folder: Folder) -> IO[str]:
    """Opens the file that takes what workers print; nothing else depends on it."""
    path = folder.root / "workers.log"
    try:
        return open(path, "a", opener=_without_links)
    except OSError as error:
        logger.warning("%s cannot be written (%s): what workers print is lost.", path, error)
        return open(os.devnull, "a")


@contextmanager
def printed_to(folder: Folder) -> Iterator[None]:
    """What this process prints as errors meanwhile goes there, also that of libraries in C++."""
    with diagnostics(folder) as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)
