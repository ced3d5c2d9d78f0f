"""Reads the runs table: a file per pack, and a copy of them all in one, which is read at once.

A launch writes the copy when it ends (folder_tables.py). It stands for the files that are still
those which were copied, by inode, time of change and size; every other file is read itself. A
folder without a copy, with a damaged one, or one that was moved file by file, is read slower and
just as well.
"""

import json
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from tfc_jax.errors import InputError
from tfc_jax.files import Mark, mark, marks
from tfc_jax.layout import Folder, pack_of
from tfc_jax.record import Record
from tfc_jax.schema import arrow_schema, run_columns
from tfc_jax.seal import is_sealed, is_sealed_file
from tfc_jax.stored_columns import NEEDED, WIDEST_PACK, check_columns, double_run, wrong_value
from tfc_jax.tables import same_bits
from tfc_jax.untrusted import DamagedFile, reading

logger = logging.getLogger(__name__)

LARGEST_ROWS = 2**28  # bytes; a pack has at most 65,536 lanes of 100 columns
OTHERWISE = "its footer and pages are not those that were written"
RECORD = b"tfc_jax_record"  # in the metadata of each file: what the pack records
# Files up to which every page is read, which takes half a second; `tfc fsck` does it of any number.
VERIFIED_WHOLE = 256
COPIED = b"tfc_jax_files"  # in the metadata of the copy: name, mark and number of rows of each file


@dataclass(frozen=True)
class Copy:
    """Rows of files, and which of them are those of a file that has this mark, by its name."""

    rows: pa.Table
    files: dict[str, tuple[tuple[int, ...], range]]


@dataclass(frozen=True)
class RunsTable:
    """The runs table of one folder.

    Attributes:
      columns: those to read, where a file has them; None reads all.
    """

    folder: Folder
    columns: Collection[str] | None = None

    @property
    def files(self) -> list[Path]:
        """The files of the packs, in the order of their rows."""
        return sorted(self.folder.runs.glob("*.parquet"))

    def marks(self) -> dict[str, Mark]:
        """The files of the packs by their names, in that order; the folder is looked through once.

        A file that is replaced later counts as the one that it was.
        """
        return marks(self.folder.runs, ".parquet")

    def read(self) -> pa.Table:
        """Returns the rows of all files (at least one).

        Of few files that are read themselves, columns that are not asked for are verified too.

        Raises:
          InputError: a file is no Parquet, a page does not have its checksum, or a value is there
            that no launch writes.
          FileNotFoundError: a file is gone.
        """
        with reading(self.folder.root, self.folder.runs):
            places = self.places(self.marks())
            alone = sum(place is None for place in places.values())
            read = partial(self.read_alone, whole=alone <= VERIFIED_WHOLE)
            rows = joined(self.pieces(places, read))
            self.check(rows)
        double = double_run(rows) if "run_id" in rows.column_names else None
        if double:
            raise DamagedFile(self.folder.runs, self.folder.root, f"{double}{_packs_of(rows)}")
        return rows

    def check(self, rows: pa.Table) -> None:
        """Refuses rows of these files that no launch writes; says in which file they are.

        Raises:
          InputError: there is one.
        """
        wrong = wrong_value(rows)
        if wrong is None:
            return
        for file in self.files:
            if told := wrong_value(self.rows_of(file)):
                raise DamagedFile(file, self.folder.root, told)
        raise DamagedFile(self.folder.runs, self.folder.root, wrong)

    def rows_of(self, file: Path) -> pa.Table:
        """Returns the rows of one file; raises what `read` does."""
        place = self._place(file)
        return self.read_alone(file) if place is None else self._copied(place)

    def copies(self, marks: dict[str, Mark]) -> bool:
        """Whether the copy is whole, and stands for these files and no other."""
        try:
            if not is_sealed_file(self.folder.gathered):
                return False
            copied = _places(pq.read_metadata(self.folder.gathered))
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return {name: mark for name, (mark, _) in copied.items()} == marks

    def copy_differs(self) -> bool:
        """Whether the copy holds other rows than those files for which it stands."""
        for file in self.files:
            place = self._place(file)
            if place is not None:
                rows = self.read_alone(file)
                copied = self._copied(place).select(rows.column_names)
                if not same_bits(copied.cast(rows.schema), rows):
                    return True
        return False

    def places(self, files: Mapping[str, Mark]) -> dict[str, range | None]:
        """Where the rows of files are in the copy; None if they are not, or not as they are.

        Args:
          files: as of `marks`.
        """
        copied, no = self._copy.files, (None, None)
        found = ((name, its, *copied.get(name, no)) for name, its in files.items())
        return {name: place if of == its else None for name, its, of, place in found}

    def pieces(
        self,
        places: Mapping[str, range | None],
        read: Callable[[Path], pa.Table | None] | None = None,
    ) -> Iterator[pa.Table]:
        """Yields the rows of files in order; those side by side in the copy in one piece.

        Args:
          places: of the files, as of `places`.
          read: returns the rows of a file for which the copy does not stand, or None to leave it
            out; raises what `read` does.
        """
        read = read or self.read_alone
        waiting: range | None = None
        for name, place in places.items():
            if waiting is not None and place is not None and place.start == waiting.stop:
                waiting = range(waiting.start, place.stop)
                continue
            if waiting is not None:
                yield self._copied(waiting)
            waiting = place
            rows = read(self.folder.runs / name) if place is None else None
            if rows is not None:
                yield rows
        if waiting is not None:
            yield self._copied(waiting)

    def _place(self, file: Path) -> range | None:
        return self.places({file.name: mark(file)})[file.name]

    def _copied(self, place: range) -> pa.Table:
        return self._copy.rows.slice(place.start, len(place))

    def read_alone(self, file: Path, *, whole: bool = False) -> pa.Table:
        """Returns the rows of one file from itself; raises what `read` does.

        Args:
          whole: columns that are not asked for are verified too.
        """
        with reading(self.folder.root, file):
            rows = rows_in(file, None if whole else self.columns)
            return rows.select(_kept(rows.column_names, self.columns))

    @cached_property
    def _copy(self) -> Copy:
        """Read once; empty if there is none, or if it is damaged."""
        path = self.folder.gathered
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as copy:
                places = _places(copy.metadata)
                if not any(_is_marked(self.folder.runs / n, m) for n, (m, _) in places.items()):
                    return Copy(pa.table({}), {})  # of another folder: that of a stranger, say
                if not is_sealed_file(path):
                    raise ValueError(OTHERWISE)
                check_columns(copy.schema_arrow, path, of_runs=True)
                rows = _read_copy(copy, _kept(copy.schema_arrow.names, self.columns))
                if told := wrong_value(rows):
                    raise ValueError(told)
                return Copy(_plain(rows), places)
        except FileNotFoundError:
            pass
        except (InputError, OSError, ValueError, KeyError, TypeError) as error:
            logger.warning(
                "%s: this copy of the runs table cannot be read (%s). Delete it: no row is lost, "
                "all of them are read from %s.",
                *(path, error, self.folder.runs),
            )
        return Copy(pa.table({}), {})


def _packs_of(rows: pa.Table) -> str:
    """Names the packs that share a run, where rows say of which pack they are."""
    if "pack" not in rows.column_names:
        return ""
    packs: dict[str, list[str]] = {}
    for run, pack in zip(rows["run_id"].to_pylist(), rows["pack"].to_pylist(), strict=True):
        packs.setdefault(run, []).append(pack)
    shared = next(sorted(set(found)) for found in packs.values() if len(found) > 1)
    named = " and pack ".join(str(pack)[:12] for pack in shared)
    return f" (in pack {named}: delete all files whose names begin with one of these ids)"


def rows_in(file: Path, columns: Collection[str] | None = None) -> pa.Table:
    """Returns the rows of one file.

    Raises:
      InputError: its columns are not those of runs, or it has more rows than a pack can.
      OSError, ValueError: it is no Parquet, a page does not have its checksum, or a column is
        missing without which its rows say nothing.
    """
    stored = content(file)
    if is_sealed(stored) is False:
        raise ValueError(OTHERWISE)
    # Threads, and what finds parts of a data set, would cost more than the reading.
    with pq.ParquetFile(pa.BufferReader(stored), page_checksum_verification=True) as rows:
        check_columns(rows.schema_arrow, file, needed=NEEDED, of_runs=True)
        if rows.metadata.num_rows > WIDEST_PACK:  # a few bytes can stand for any number of rows
            raise InputError(f"{file}: {rows.metadata.num_rows} rows came, of one pack.")
        return _plain(rows.read(_kept(rows.schema_arrow.names, columns), use_threads=False))


def content(file: Path) -> bytes:
    """Returns the bytes of a pack's file.

    Raises:
      OSError: it cannot be read.
      ValueError: it is larger than any of ours.
    """
    with open(file, "rb") as opened:
        if os.fstat(opened.fileno()).st_size > LARGEST_ROWS:
            raise ValueError(f"it has more than {LARGEST_ROWS} bytes")
        return opened.read()


def rows_schema(record: Record) -> pa.Schema:
    """The schema of a pack's file, which says in its metadata what is recorded."""
    schema = arrow_schema("runs", run_columns(record))
    return schema.with_metadata({**schema.metadata, RECORD: json.dumps(asdict(record))})


def recorded(folder: Folder) -> dict[str, Any] | None:
    """Returns what the packs of a folder record, by one of them; None where none has started.

    Raises:
      InputError: its file cannot be read, or does not say it.
    """
    file = next((path for path in sorted(folder.runs.glob("*.parquet")) if pack_of(path)), None)
    if file is None:
        return None
    with reading(folder.root, file):
        if is_sealed_file(file) is False:
            raise DamagedFile(file, folder.root, OTHERWISE)
        found = json.loads((pq.read_metadata(file).metadata or {}).get(RECORD, b"null"))
        if not isinstance(found, dict):
            raise DamagedFile(file, folder.root, "does not say what the pack records")
    return found


def _kept(names: Sequence[str], columns: Collection[str] | None) -> list[str]:
    return [name for name in names if columns is None or name in columns]


def _read_copy(copy: pq.ParquetFile, names: Sequence[str]) -> pa.Table:
    """Reads columns, but those that hold one value everywhere, as the statistics say."""
    fields = {name: copy.schema_arrow.field(name) for name in names}
    found = {name: _sole_value(copy, field) for name, field in fields.items()}
    same = {name: value for name, value in found.items() if value is not None}
    if len(same) == len(names):
        return copy.read(names, use_threads=False)
    rows = copy.read([name for name in names if name not in same], use_threads=False)
    for name, scalar in same.items():
        rows = rows.append_column(fields[name], pa.repeat(scalar, len(rows)))
    return rows.select(names)


def _sole_value(copy: pq.ParquetFile, field: pa.Field) -> pa.Scalar | None:
    """The value that all rows have; None if they differ, or if the statistics leave that open.

    Those of a float do not count NaN, so that only nulls are sure.
    """
    place, ends, n_null = copy.schema_arrow.get_field_index(field.name), set[Any](), 0
    for group in map(copy.metadata.row_group, range(copy.num_row_groups)):
        statistics = group.column(place).statistics
        if statistics is None or not statistics.has_null_count:
            return None
        n_null += statistics.null_count
        ends |= {statistics.min, statistics.max} if statistics.has_min_max else set()
    if n_null == copy.metadata.num_rows:
        return pa.scalar(None, field.type)
    is_sure = n_null == 0 and len(ends) == 1 and not kinds.is_floating(field.type)
    return pa.scalar(ends.pop(), field.type) if is_sure else None


def _is_marked(file: Path, its: tuple[int, ...]) -> bool:
    try:
        return mark(file) == its
    except FileNotFoundError:
        return False


def _plain(rows: pa.Table) -> pa.Table:
    """The rows without metadata, which may tell pandas to make something else of them."""
    return rows.replace_schema_metadata(None)


def described(files: Sequence[tuple[str, Mark, int]]) -> dict[bytes, bytes]:
    """Returns the metadata of a copy: of each file its name, mark and number of rows, in order."""
    return {COPIED: json.dumps(files).encode()}


def _places(copy: pq.FileMetaData) -> dict[str, tuple[tuple[int, ...], range]]:
    """The opposite of `described`: the rows of each file in a copy."""
    places, start = {}, 0
    for name, of_file, n in json.loads(copy.metadata[COPIED]):
        places[name] = tuple(of_file), range(start, start + n)
        start += n
    if start != copy.num_rows:
        raise ValueError(f"it has {copy.num_rows} rows, and should have {start}")
    return places


def joined(tables: Iterable[pa.Table]) -> pa.Table:
    """Returns the rows of all tables; columns that some of them lack are null there.

    A hundred tables at a time: one of four rows takes 100 KB until it is one with others.
    """
    rest = iter(tables)
    return _concatenated(map(_concatenated, iter(lambda: list(islice(rest, 100)), [])))


def _concatenated(tables: Iterable[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="default").combine_chunks()
