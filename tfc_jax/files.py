"""Durable files: whole or absent, also after a crash or a power cut.

Everything that changes the disk is done by `os`, as this module has it, so that tests can watch
each such call, let it fail, or end the process before it (tests/faults).
"""

import ctypes
import errno
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE


def trouble(folder: Path | str, error: OSError) -> str:
    """Returns the sentence that tells a user of a disk that failed."""
    return (
        f"{folder} cannot be written or read ({error.strerror or error}). What is committed is "
        f"safe: make room or mend the disk, then run it again."
    )


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


def marks(folder: Path, suffix: str) -> dict[str, Mark]:
    """Returns the marks of the files in a folder, by name, in order; of none where there is none.

    What is deleted meanwhile is left out.
    """
    found = {}
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(suffix):
                with suppress(FileNotFoundError):
                    stat = entry.stat()
                    found[entry.name] = Mark(stat.st_ino, stat.st_ctime_ns, stat.st_size)
    return dict(sorted(found.items()))


class HashedFile(io.BufferedWriter):
    """A file that is hashed while it is written."""

    def __init__(self, path: Path) -> None:
        self._hashing = _Hashing(path)
        super().__init__(self._hashing, buffer_size=2**20)

    def digest(self) -> bytes:
        """Returns the SHA-256 of what was written so far, also after the end."""
        if not self.closed:
            self.flush()
        return self._hashing.hash.digest()

    def sync(self) -> None:
        """Makes what was written so far durable."""
        self.flush()
        os.fsync(self.fileno())


class _Hashing(io.RawIOBase):
    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666
        )
        self.hash = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, content: Any) -> int:
        left = memoryview(content).cast("B")
        self.hash.update(left)
        n_bytes = len(left)
        while left:  # a disk that fills up takes a part first
            left = left[os.write(self._descriptor, left) :]
        return n_bytes

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._descriptor)


@contextmanager
def new_file(path: Path) -> Iterator[HashedFile]:
    """Gives a file to write; its content is durable when the context ends, its name is not yet."""
    file = HashedFile(path)
    try:
        yield file
        file.sync()
    except BaseException:
        with suppress(OSError):  # of what could not be written; the first error is raised
            file.close()
        raise
    file.close()


def write_whole(path: Path, content: bytes) -> None:
    """Writes beside `path` and moves in: a reader sees the old content or all of the new."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with new_file(beside) as file:
        file.write(content)
    move_in(beside, path)


def make_folder(folder: Path) -> None:
    """Makes a folder and what it stands in; their names are durable when this returns."""
    if not folder.is_dir():
        make_folder(folder.parent)
        with suppress(FileExistsError):  # another process was quicker
            os.mkdir(folder)
        sync_folder(folder.parent)


def make_new_folder(folder: Path) -> None:
    """Makes a folder, whose name is not durable yet.

    Raises:
      FileExistsError: there is one of that name.
    """
    os.mkdir(folder)


def rename(source: Path, target: Path) -> None:
    """Gives a file or a folder another name; the name is not durable yet."""
    os.rename(source, target)


def link(source: Path, target: Path) -> None:
    """Gives a file a second name, which is not durable yet.

    Raises:
      FileExistsError: there is a file of that name; it stays as it is.
    """
    os.link(source, target)


def exchange(one: Path, other: Path) -> None:
    """Gives two folders each other's name, in one step; the names are not durable yet.

    Source: renameat2(2), RENAME_EXCHANGE; Linux alone, and not every file system of it.

    Raises:
      OSError: it cannot be done here; nothing has changed.
    """
    paths = (os.fsencode(one), os.fsencode(other))
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if renameat2(_HERE, paths[0], _HERE, paths[1], _EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def remove(path: Path) -> None:
    """Deletes a file, or an empty folder, if it is there."""
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            os.rmdir(path)
        else:
            os.unlink(path)


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
