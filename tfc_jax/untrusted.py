"""Reads what anybody may have written: limits first, nothing outside the folder, one sentence.

A results folder may come from a stranger. Its files are data: none of them is run, and none of them
makes a reader touch a file outside of it. SECURITY.md says what is promised, and what is not.
"""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfc_jax.errors import InputError

MAX_JSON_BYTES = 2**22  # the largest manifest of our own tests has 60 KB
MAX_JSON_DEPTH = 32


class DamagedFile(InputError):
    """A file of the results is not as it was written.

    Attributes:
      file: which; a folder where several of its files do not fit each other.
      what: what is wrong with it.
    """

    def __init__(self, file: Path, root: Path, what: str) -> None:
        self.file, self.what = file, what
        super().__init__(
            f"{file}: {what}, so it is damaged. Restore it from a copy; `tfc fsck {root}` says "
            f"what else can be done."
        )


@contextmanager
def reading(root: Path, file: Path | None = None) -> Iterator[None]:
    """Says in one sentence that stored results cannot be read, whatever is wrong with them.

    What can be wrong with files that a stranger wrote has no end: the likely faults have messages
    of their own, which pass unchanged; for all others the words of the error are kept, and it is
    the cause of the one that is raised. With TFC_TRACEBACK in the environment it passes as it is.

    Args:
      root: the results folder.
      file: the only one that is read within; that it is gone is no damage while others write.
    Raises:
      InputError: anything was raised within; DamagedFile where the file is given.
      FileNotFoundError: `file` is gone.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        is_gone = file is not None and isinstance(error, FileNotFoundError)
        if is_gone or os.environ.get("TFC_TRACEBACK"):  # for those who look for a fault of ours
            raise
        told = f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        if file is not None:
            raise DamagedFile(file, root, told) from error
        raise InputError(
            f"{root}: these results {told}. They are damaged, or `tfc run` has not written them. "
            f"`tfc fsck {root}` says more."
        ) from error


def read_json(path: Path, remedy: str = "Restore it from a copy.") -> dict[str, Any]:
    """Returns the object that a JSON file holds.

    Raises:
      InputError: it is no plain file, larger than 4 MiB, nested more than 32 deep, or no object.
      FileNotFoundError, NotADirectoryError: it is not there.
    """
    try:
        content = json.loads(_read_bytes(path, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}). {remedy}") from error
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise InputError(f"{path}: JSON of a {kind} came. Allowed: an object. {remedy}")
    if _is_deep(content):
        raise InputError(f"{path}: JSON nested more than {MAX_JSON_DEPTH} deep came. {remedy}")
    return content


def _read_bytes(path: Path, limit: int) -> bytes:
    """Raises ValueError for what is no plain file, or longer than the limit."""
    # Asked not to wait, since a pipe without a writer would block even the opening.
    with open(path, "rb", opener=lambda p, mode: os.open(p, mode | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("no plain file")
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise ValueError(f"larger than {limit} bytes")
    return raw


def _is_deep(content: dict[str, Any]) -> bool:
    level: list[Any] = [content]
    for _ in range(MAX_JSON_DEPTH):
        level = [v for outer in level for v in _inside(outer) if isinstance(v, dict | list)]
        if not level:
            return False
    return True


def _inside(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value
