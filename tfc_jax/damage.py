"""Is every file of a pack what was committed? Compares hashes, checksums and rows."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfc_jax import checkpoint as checkpoints
from tfc_jax import files
from tfc_jax.archives import read_arrays
from tfc_jax.checkpoint import Checkpoint, DamagedCheckpoint, Part
from tfc_jax.errors import InputError
from tfc_jax.layout import Folder, last_step
from tfc_jax.parts import check_names, final_weights, staged_name
from tfc_jax.runs_table import rows_in
from tfc_jax.schema import RESULT_TABLES
from tfc_jax.stored_columns import double_run, wrong_value
from tfc_jax.stored_files import StoredFiles

UNREADABLE = (InputError, OSError, ValueError, KeyError, EOFError, pa.ArrowException)


@dataclass(frozen=True)
class Finding:
    """Something about a file.

    Attributes:
      is_damage: false for the trace of a crash, which the next launch clears away.
    """

    path: Path
    what: str
    is_damage: bool = True

    def __str__(self) -> str:
        return f"{self.path} {self.what}"


def check_pack(folder: Folder, pack: str, stored: StoredFiles) -> list[Finding]:
    """Checks a pack; again if it was committed to meanwhile."""
    before, parts = stored.checkpoints.get(pack, ()), stored.parts.get(pack, ())
    while True:
        found, checkpoint = newest(before, pack)
        found += check_parts(folder, pack, checkpoint.parts if checkpoint else {}, parts)
        found += _check_rows(folder, pack, checkpoint)
        found += _check_weights(folder, pack, checkpoint)
        if not found or (now := folder.checkpoints_of(pack)) == list(before):
            return found
        before = now
        parts = [part for table in RESULT_TABLES for part in folder.parts_of(table, pack)]


def newest(paths: Iterable[Path], pack: str) -> tuple[list[Finding], Checkpoint | None]:
    """Returns what is wrong with a pack's checkpoints, and the newest that is good."""
    found, newest = [], None
    for path in paths:
        try:
            checkpoint = checkpoints.load(path)
            check_names(checkpoint, pack, path)
        except (FileNotFoundError, IsADirectoryError):
            continue  # a newer one came just now; or it was said already
        except DamagedCheckpoint:
            found.append(Finding(path, "is damaged: the pack would go on without it"))
        else:
            newest = newest or checkpoint
    return found, newest


def check_parts(
    folder: Folder, pack: str, named: Mapping[str, Part], parts: Iterable[Path]
) -> list[Finding]:
    """Compares the data files of a pack with those that its checkpoint names."""
    found: list[Finding] = []
    for path, part in named.items():
        found += _check_part(folder, pack, folder.root / path, part)
    done = max((last_step(Path(path)) for path in named), default=0)
    for other in parts:
        if f"{other.parent.name}/{other.name}" not in named:
            is_extra = last_step(other) <= done
            what = "is named by no checkpoint" + (", and doubles rows" if is_extra else "")
            found += [Finding(other, what, is_extra), *check_parquet(other)]
    return found


def _check_part(folder: Folder, pack: str, path: Path, part: Part) -> Iterator[Finding]:
    if not path.is_file():
        name = staged_name(f"{path.parent.name}/{path.name}")
        staged = [stage / name for stage in folder.stages_of(pack)]
        if any(map(Path.exists, staged)):
            yield Finding(path, "is committed, and not in its place yet", is_damage=False)
        else:
            yield Finding(path, "is missing")
    elif files.sha256(path) != part.sha256:
        yield Finding(path, "is not the file that was committed (SHA-256)")
    else:
        yield from check_parquet(path, part.rows)


def check_parquet(path: Path, rows: int | None = None) -> Iterator[Finding]:
    """Reads a whole file with its page checksums; counts its rows if their number is known."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            found = sum(len(batch) for batch in file.iter_batches(use_threads=False))
    except UNREADABLE as error:
        yield Finding(path, f"cannot be read: {line(error)}")
    else:
        if rows is not None and found != rows:
            yield Finding(path, f"has {found:,} rows and should have {rows:,}")


def _check_rows(folder: Folder, pack: str, checkpoint: Checkpoint | None) -> Iterator[Finding]:
    """Compares a pack's rows of the runs table with its checkpoint."""
    path = folder.runs / f"{pack}.parquet"
    if not path.exists():
        yield Finding(path, "is missing; `tfc run` writes it again", is_damage=False)
        return
    try:
        table = rows_in(path)
    except UNREADABLE as error:
        yield Finding(path, f"cannot be read: {line(error).removeprefix(f'{path}: ')}")
        return
    wrong = wrong_value(table) or double_run(table)
    if wrong:
        yield Finding(path, f"holds what no launch writes: {wrong}")
        return
    rows = table.select(["pack", "steps_done"]).to_pylist()
    step = checkpoint.step if checkpoint else 0
    if not rows or any(row["pack"] != pack for row in rows):
        yield Finding(path, "holds rows of another pack, or none")
    elif checkpoint and any(row["steps_done"] > step for row in rows):
        yield Finding(path, f"says that more is committed than the {step} steps that are")
    elif any(row["steps_done"] < step for row in rows):
        what = f"says less than the {step} steps that are committed; `tfc run` writes it again"
        yield Finding(path, what, is_damage=False)


def _check_weights(folder: Folder, pack: str, checkpoint: Checkpoint | None) -> Iterator[Finding]:
    """Compares the final weights with the state in the checkpoint, if it is the last one."""
    path, rows = folder.params / f"{pack}.npz", folder.runs / f"{pack}.parquet"
    try:
        status = pq.read_table(rows, columns=["status"], partitioning=None)["status"].to_pylist()
    except UNREADABLE:
        return  # said already
    is_done = bool(status) and set(status) <= {"done", "diverged"}
    if not path.exists():
        if is_done:
            yield Finding(path, "is missing")
        return
    try:
        weights = read_arrays(path)
    except ValueError as error:
        yield Finding(path, f"cannot be read: {line(error)}")
        return
    if is_done and checkpoint and not _same_weights(weights, final_weights(checkpoint.arrays)):
        yield Finding(path, "does not hold the weights of the checkpoint")


def _same_weights(stored: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]) -> bool:
    """Compares bits; the state has padding lanes at the end."""
    return stored.keys() == state.keys() and all(
        array.tobytes() == state[name][: len(array)].tobytes() for name, array in stored.items()
    )


def line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
