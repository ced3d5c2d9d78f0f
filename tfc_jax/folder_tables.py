"""Tables of a whole results folder: made at the start, with leaf cells, gathered at the end.

Only the launch that holds the folder's lock writes them.
"""

import errno
import io
import logging
import os
import shutil
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from tfc_jax import files
from tfc_jax.contents import is_left_by_launch
from tfc_jax.errors import InputError
from tfc_jax.layout import EMPTY_PART, Folder, is_probe, pack_of
from tfc_jax.record import Record
from tfc_jax.runs_table import RunsTable, described, joined
from tfc_jax.schema import RESULT_TABLES, arrow_schema, result_columns, run_columns
from tfc_jax.seal import sealed
from tfc_jax.tables import write_parquet

MOST_LACKED = 1000  # packs whose rows the copy may lack while a launch goes on

logger = logging.getLogger(__name__)


def create(folder: Folder, record: Record) -> None:
    """Makes the folders of every table, each with an empty part, so that readers always succeed.

    Tables of another record, of a launch that was killed before it had one row, are taken away.
    """
    files.make_folder(folder.root)
    for place in (folder.checkpoints, folder.staging, folder.params):
        with suppress(FileExistsError):
            files.make_new_folder(place)
    files.sync_folder(folder.root)  # also for what a launch made that was killed before it did so
    tables = {**result_columns(record), "runs": run_columns(record)}
    for table in sorted(set(RESULT_TABLES) - tables.keys()):
        with suppress(FileNotFoundError):  # a launch that replaced this one has done it
            _remove_if_empty(folder.table(table))
    for table, columns in tables.items():
        try:
            _create_table(folder, table, arrow_schema(table, columns))
        except OSError as error:
            is_replaced = error.errno in (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY)
            if not is_replaced or not folder.table(table).is_dir():
                raise  # else the launch that replaced this one has made it


def clear_traces(folder: Folder, settled: Container[str]) -> None:
    """Deletes what a kill left: stages of packs that are done or merged, half-written files.

    Also the empty folders of a launch that waited for the rows of other machines.
    """
    for beside in filter(Path.exists, map(folder.compacted, RESULT_TABLES)):
        shutil.rmtree(beside)
    folder.staged_merged.unlink(missing_ok=True)
    for stage in folder.stages:
        if pack_of(stage) in settled:
            shutil.rmtree(stage)
    for name in filter(is_probe, _names(folder.runs)):
        files.remove(folder.runs / name)
    for beside in folder.root.iterdir():
        if is_left_by_launch(beside.name):
            files.remove(beside)


def _create_table(folder: Folder, table: str, schema: pa.Schema) -> None:
    place, content = folder.table(table), _sealed(schema.empty_table())
    if (place / EMPTY_PART).exists() and (
        _has_rows(place) or (place / EMPTY_PART).read_bytes() == content
    ):
        return
    staged = folder.staging / table
    with suppress(FileExistsError):  # left by a crash
        files.make_new_folder(staged)
    with files.new_file(staged / EMPTY_PART) as file:
        file.write(content)
    files.sync_folder(staged)
    if place.exists():  # with what is somebody else's
        files.move_in(staged / EMPTY_PART, place / EMPTY_PART)
        files.remove(staged)
    else:
        files.move_in(staged, place)


def _has_rows(place: Path) -> bool:
    """Whether a table has a part besides the empty one."""
    names = _names(place)
    return any(name.endswith(".parquet") and name != EMPTY_PART for name in names)


def _remove_if_empty(place: Path) -> None:
    if set(_names(place)) <= {EMPTY_PART}:
        files.remove(place / EMPTY_PART)
        files.remove(place)


def _names(place: Path) -> Iterator[str]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(place) as entries:
        yield from (entry.name for entry in entries)


def _sealed(table: pa.Table, *, write_statistics: bool = False) -> bytes:
    content = io.BytesIO()
    write_parquet(table, content, write_statistics=write_statistics)
    return sealed(content.getvalue())


def write_cells(folder: Folder, table: pa.Table) -> None:
    """Rewrites the leaf cells of a sweep that refines."""
    files.make_folder(folder.cells.parent)
    staged = folder.staging / "cells-leaves.parquet"
    with files.new_file(staged) as file:
        write_parquet(table, file)
    files.move_in(staged, folder.cells)


def gather_runs(folder: Folder) -> None:
    """Copies the rows of all packs into one file, if that is not done; nobody else may write it.

    All rows are stored without it, so a disk without room for it only costs later readers time.
    """
    try:
        _gather_runs(folder)
    except (OSError, InputError) as error:  # while others write, a file may be unreadable
        logger.warning(
            "%s: this copy of the runs table was not written (%s). No row is lost; plans and "
            "status take longer.",
            *(folder.gathered, error),
        )


def _gather_runs(folder: Folder) -> None:
    table = RunsTable(folder)
    marks = table.marks()  # first: of a file that is replaced meanwhile, no copy is used
    if table.copies(marks):
        return
    lengths: dict[str, int] = {}

    def read(file: Path) -> pa.Table:
        rows = table.read_alone(file)
        lengths[file.name] = len(rows)
        return rows

    places = table.places(marks)
    gathered = joined(table.pieces(places, read))
    lengths |= {name: len(place) for name, place in places.items() if place is not None}
    copied = [(name, its, lengths[name]) for name, its in marks.items()]
    staged = folder.staging / "runs-gathered.parquet"
    with files.new_file(staged) as file:
        rows = gathered.replace_schema_metadata(described(copied))
        file.write(_sealed(rows, write_statistics=True))  # of columns that need not be read
    files.move_in(staged, folder.gathered)


class Gathering:
    """Keeps the copy of the runs table nearly whole while a launch adds to it.

    A status of a million runs opens few files then, also after the launch was killed.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder, table = folder, RunsTable(folder, ("run_id",))
        places = table.places(table.marks())
        self._lacks = sum(place is None for n, place in places.items() if n != EMPTY_PART)
        self._gather_if_due()

    def note(self, event: Mapping[str, Any]) -> None:
        """Takes an event of a launch."""
        self._lacks += event["event"] == "finished"
        self._gather_if_due()

    def _gather_if_due(self) -> None:
        if self._lacks >= MOST_LACKED:
            gather_runs(self._folder)
            self._lacks = 0
