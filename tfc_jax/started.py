"""What earlier launches have started, as the runs table holds it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds

from tfc_jax.config import Sweep
from tfc_jax.errors import InputError
from tfc_jax.keys import KEYS, Run
from tfc_jax.keytypes import Key
from tfc_jax.layout import Folder, checked_pack
from tfc_jax.pack import pack_id, program_key
from tfc_jax.plan import StartedPack
from tfc_jax.results import Results
from tfc_jax.run_arrays import of_sweep
from tfc_jax.runs_table import RunsTable
from tfc_jax.untrusted import DamagedFile

# Packs up to which every value of the runs table is read and checked, which takes a few seconds. Of
# more, rows are taken for the runs of the sweep that have their ids; `tfc fsck` reads all.
CHECKED_WHOLE = 4096
_NEEDED = (
    *("run_id", "pack", "lane", "pack_width", "schedule"),
    *("steps_done", "status", "dataset_sha256"),
)


def started_packs(folder: Folder, sweep: Sweep | None = None) -> Iterator[StartedPack]:
    """Yields the packs of earlier launches, as the runs table holds them.

    Args:
      sweep: whose `Run` objects packs get where there are many, instead of equal ones.
    Raises:
      DamagedFile: rows do not name their runs, or their pack, as launches do.
    """
    if not folder.has_runs:
        return
    results = Results(folder)
    if sweep is not None and len(RunsTable(folder).marks()) > CHECKED_WHOLE:
        yield from _packs_of_many(results, sweep)
        return
    table = results.runs_table()
    runs = _runs(table)
    _check_names(folder, table, runs)
    yield from _packs(table, runs)


def _check_names(folder: Folder, table: pa.Table, runs: Sequence[Run]) -> None:
    """Refuses rows whose ids are not hashes of what they are of: a run could be trained twice."""
    of_pack: dict[str, list[tuple[int, str, Run]]] = defaultdict(list)
    columns = (table[name].to_pylist() for name in ("pack", "lane", "run_id"))
    for pack, lane, run_id, run in zip(*columns, runs, strict=True):
        if run.run_id != run_id:
            told = f"the keys of run {run_id[:40]!r} are those of run {run.run_id}"
            raise _damaged(folder, pack, told)
        of_pack[pack].append((lane, run_id, run))
    for pack, members in of_pack.items():
        members.sort(key=itemgetter(0))
        if pack_id(run_id for _, run_id, _ in members) != pack:
            raise _damaged(folder, pack, f"its runs are not those of pack {pack[:40]!r}")
        if len({program_key(run) for _, _, run in members}) > 1:
            raise _damaged(folder, pack, "its runs are of several programs")


def _damaged(folder: Folder, pack: str, what: str) -> DamagedFile:
    return DamagedFile(folder.runs / f"{checked_pack(pack)}.parquet", folder.root, what)


def _packs_of_many(results: Results, sweep: Sweep) -> Iterator[StartedPack]:
    table, runs = results.runs_table(_NEEDED), of_sweep(sweep)
    place = runs.places(table["run_id"])
    others = iter(list[Run]())
    if (place < 0).any():  # of a sweep that had more
        table = results.runs_table({*_NEEDED, *KEYS})
        place = runs.places(table["run_id"])
        others = iter(_runs(table.filter(pa.array(place < 0))))
    yield from _packs(table, [sweep.runs[i] if i >= 0 else next(others) for i in place.tolist()])


def _packs(table: pa.Table, runs: Sequence[Run]) -> Iterator[StartedPack]:
    """Yields the packs of rows, whose runs these are, in order of appearance; lanes in order."""
    if not runs:
        return
    pack = np.asarray(_encoded(table["pack"]).indices)
    order = np.lexsort((np.asarray(table["lane"]), pack))
    firsts = np.flatnonzero(np.diff(pack[order], prepend=-1))
    stops = [*firsts[1:].tolist(), len(order)]
    rows, place = table.take(pa.array(order[firsts])).to_pylist(), order.tolist()
    for row, first, stop in zip(rows, firsts.tolist(), stops, strict=True):
        yield StartedPack(
            runs=tuple(runs[i] for i in place[first:stop]),
            width=row["pack_width"],
            schedule=row["schedule"],
            steps_done=row["steps_done"],
            failed=row["status"] == "failed",
            settled=row["status"] in ("done", "diverged"),
            dataset_sha256=row["dataset_sha256"],
        )


def _runs(table: pa.Table) -> list[Run]:
    """The runs of the rows of the runs table; a whole column at a time, since packs are many."""
    columns = [_checked(key, table[name]) for name, key in KEYS.items()]
    return [Run(*values) for values in zip(*columns, strict=True)]


def _checked(key: Key, column: pa.ChunkedArray) -> list[Any]:
    """The values of a column as runs hold them; each distinct one is checked once.

    Raises:
      InputError: no run of ours can hold one of them.
    """
    encoded = _encoded(column)
    codes = np.asarray(encoded.indices.fill_null(len(encoded.dictionary))).tolist()
    values = [*encoded.dictionary.to_pylist(), None]
    try:
        checked = {code: key.checked(_plain(values[code])) for code in set(codes)}
    except ValueError as error:
        raise InputError(f"the runs table: {key.name}: {error}") from error
    return [checked[code] for code in codes]


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The column as its distinct values, in order of appearance, and codes."""
    if kinds.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if kinds.is_null(column.type):
        column = column.cast(pa.string())
    return column.combine_chunks().dictionary_encode()


def _plain(value: Any) -> Any:
    """NaN stands for null in files that others wrote."""
    return None if value != value else value
