"""The ids of all runs of a grid at once, without making the runs.

An id is a hash of a text, the JSON of the keys that differ from their defaults (keys.py). The texts
of a grid are put together of pieces, one per key and value, each of which is made once.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from tfc_jax.comparison import Mask
from tfc_jax.grid import Axis, Grid
from tfc_jax.keys import DIGITS, KEYS, canonical

ID_BYTES = DIGITS // 2
MOST_ROWS = 4096  # of the axes whose pieces are combined once, for all points of the others

Pieces = tuple[bytes, ...]
RunIds = NDArray[np.uint64]  # the digits of each id as a number


def run_ids(grid: Grid, keep: Mask) -> RunIds:
    """Returns the id of each kept run, in order: (R,), below 2^48."""
    fast = _fast_axes(grid.axes)
    slow = grid.axes[: len(grid.axes) - len(fast)]
    rows = [_pieces(point) for point in _points(fast)]
    keep_SxF = keep.reshape(-1, len(rows))
    hashes = map(_hashes, _templates(grid, slow, fast), itertools.repeat(rows), keep_SxF)
    return _numbers(b"".join(hashes))


def as_text(ids: RunIds) -> bytes:
    """Returns the 12 hex digits of each id, one after the other."""
    bytes_Rx8 = ids.astype(">u8").view(np.uint8).reshape(-1, 8)
    return bytes_Rx8[:, -ID_BYTES:].tobytes().hex().encode()


def _numbers(joined: bytes) -> RunIds:
    given = np.frombuffer(joined, np.uint8).reshape(-1, ID_BYTES)
    padded = np.zeros((len(given), 8), np.uint8)
    padded[:, -ID_BYTES:] = given
    return padded.view(">u8")[:, 0].astype(np.uint64)


def _fast_axes(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """The last axes, as many as have few rows together; the last one alone may have more."""
    fast: tuple[Axis, ...] = ()
    for axis in reversed(axes):
        if fast and math.prod(len(a.rows) for a in (axis, *fast)) > MOST_ROWS:
            break
        fast = (axis, *fast)
    return fast


def _points(axes: Sequence[Axis]) -> Iterator[dict[str, object]]:
    """Yields the values of the keys at each point of some axes; the last axis moves fastest."""
    names = [key for axis in axes for key in axis.keys]
    for rows in itertools.product(*(axis.rows for axis in axes)):
        yield dict(zip(names, itertools.chain(*rows), strict=True))


def _pieces(point: dict[str, object]) -> Pieces:
    """The pieces of the text for some keys, in its order."""
    return tuple(_piece(name, point[name]) for name in sorted(point))


def _piece(name: str, value: object) -> bytes:
    """What a key adds to the text, with the comma before it; nothing for a default."""
    return b"" if value == KEYS[name].default else f',"{name}":{canonical(value)}'.encode()


def _templates(grid: Grid, slow: Sequence[Axis], fast: Sequence[Axis]) -> Iterator[bytes]:
    """Yields, for each point of the slow axes, the text with places for pieces of the fast ones."""
    constant = {name: _escaped(_piece(name, value)) for name, value in grid.base.items()}
    constant |= {key: b"%b" for axis in fast for key in axis.keys}
    del constant["steps"]
    in_order = {name: constant[name] for name in sorted(constant)}
    for point in _points(slow):
        moved = {name: _escaped(_piece(name, value)) for name, value in point.items()}
        yield b"".join((in_order | moved).values())


def _escaped(piece: bytes) -> bytes:
    return piece.replace(b"%", b"%%")


def _hashes(template: bytes, rows: Sequence[Pieces], keep_F: Mask) -> bytes:
    kept = rows if keep_F.all() else itertools.compress(rows, keep_F)
    texts = (b"{%b}" % (template % row)[1:] for row in kept)
    return b"".join([sha256(text).digest()[:ID_BYTES] for text in texts])
