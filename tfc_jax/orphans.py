"""Files of tables for which no row of the runs table speaks: their rows may stand twice."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfc_jax.damage import UNREADABLE, Finding
from tfc_jax.layout import Folder
from tfc_jax.runs_table import RunsTable
from tfc_jax.stored_columns import NEEDED
from tfc_jax.stored_files import StoredFiles

AWAY = "Move it away."


def strays(stored: StoredFiles) -> Iterator[Finding]:
    """Finds what stands in the folder of a table and has no name that a launch gives.

    Some readers take every file of a folder.
    """
    for path in stored.strays:
        yield Finding(path, "is no part of this table, but read with it", remedy=AWAY)


def foreign_rows(stored: StoredFiles) -> Iterator[Finding]:
    """Finds those that readers take for a part of the table; some do so in a folder among them."""
    return (one for one in strays(stored) if _has_rows(one.path))


def _has_rows(path: Path) -> bool:
    return path.suffix == ".parquet" or any(path.rglob("*.parquet"))


def unplanned(stored: StoredFiles, planned: AbstractSet[str]) -> Iterator[Finding]:
    """Finds packs without rows that a plan does not have either: it has their runs in others."""
    for pack in sorted(stored.parts.keys() - stored.rows - planned):
        yield Finding(
            stored.parts[pack][0],
            f"is of pack {pack}, which is neither in the runs table nor planned, so its rows may "
            f"come to stand twice: {_remedy(pack)}",
        )


def doubled(folder: Folder, stored: StoredFiles) -> dict[str, Finding]:
    """Finds packs without rows, by pack, of which another pack has a run, with rows or without."""
    lost = sorted(stored.parts.keys() - stored.rows)
    known, found = set[str](), dict[str, Finding]()
    if lost and stored.rows:
        known |= set(RunsTable(folder, NEEDED).read()["run_id"].to_pylist())
    for pack in lost:
        part = stored.parts[pack][0]
        runs = _runs_in(part)
        if not known.isdisjoint(runs):
            what = f"is of pack {pack}, which has no rows in the runs table, while other packs have"
            found[pack] = Finding(part, f"{what} its runs: {_remedy(pack)}")
        else:
            known |= runs
    return found


def _remedy(pack: str) -> str:
    return (
        f"restore runs/{pack}.parquet, give the flags of the launch that trained it, or delete all "
        f"files whose names begin with {pack}"
    )


def _runs_in(part: Path) -> set[str]:
    """The runs in a data file; none if it cannot be read, which is told elsewhere."""
    try:
        column = pq.read_table(part, columns=["run_id"], partitioning=None)["run_id"]
    except UNREADABLE:
        return set()
    return set(pc.unique(column).to_pylist())
