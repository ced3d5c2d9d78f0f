"""A Parquet file that takes the place of another under readers that open a file more than once.

DuckDB and Polars learn the size of a file and read its footer when they plan, and its pages when
they run: where it was replaced in between, they look for what is not there, and fail. So a file
keeps its size, and the pages of the former file stay where they were, as bytes that the footer of
the new one does not name: a reader with the former footer finds the former rows, whole. There is
room for two sets of pages, which are written in turn: a footer lasts through one replacement, which
is the time between two commits.
"""

import io
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tfc_jax.seal import sealed
from tfc_jax.tables import parquet_writer

BEGIN = 4  # where pages can begin: after "PAR1"
BLOCK = 1024
MOST_OF_ALONE = 8  # a file is at most so much larger than one without spare room
SPARE = 1.25  # room for pages that get longer, since a value is where none was


class _Pages(NamedTuple):
    """What a footer names."""

    start: int
    content: bytes

    @property
    def stop(self) -> int:
        return self.start + len(self.content)


def succeeding(former: bytes, table: pa.Table, compression: str) -> bytes:
    """Returns the content of a sealed file with the rows of `table`, which may replace `former`.

    Args:
      table: has rows.
      former: the content of the file; empty if there is none. Of one that cannot be read, or is of
        another size altogether, nothing is kept: nobody writes such a file here.
    """
    alone = _written(table, compression, BEGIN)
    need = len(_pages(alone).content)
    kept = _kept(former, most=MOST_OF_ALONE * len(alone))
    if kept is None:
        length = len(alone) - need + 2 * _slot(BEGIN + need)
        return _written(table, compression, BEGIN, length=length)
    at = BEGIN if BEGIN + need <= kept.start else _slot(kept.stop)
    return _written(table, compression, at, kept, len(former))


def _slot(stop: int) -> int:
    """Where the second set of pages begins, if the first ends here."""
    return -int(-stop * SPARE // BLOCK) * BLOCK


def _written(
    table: pa.Table, compression: str, at: int, kept: _Pages | None = None, length: int = 0
) -> bytes:
    """Returns a file with its pages at a place and `kept` where it was, of `length` or longer."""
    sink = pa.BufferOutputStream()
    with parquet_writer(sink, table.schema, compression) as writer:
        if kept and kept.start < at:
            _put(sink, kept)
        _put(sink, _Pages(at, b""))
        writer.write_table(table)
        if kept and kept.start >= at:
            _put(sink, kept)
    content: bytes = sink.getvalue().to_pybytes()
    pages = _pages(content)
    return sealed(content, pages.start, pages.stop, length)


def _kept(former: bytes, most: int) -> _Pages | None:
    """Returns the pages of a former file, if they can stay."""
    if not 0 < len(former) <= most:
        return None
    try:
        pages = _pages(former)
    except (OSError, ValueError, pa.ArrowException):
        return None
    return pages if pages.start >= BEGIN and pages.content else None


def _put(sink: pa.NativeFile, pages: _Pages) -> None:
    sink.write(bytes(pages.start - sink.tell()) + pages.content)


def _pages(file: bytes) -> _Pages:
    footer = pq.read_metadata(io.BytesIO(file))
    if not footer.num_rows:
        raise ValueError("it has no rows")
    groups = map(footer.row_group, range(footer.num_row_groups))
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    starts = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks]
    ends = [s + chunk.total_compressed_size for s, chunk in zip(starts, chunks, strict=True)]
    start = min(starts)
    return _Pages(start, file[start : max(ends)])
