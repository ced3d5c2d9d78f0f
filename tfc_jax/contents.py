"""What stands in a results folder: plain files and folders, each where a launch puts it."""

import os
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from tfc_jax.errors import InputError
from tfc_jax.layout import EMPTY_PART, PART, PROBE, Folder, is_channel
from tfc_jax.schema import KEY_COLUMNS

_LEVELS = 2  # nothing deeper is ever read
_HERE = Folder(Path())
_FOLDERS = {*KEY_COLUMNS} | {
    path.name for path in (_HERE.checkpoints, _HERE.staging, _HERE.params, _HERE.progress)
}
_BY_LAUNCHES = {path.name for path in (_HERE.sweep, _HERE.manifest, _HERE.schedules)}
_FILES = (
    {"workers.log", "report.html"}
    | _BY_LAUNCHES
    | {path.name for path in (_HERE.log, _HERE.lock, _HERE.gathered, _HERE.analysis)}
)
_TOP = _FOLDERS - {_HERE.staging.name} | _FILES
_BEFORE_RESULTS = {_HERE.schedules.name, _HERE.lock.name}  # there is nothing else without a table
_INSIDE = {table: re.compile(rf"{PART}|{re.escape(EMPTY_PART)}") for table in KEY_COLUMNS} | {
    _HERE.runs.name: re.compile(rf"[0-9a-f]{{12}}\.parquet|{re.escape(EMPTY_PART)}|{PROBE}"),
    _HERE.checkpoints.name: re.compile(
        rf"[0-9a-f]{{12}}(-\d{{9}}\.(npz|damaged)|\.merged\.json)|{re.escape(_HERE.staging.name)}"
    ),
    _HERE.params.name: re.compile(r"[0-9a-f]{12}\.npz"),
    _HERE.cells.parent.name: re.compile(re.escape(_HERE.cells.name)),
}
_HALF_WRITTEN = re.compile(rf"\.({'|'.join(map(re.escape, sorted(_FILES)))})\.\d+")  # by its pid
_KINDS_OF_FILES = (".parquet", ".npz")
LINK = "is a link, which may lead out of the results"
NEITHER = "is no file, nor a folder"
MOST_NAMED = 3  # files in a message
NO_FILE, NO_FOLDER = "is no file", "is no folder"


def is_ours(name: str) -> bool:
    """Whether launches, or commands about their results, give this name to what they write."""
    return name in _TOP or is_half_written(name)


def is_half_written(name: str, of: AbstractSet[str] = _FILES) -> bool:
    """Whether a process that is killed can leave this beside the file that it was writing."""
    match = _HALF_WRITTEN.fullmatch(name)
    return match is not None and match[1] in of


def is_left_by_launch(name: str) -> bool:
    """Whether a launch that was killed left this; only one at a time writes such files."""
    return is_half_written(name, _BY_LAUNCHES)


def is_ours_inside(folder: str, name: str) -> bool:
    """Whether launches give this name to what they write into this folder of the results."""
    if folder == _HERE.progress.name:
        return is_channel(name)
    names = _INSIDE.get(folder)
    return names is not None and bool(names.fullmatch(name))


def check_no_others(root: Path) -> None:
    """Refuses a folder that holds other things than results, and no results yet.

    Raises:
      InputError: it does.
    """
    if _has_manifest(root) or any(map(_is_rows, _entries(Folder(root).runs))):
        return
    others = sorted(_others(root))
    if others:
        more = ", ..." if len(others) > MOST_NAMED else ""
        raise InputError(
            f"{root}: no results are here, but other files ({', '.join(others[:MOST_NAMED])}"
            f"{more}). Results get a folder of their own: give another --out."
        )


def _is_rows(entry: "os.DirEntry[str]") -> bool:
    return is_ours_inside(_HERE.runs.name, entry.name)


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


def misplaced(root: Path) -> Iterator[tuple[Path, str]]:
    """Yields all that is of another kind than what belongs in its place, with what is wrong.

    Opens no file, and asks the system for nothing but the list of each folder. Where no results
    are, what has none of their names is nobody's concern.
    """
    has_results = _has_manifest(root)
    for entry in _entries(root):
        if has_results or is_ours(entry.name):
            yield from _misplaced_in(entry, _LEVELS)


def _others(root: Path) -> Iterator[str]:
    for entry in _entries(root):
        name = entry.name
        if name in _BEFORE_RESULTS or is_half_written(name):
            continue
        if name not in _INSIDE and name != _HERE.progress.name:
            yield name
            continue
        inside = _entries(Path(entry))
        yield from (f"{name}/{e.name}" for e in inside if not is_ours_inside(name, e.name))


def _has_manifest(root: Path) -> bool:
    return os.path.lexists(Folder(root).manifest)


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):  # gone meanwhile, or never there
        return []


def _misplaced_in(entry: "os.DirEntry[str]", levels: int) -> Iterator[tuple[Path, str]]:
    what = _misplaced(entry)
    if what:
        yield Path(entry), what
    elif levels and entry.is_dir(follow_symlinks=False):
        for inner in _entries(Path(entry)):
            if inner.name in _FOLDERS or not inner.is_file(follow_symlinks=False):  # most are files
                yield from _misplaced_in(inner, levels - 1)


def _misplaced(entry: "os.DirEntry[str]") -> str | None:
    if entry.is_symlink():
        return LINK
    if entry.is_dir(follow_symlinks=False):
        is_file = entry.name in _FILES or entry.name.endswith(_KINDS_OF_FILES)
        return NO_FILE if is_file else None
    if entry.is_file(follow_symlinks=False):
        return NO_FOLDER if entry.name in _FOLDERS else None
    return NEITHER if os.path.lexists(entry) else None
