"""Is every file of a pack what was committed, and do its rows and weights say the same?"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tfc_jax.archives import read_arrays
from tfc_jax.checkpoint import Checkpoint
from tfc_jax.damage import UNREADABLE, Finding, check_parquet, check_parts, line, newest
from tfc_jax.layout import Folder
from tfc_jax.parts import final_weights
from tfc_jax.runs_table import rows_in
from tfc_jax.seal import is_sealed
from tfc_jax.stored_columns import double_run, wrong_value
from tfc_jax.stored_files import StoredFiles

MOST_AT_ONCE = 4  # packs, whose states are in memory meanwhile
UNTOLD = "nothing tells whether the rows of this pack are those that were committed"
FROM_CHECKPOINT = "from the newest checkpoint, and trains only what that lacks"
ROWS_REMEDY = f"Delete it: `tfc run` writes it again {FROM_CHECKPOINT}."


def check_packs(
    folder: Folder, packs: Sequence[str], stored: StoredFiles
) -> dict[str, list[Finding]]:
    """Checks packs side by side, again those that were committed to or merged meanwhile.

    Returns:
      what was found, by pack.
    """
    found: dict[str, list[Finding]] = {}
    while packs:
        with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
            checked = pool.map(partial(_check_pack, folder, stored), packs)
            found |= zip(packs, checked, strict=True)
        before, suspicious = stored, [pack for pack in packs if found[pack]]
        if suspicious:
            stored = StoredFiles.of(folder)
        packs = [p for p in suspicious if stored.of_pack(p) != before.of_pack(p)]
    return found


def _check_pack(folder: Folder, stored: StoredFiles, pack: str) -> list[Finding]:
    paths, parts = stored.checkpoints.get(pack, ()), stored.parts.get(pack, ())
    found, checkpoint = newest(paths, pack)
    if checkpoint is None and parts:
        found = _without_checkpoint(folder, pack, found)
    found += _check_data(folder, pack, checkpoint, parts)
    found += _check_rows(folder, pack, _steps(folder, pack, paths, checkpoint, parts))
    found += _check_weights(folder, pack, checkpoint)
    return found


def _check_data(
    folder: Folder, pack: str, checkpoint: Checkpoint | None, parts: Sequence[Path]
) -> list[Finding]:
    if checkpoint:
        return check_parts(folder, pack, checkpoint.parts, parts)
    return list(chain.from_iterable(map(check_parquet, parts)))


def _without_checkpoint(folder: Folder, pack: str, damaged: list[Finding]) -> list[Finding]:
    """Says what it means that no checkpoint of a pack is intact."""
    if not damaged:
        return [Finding(folder.checkpoints / f"{pack}-*.npz", f"are missing: {UNTOLD}")]
    first = replace(damaged[0], what=f"is damaged, and no other of its pack is intact: {UNTOLD}")
    return [first, *damaged[1:]]


def _steps(
    folder: Folder,
    pack: str,
    paths: Sequence[Path],
    checkpoint: Checkpoint | None,
    parts: Sequence[Path],
) -> int | None:
    """The steps that are committed; None where the checkpoint is damaged that says how many."""
    if checkpoint is None:
        return None if paths or parts else 0
    return checkpoint.step if paths[0] == folder.checkpoint(pack, checkpoint.step) else None


def _check_rows(folder: Folder, pack: str, step: int | None) -> Iterator[Finding]:
    """Compares a pack's rows of the runs table with the steps that are committed."""
    path = folder.runs / f"{pack}.parquet"
    if not path.exists():
        yield Finding(path, "is missing; `tfc run` writes it again", is_damage=False)
        return
    wrong = _wrong_rows(path, pack)
    if wrong:
        yield Finding(path, wrong, remedy=ROWS_REMEDY)
        return
    done = [row["steps_done"] for row in rows_in(path, ["steps_done"]).to_pylist()]
    if step is not None and max(done) > step:
        what = f"says that more is committed than the {step} steps that are"
        yield Finding(path, what, remedy=ROWS_REMEDY)
    elif step is not None and min(done) < step:
        what = f"says less than the {step} steps that are committed; `tfc run` writes it again"
        yield Finding(path, what, is_damage=False)


def _wrong_rows(path: Path, pack: str) -> str | None:
    """What is wrong with a pack's rows of the runs table, whatever is committed of it."""
    try:
        table = rows_in(path)
    except UNREADABLE as error:
        return f"cannot be read: {line(error).removeprefix(f'{path}: ')}"
    wrong = wrong_value(table) or double_run(table)
    if wrong:
        return f"holds what no launch writes: {wrong}"
    if set(table["pack"].to_pylist()) != {pack}:
        return "holds rows of another pack, or none"
    return None if is_sealed(path.read_bytes()) else "has no seal, as launches write it"


def _check_weights(folder: Folder, pack: str, checkpoint: Checkpoint | None) -> Iterator[Finding]:
    """Compares the final weights with the state in the checkpoint, if it is the last one."""
    path, rows = folder.weights_of(pack), folder.runs / f"{pack}.parquet"
    try:
        stored = pq.read_table(rows, columns=["status", "steps_done"], partitioning=None)
    except UNREADABLE:
        return  # said already
    status = set(stored["status"].to_pylist())
    is_done = bool(status) and status <= {"done", "diverged"}
    if not is_done and not path.exists():
        return
    is_last = is_done and checkpoint and {checkpoint.step} == set(stored["steps_done"].to_pylist())
    wrong = _wrong_weights(path, checkpoint if is_last else None)
    if wrong:
        what = f"it and runs/{rows.name}" if path.exists() else f"runs/{rows.name}"
        remedy = f"Delete {what}: `tfc run` writes both again {FROM_CHECKPOINT}."
        yield Finding(path, wrong, remedy=remedy if checkpoint else "")


def _wrong_weights(path: Path, checkpoint: Checkpoint | None) -> str | None:
    """What is wrong with final weights, which are those of this checkpoint, if there is one."""
    if not path.exists():
        return "is missing"
    try:
        weights = read_arrays(path)
    except ValueError as error:
        return f"cannot be read: {line(error)}"
    if checkpoint and not _same_weights(weights, final_weights(checkpoint.arrays)):
        return "does not hold the weights of the checkpoint"
    return None


def _same_weights(stored: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]) -> bool:
    """Compares bits; the state has padding lanes at the end."""
    return stored.keys() == state.keys() and all(
        array.tobytes() == state[name][: len(array)].tobytes() for name, array in stored.items()
    )
