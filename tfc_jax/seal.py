"""A seal before the footer of a Parquet file: a SHA-256 of the footer and of the pages it names.

Page checksums guard the values, and nothing of Parquet guards the footer, in which a flipped bit
renames a column, hides rows from a filter, or makes another constant of a column's statistics.
"""

import hashlib
import io
import struct
from pathlib import Path
from typing import BinaryIO

MARK = b"tfc_jax's sha256"
_SEAL = struct.Struct(f"<{len(MARK)}sQQ32s")  # the mark, where the pages begin and end, the digest
_END = struct.Struct("<I4s")  # of every Parquet file: length of the footer, "PAR1"
_BLOCK = 2**20


def sealed(file: bytes, start: int = 0, stop: int | None = None, length: int = 0) -> bytes:
    """Returns a Parquet file with a seal, and room before it if it is shorter than `length`.

    Args:
      start, stop: where the pages begin and end that its footer names; all before it if not given.
    """
    footer = _footer(io.BytesIO(file))
    stop = footer if stop is None else stop
    digest = _digest(io.BytesIO(file), start, stop, footer)
    seal = _SEAL.pack(MARK, start, stop, digest)
    spare = bytes(max(length - len(file) - len(seal), 0))
    return file[:footer] + spare + seal + file[footer:]


def is_sealed(file: BinaryIO | bytes) -> bool | None:
    """Whether the seal of a file is that of its footer and pages; None if there is none."""
    if isinstance(file, bytes):
        return is_sealed(io.BytesIO(file))
    footer = _footer(file)
    if footer < _SEAL.size:
        return None
    file.seek(footer - _SEAL.size)
    mark, start, stop, digest = _SEAL.unpack(file.read(_SEAL.size))
    return bool(digest == _digest(file, start, stop, footer)) if mark == MARK else None


def is_sealed_file(path: Path) -> bool | None:
    """Returns `is_sealed` of a file, of which no more than a block is in memory."""
    with open(path, "rb") as file:
        return is_sealed(file)


def _footer(file: BinaryIO) -> int:
    """Where the footer begins; negative in what is too short to be Parquet."""
    size = file.seek(0, io.SEEK_END)
    if size < _END.size:
        return -1
    file.seek(size - _END.size)
    length, _ = _END.unpack(file.read(_END.size))
    return int(size - _END.size - length)


def _digest(file: BinaryIO, start: int, stop: int, footer: int) -> bytes:
    found = hashlib.sha256(struct.pack("<QQ", start, stop))
    end = file.seek(0, io.SEEK_END)
    for begin, n_bytes in ((start, stop - start), (footer, end - footer)):
        file.seek(min(begin, end))
        for at in range(0, min(n_bytes, end), _BLOCK):
            found.update(file.read(min(_BLOCK, n_bytes - at)))
    return found.digest()
