"""Starts over in a results folder: deletes what launches wrote there, and nothing else."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from tfc_jax import files, manifest, orphans
from tfc_jax.contents import is_ours, is_ours_inside
from tfc_jax.errors import InputError
from tfc_jax.layout import Folder
from tfc_jax.stored_files import StoredFiles


def check_ours(folder: Folder) -> None:
    """Refuses to delete what may not be ours.

    Raises:
      InputError: the folder holds files of packs, and no manifest of ours; or something that would
        be read as a part of the tables that come.
    """
    stored = StoredFiles.of(folder)
    for stray in orphans.foreign_rows(stored):
        raise InputError(
            f"{stray.path}: --fresh deletes what launches wrote, and this is something else, which "
            f"is read with the table. Move it away first."
        )
    has_rows = bool(stored.packs) or folder.cells.exists()
    if has_rows and manifest.read(folder) is None:
        raise InputError(
            f"{folder.root}: --fresh deletes results, but this folder has no manifest.json. "
            f"Delete it yourself, or give another --out."
        )


def clear(folder: Folder) -> None:
    """Deletes the results of a folder, but for what says that these are results.

    What says that runs are done goes first, for good, then what says which rows there are, so that
    half a deletion leaves nothing without its rows. The manifest stays until the next one takes its
    place, so that all of it can be done again after a crash.
    """
    for path in filter(Path.exists, (folder.runs, folder.gathered, folder.checkpoints)):
        _delete(path)
    for path in _contents(folder):
        if path != folder.manifest:
            _delete(path)


def deleted(folder: Folder) -> Iterator[Path]:
    """Yields the files that `clear` would delete."""
    for path in _contents(folder):
        if path.is_file() and path != folder.manifest:
            yield path
        for inner in path.iterdir() if path.is_dir() else ():
            if is_ours_inside(path.name, inner.name):
                yield from filter(Path.is_file, (inner, *inner.rglob("*")))


def _delete(path: Path) -> None:
    """Deletes a file or a folder for good; of a folder that holds something else, what is ours."""
    if path.is_dir():
        for inner in path.iterdir():
            if is_ours_inside(path.name, inner.name):
                _delete_whole(inner)
        files.sync_folder(path)
        try:
            path.rmdir()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
    else:
        path.unlink()
    files.sync_folder(path.parent)


def _delete_whole(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _contents(folder: Folder) -> list[Path]:
    """Everything in a results folder that launches wrote, but its lock."""
    if not folder.root.is_dir():
        return []
    return [path for path in folder.root.iterdir() if is_ours(path.name) and path != folder.lock]
