"""Large objects in pieces: neither the memory nor one request has to hold a whole one.

The pieces of an object are nothing until the last request joins them. Where that is not reached for
an error, they are deleted; what a kill leaves, only a rule of the bucket can clear away.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

PIECE = 2**24  # bytes
MOST_PIECES = 9000  # S3 takes 10,000
AT_ONCE = 4  # pieces that are on their way


def send(
    library: Any,
    store: Any,
    key: str,
    content: Iterable[bytes],
    size: int,
    check: Callable[[], object] = lambda: None,
) -> None:
    """Stores an object.

    Args:
      size: bytes that are expected.
      check: called before the pieces become an object; what it raises prevents that.
    """
    piece = max(PIECE, size // MOST_PIECES + 1)
    with library.open_writer(store, key, buffer_size=piece, max_concurrency=AT_ONCE) as sink:
        for chunk in content:
            sink.write(chunk)
        check()


def of(file: BinaryIO) -> Iterator[bytes]:
    """Reads the rest of a file."""
    return iter(partial(file.read, PIECE), b"")


def copy(library: Any, store: Any, source: str, target: str, size: int) -> None:
    """Copies an object through this process.

    Raises:
      FileNotFoundError: the source is gone, also where it goes in the middle.
    """
    starts = range(0, size, PIECE)
    read = partial(library.get_range, store, source)
    content = (read(start=start, end=min(start + PIECE, size)) for start in starts)
    # Whoever takes a pack over deletes the source, after which this must put nothing in its place.
    send(library, store, target, content, size, partial(library.head, store, source))


def receive(answer: Any, target: Path) -> None:
    """Writes what `get` of the library returned to a file."""
    with target.open("wb") as file:
        for chunk in answer.stream(min_chunk_size=PIECE):
            file.write(chunk)
