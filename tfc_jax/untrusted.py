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
_FOLDERS_DEEP = 2  # nothing deeper is ever read


def check_contents(root: Path) -> None:
    """Refuses links and what is neither file nor folder; the results folder itself may be a link.

    A link may lead anywhere: to a file whose content would show in a report, or to one that a
    launch would write to. A pipe or a device would hold its reader for ever.

    Raises:
      InputError: there is one; a folder that is not there has nothing in it.
    """
    for path, kind in _entries(root, _FOLDERS_DEEP):
        what = "a link, which may lead out of the results" if kind == "link" else "no plain file"
        raise InputError(
            f"{path}: this is {what}. Results hold plain files and folders alone; remove it, or "
            f"copy there what it stands for."
        )


def _entries(folder: Path, levels: int) -> Iterator[tuple[Path, str]]:
    """Yields what is neither a file nor a folder, with what it is: link or other."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except (FileNotFoundError, NotADirectoryError):  # gone meanwhile, or never there
        return
    for entry in found:
        if entry.is_symlink():
            yield Path(entry), "link"
        elif entry.is_dir(follow_symlinks=False):
            if levels:
                yield from _entries(Path(entry), levels - 1)
        elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry):
            yield Path(entry), "other"


@contextmanager
def reading(root: Path) -> Iterator[None]:
    """Says in one sentence that stored results cannot be read, whatever is wrong with them.

    What can be wrong with files that a stranger wrote has no end: the likely faults have messages
    of their own, which pass unchanged; for all others the words of the error are kept, and it is
    the cause of the one that is raised. With TFC_TRACEBACK in the environment it passes as it is.

    Raises:
      InputError: anything was raised within.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if os.environ.get("TFC_TRACEBACK"):  # for those who look for a fault of ours
            raise
        told = " ".join(str(error).split())[:200]
        raise InputError(
            f"{root}: these results cannot be read ({type(error).__name__}: {told}). They are "
            f"damaged, or `tfc run` has not written them."
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
