"""What stands in a results folder: plain files and folders, each where a launch puts it."""

import os
from collections.abc import Iterator
from pathlib import Path

from tfc_jax.errors import InputError
from tfc_jax.layout import Folder
from tfc_jax.schema import KEY_COLUMNS

_LEVELS = 2  # nothing deeper is ever read
_HERE = Folder(Path())
_FOLDERS = {*KEY_COLUMNS, _HERE.checkpoints.name, _HERE.staging.name, _HERE.params.name}
_FILES = {"workers.log"} | {
    path.name
    for path in (
        *(_HERE.sweep, _HERE.manifest, _HERE.schedules, _HERE.log, _HERE.lock),
        *(_HERE.gathered, _HERE.analysis),
    )
}
_KINDS_OF_FILES = (".parquet", ".npz")
LINK = "is a link, which may lead out of the results"
NEITHER = "is no file, nor a folder"
NO_FILE, NO_FOLDER = "is no file", "is no folder"


def check_contents(root: Path) -> None:
    """Refuses links, pipes, and files in the place of folders; the root may be a link.

    A link may lead anywhere: to a file whose content would show in a report, or to one that a
    launch would write to. A pipe or a device would hold its reader for ever.

    Raises:
      InputError: there is one; a folder that is not there has nothing in it.
    """
    for path, what in misplaced(root):
        raise InputError(
            f"{path}: it {what}. Results hold plain files and folders alone, each in its place. "
            f"Remove it, or copy there what belongs there; `tfc fsck {root}` says what else is "
            f"damaged."
        )


def misplaced(folder: Path, levels: int = _LEVELS) -> Iterator[tuple[Path, str]]:
    """Yields all that is of another kind than what belongs in its place, with what is wrong.

    Opens no file, and asks the system for nothing but the list of each folder.
    """
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except (FileNotFoundError, NotADirectoryError):  # gone meanwhile, or never there
        return
    for entry in found:
        what = _misplaced(entry)
        if what:
            yield Path(entry), what
        elif levels and entry.is_dir(follow_symlinks=False):
            yield from misplaced(Path(entry), levels - 1)


def _misplaced(entry: "os.DirEntry[str]") -> str | None:
    if entry.is_symlink():
        return LINK
    if entry.is_dir(follow_symlinks=False):
        is_file = entry.name in _FILES or entry.name.endswith(_KINDS_OF_FILES)
        return NO_FILE if is_file else None
    if entry.is_file(follow_symlinks=False):
        return NO_FOLDER if entry.name in _FOLDERS else None
    return NEITHER if os.path.lexists(entry) else None
