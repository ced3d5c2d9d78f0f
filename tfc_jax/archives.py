"""Archives of arrays (npz) that anybody may have written: no pickle, no bomb, nothing unpacked.

Such an archive is a zip of .npy files. They are read into memory one by one, never onto the disk,
so the names of members lead nowhere. What they claim to hold is checked before it is allocated.
"""

import io
import math
import struct
import threading
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

# Of the archives that nobody unpacks by accident: 1 GiB, or 200 times their own size.
MAX_BYTES, MAX_RATIO = 2**30, 200
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HEADER = 2**16  # bytes that hold the header of a .npy file; ours have 128
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# Headers of arrays are Python literals, and the parser of CPython 3.11 counts its depth for all
# threads together: where a garbage collection lets another one run, both may end in a SystemError.
_ONE_AT_A_TIME = threading.Lock()
_UNREADABLE = (
    *(OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error),
    *(tokenize.TokenError, SyntaxError, struct.error),  # of headers that are no Python literals
)


def read_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Returns the arrays of these names, or all; names that are not there are left out.

    Raises:
      ValueError: the file is no such archive, is damaged, holds Python objects, or claims to hold
        more than it can, or more than 1 GiB and 200 times its own size.
    """
    try:
        with _ONE_AT_A_TIME:
            return _read(path, names)
    except _UNREADABLE as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _read(path: Path, names: Collection[str] | None) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        _check(archive, path.stat().st_size, names)
    with np.load(path, allow_pickle=False) as arrays:
        wanted = [name for name in arrays.files if names is None or name in names]
        return {name: arrays[name] for name in wanted}


def names_of(path: Path) -> list[str]:
    """Returns the names of all arrays; raises what `read_arrays` does."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except _UNREADABLE as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _check(archive: zipfile.ZipFile, size: int, names: Collection[str] | None) -> None:
    members = [
        member
        for member in archive.infolist()
        if names is None or member.filename.removesuffix(".npy") in names
    ]
    total = sum(member.file_size for member in members)
    if total > max(MAX_BYTES, MAX_RATIO * size):
        raise ValueError(f"its {size:,} bytes would become {total:,}")
    for member in members:
        _check_member(archive, member)


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """The header's shape decides how much NumPy allocates, so it must be that of the content."""
    if member.compress_type not in _COMPRESSIONS:
        raise ValueError(f"{member.filename[:60]!r} is compressed as NumPy never does")
    with archive.open(member) as file:
        start = io.BytesIO(file.read(_HEADER))
    read_header = _READERS.get(np.lib.format.read_magic(start))
    if read_header is None:
        raise ValueError(f"{member.filename[:60]!r} is no array of plain numbers")
    shape, _, dtype = read_header(start)
    if dtype.hasobject:
        raise ValueError(f"{member.filename[:60]!r} holds Python objects, which are not read")
    if min(shape, default=0) < 0 or start.tell() + math.prod(shape) * dtype.itemsize != (
        member.file_size
    ):
        raise ValueError(f"{member.filename[:60]!r} does not hold as much as it says")
