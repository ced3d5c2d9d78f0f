"""Durable files: whole or absent, also after a crash or a power cut."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple


class Mark(NamedTuple):
    """What changes when a file does, if its content is moved in whole; no two files share it."""

    inode: int
    changed_ns: int
    size: int


def mark(path: Path) -> Mark:
    """Returns the mark of a file.

    Raises:
      FileNotFoundError: it is gone.
    """
    stat = path.stat()
    return Mark(stat.st_ino, stat.st_ctime_ns, stat.st_size)


def write_whole(path: Path, content: bytes) -> None:
    """Writes beside `path` and moves in: a reader sees the old content or all of the new."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(beside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    move_in(beside, path)


def make_folder(folder: Path) -> None:
    """Makes a folder and what it stands in; their names are durable when this returns."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def move_in(source: Path, target: Path) -> None:
    """Renames a synced file to its final name and makes the name durable."""
    os.replace(source, target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Makes creations, renames and deletions in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Makes the content of a file that someone else wrote durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Returns the hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
