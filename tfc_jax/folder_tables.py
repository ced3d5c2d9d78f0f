"""Tables of a whole results folder: made at the start, with leaf cells, gathered at the end.

Only the launch that holds the folder's lock writes them.
"""

import errno
import io
import logging
import shutil
from collections.abc import Container, Iterator
from contextlib import suppress

import pyarrow as pa

from tfc_jax import files
from tfc_jax.contents import is_left_by_launch
from tfc_jax.layout import EMPTY_PART, Folder, pack_of
from tfc_jax.record import Record
from tfc_jax.runs_table import RunsTable, described, joined
from tfc_jax.schema import arrow_schema, result_columns, run_columns
from tfc_jax.seal import sealed
from tfc_jax.tables import write_parquet

logger = logging.getLogger(__name__)


def create(folder: Folder, record: Record) -> None:
    """Makes the folders of every table, each with an empty part, so that readers always succeed."""
    files.make_folder(folder.root)
    for place in (folder.checkpoints, folder.staging, folder.params):
        with suppress(FileExistsError):
            files.make_new_folder(place)
    files.sync_folder(folder.root)  # also for what a launch made that was killed before it did so
    for table, columns in {**result_columns(record), "runs": run_columns(record)}.items():
        try:
            _create_table(folder, table, arrow_schema(table, columns))
        except OSError as error:
            is_replaced = error.errno in (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY)
            if not is_replaced or not folder.table(table).is_dir():
                raise  # else the launch that replaced this one has made it


def clear_traces(folder: Folder, settled: Container[str]) -> None:
    """Deletes what a kill left: folders of writers of packs that are done, half-written files."""
    for stage in folder.staging.glob("*.*.*"):
        if pack_of(stage) in settled:
            shutil.rmtree(stage)
    for beside in folder.root.iterdir():
        if is_left_by_launch(beside.name):
            files.remove(beside)


def _create_table(folder: Folder, table: str, schema: pa.Schema) -> None:
    place = folder.table(table)
    if (place / EMPTY_PART).exists():
        return
    staged = folder.staging / table
    with suppress(FileExistsError):  # left by a crash
        files.make_new_folder(staged)
    with files.new_file(staged / EMPTY_PART) as file:
        write_parquet(schema.empty_table(), file)
    files.sync_folder(staged)
    if place.exists():  # with what is somebody else's
        files.move_in(staged / EMPTY_PART, place / EMPTY_PART)
        files.remove(staged)
    else:
        files.move_in(staged, place)


def write_cells(folder: Folder, table: pa.Table) -> None:
    """Rewrites the leaf cells of a sweep that refines."""
    files.make_folder(folder.cells.parent)
    staged = folder.staging / "cells-leaves.parquet"
    with files.new_file(staged) as file:
        write_parquet(table, file)
    files.move_in(staged, folder.cells)


def gather_runs(folder: Folder) -> None:
    """Copies the rows of all packs into one file, if that is not done; nobody else may write.

    All rows are stored without it, so a disk without room for it only costs later readers time.
    """
    try:
        _gather_runs(folder)
    except OSError as error:
        logger.warning(
            "%s: this copy of the runs table was not written (%s). No row is lost; plans and "
            "status take longer.",
            *(folder.gathered, error),
        )


def _gather_runs(folder: Folder) -> None:
    table = RunsTable(folder)
    marks = {file.name: files.mark(file) for file in table.files}
    if table.copies(marks):
        return
    copied = []

    def rows() -> Iterator[pa.Table]:
        for name, mark in marks.items():
            part = table.rows_of(folder.runs / name)
            copied.append((name, mark, len(part)))
            yield part

    gathered = joined(rows())
    staged = folder.staging / "runs-gathered.parquet"
    whole = io.BytesIO()
    write_parquet(gathered.replace_schema_metadata(described(copied)), whole)
    with files.new_file(staged) as file:
        file.write(sealed(whole.getvalue()))
    files.move_in(staged, folder.gathered)
