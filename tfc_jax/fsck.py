"""Is every file of a results folder what was committed? Compares hashes, checksums and rows.

Reads only. What a crash leaves behind is no damage: the next launch clears it away.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfc_jax import checkpoint as checkpoints
from tfc_jax import choices, contents, files, manifest
from tfc_jax.archives import read_arrays
from tfc_jax.checkpoint import Checkpoint, DamagedCheckpoint, Part
from tfc_jax.errors import InputError
from tfc_jax.folder_tables import EMPTY_PART
from tfc_jax.layout import Folder, pack_of, steps_of
from tfc_jax.parts import check_names, final_weights, staged_name
from tfc_jax.results import stored_analysis
from tfc_jax.runs_table import RunsTable, rows_in
from tfc_jax.schema import KEY_COLUMNS, RESULT_TABLES
from tfc_jax.started import started_packs
from tfc_jax.stored_columns import double_run, wrong_value
from tfc_jax.untrusted import DamagedFile
from tfc_jax.wording import counted

UNREADABLE = (InputError, OSError, ValueError, KeyError, EOFError, pa.ArrowException)
MOST_AT_ONCE = 4  # packs, whose states are in memory meanwhile
MOST_NAMED = 5  # damaged files in a refusal; the rest is counted
MAGIC = b"PAR1"  # at both ends of a Parquet file


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


@dataclass(frozen=True)
class Report:
    """What was looked at, and what was found.

    Attributes:
      size: bytes of all files.
      lost: packs whose rows or weights are damaged.
    """

    packs: int
    files: int
    size: int
    findings: tuple[Finding, ...]
    lost: tuple[str, ...]

    @property
    def damage(self) -> list[Finding]:
        """What no launch mends."""
        return [finding for finding in self.findings if finding.is_damage]

    def summary(self, folder: Folder) -> str:
        """What was found in all, and what to do about it."""
        looked = (
            f"{folder.root}: {counted(self.packs, 'pack')}, {counted(self.files, 'file')}, "
            f"{self.size / 2**20:,.1f} MiB"
        )
        if not self.damage:
            return f"{looked}: no damage"
        told = f"{looked}: {counted(len(self.damage), 'damaged file')}. Restore from a copy"
        if self.lost:
            return (
                f"{told}, or train again pack {', '.join(self.lost)}: delete what is named after "
                f"it in runs, params and checkpoints, then `tfc run`; rows that are intact are "
                f"compared with those that come out."
            )
        tables = {*KEY_COLUMNS, folder.params.name}
        is_spared = all(tables.isdisjoint(one.path.parts[-2:]) for one in self.damage)
        return f"{told}; no row is lost." if self.packs and is_spared else f"{told}."


def check(folder: Folder) -> Report:
    """Verifies every file; packs side by side.

    Raises:
      InputError: there are no results.
    """
    misplaced = {path: Finding(path, what) for path, what in contents.misplaced(folder.root)}
    if any(one.what not in (contents.NO_FILE, contents.NO_FOLDER) for one in misplaced.values()):
        # A link would lead out of the folder, and a pipe hold its reader for ever.
        rest = Finding(
            folder.root, "was not looked at further: remove these first", is_damage=False
        )
        return Report(0, len(misplaced), 0, (*misplaced.values(), rest), ())
    if not folder.manifest.exists():
        raise InputError(
            f"{folder.root}: there are no results here (no manifest.json). Give the folder that "
            f"`tfc run` wrote, such as results/quickstart."
        )
    stored = _Stored.of(folder)
    packs = stored.packs
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        checked = pool.map(lambda pack: _check_pack(folder, pack, stored), packs)
        of_packs = dict(zip(packs, checked, strict=True))
    found = [*_check_whole(folder), *chain.from_iterable(of_packs.values())]
    if not any(one.path in (folder.analysis, *folder.runs.glob("*")) for one in found):
        found += _check_reading(folder.runs, lambda: list(started_packs(folder)))
    everything = [path for path in folder.root.rglob("*") if path.is_file()]
    return Report(
        packs=len(packs),
        files=len(everything),
        size=sum(path.stat().st_size for path in everything),
        findings=(*misplaced.values(), *(one for one in found if one.path not in misplaced)),
        lost=tuple(p for p, found in of_packs.items() if any(map(_is_loss, found))),
    )


def refuse_damage(
    folder: Folder, steps_done: Mapping[str, int], unfinished: AbstractSet[str]
) -> None:
    """Refuses to add to results that are damaged.

    Args:
      steps_done: what the runs table says of all packs of the plan.
      unfinished: packs that are to go on: every byte of theirs is verified. Of the data files of
        others the ends are, and that the loss of each step is there.
    Raises:
      InputError: some file is not what was committed.
    """
    stored = _Stored.of(folder)
    found = [Finding(part, "is cut short") for part in stored.all_parts if not _has_ends(part)]
    for pack, done in steps_done.items():
        if done and pack not in unfinished:
            found += _check_steps(folder, pack, done, stored.parts.get(pack, ()))
        elif done:
            _, checkpoint = _newest(stored.checkpoints.get(pack, ()), pack)
            parts = stored.parts.get(pack, ())
            found += _check_parts(folder, pack, checkpoint.parts, parts) if checkpoint else []
    damage = list(dict.fromkeys(str(one) for one in found if one.is_damage))
    if damage:
        more = f", and {len(damage) - MOST_NAMED} more" if len(damage) > MOST_NAMED else ""
        raise InputError(
            f"{folder.root}: damaged, so nothing is added: {'; '.join(damage[:MOST_NAMED])}{more}. "
            f"`tfc fsck {folder.root}` says what can be done."
        )


@dataclass(frozen=True)
class _Stored:
    """Which files there are, by pack; each folder is looked through once."""

    checkpoints: Mapping[str, Sequence[Path]]  # newest first
    parts: Mapping[str, Sequence[Path]]
    others: frozenset[str]  # packs of which there are rows or weights

    @classmethod
    def of(cls, folder: Folder) -> "_Stored":
        tables = [path for table in RESULT_TABLES for path in folder.table(table).glob("*.parquet")]
        return cls(
            _by_pack(sorted(folder.checkpoints.glob("*.npz"), reverse=True)),
            _by_pack(sorted(filter(steps_of, tables))),
            frozenset(_by_pack([*folder.runs.glob("*.*"), *folder.params.glob("*.*")])),
        )

    @property
    def packs(self) -> list[str]:
        return sorted({*self.checkpoints, *self.parts, *self.others})

    @property
    def all_parts(self) -> Iterator[Path]:
        return chain.from_iterable(self.parts.values())


def _by_pack(paths: Iterable[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        pack = pack_of(path)
        if pack:
            found[pack].append(path)
    return dict(found)


def _check_steps(folder: Folder, pack: str, done: int, parts: Iterable[Path]) -> Iterator[Finding]:
    """Every step has a loss, so the parts of table `steps` leave no gap."""
    reached = 0
    for part in parts:
        first, stop = steps_of(part) or (0, 0)
        if part.parent.name == "steps" and first <= reached:
            reached = max(reached, stop)
    if reached < done:
        yield Finding(folder.table("steps"), f"lacks steps {reached} to {done - 1} of pack {pack}")


def _is_loss(finding: Finding) -> bool:
    return finding.is_damage and finding.path.parent.name != "checkpoints"


def _has_ends(part: Path) -> bool:
    with open(part, "rb") as file:
        begin = file.read(len(MAGIC))
        if file.seek(0, 2) < 3 * len(MAGIC):
            return False
        file.seek(-len(MAGIC), 2)
        return begin == file.read() == MAGIC


def _check_pack(folder: Folder, pack: str, stored: _Stored) -> list[Finding]:
    """Checks a pack; again if it was committed to meanwhile."""
    before, parts = stored.checkpoints.get(pack, ()), stored.parts.get(pack, ())
    while True:
        found, checkpoint = _newest(before, pack)
        found += _check_parts(folder, pack, checkpoint.parts if checkpoint else {}, parts)
        found += _check_rows(folder, pack, checkpoint)
        found += _check_weights(folder, pack, checkpoint)
        if not found or (now := folder.checkpoints_of(pack)) == list(before):
            return found
        before = now
        parts = [part for table in RESULT_TABLES for part in folder.parts_of(table, pack)]


def _newest(paths: Iterable[Path], pack: str) -> tuple[list[Finding], Checkpoint | None]:
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


def _check_parts(
    folder: Folder, pack: str, named: Mapping[str, Part], parts: Iterable[Path]
) -> list[Finding]:
    """Compares the data files of a pack with those that its checkpoint names."""
    found: list[Finding] = []
    for path, part in named.items():
        found += _check_part(folder, pack, folder.root / path, part)
    done = max((_last_step(Path(path)) for path in named), default=0)
    for other in parts:
        if f"{other.parent.name}/{other.name}" not in named:
            is_extra = _last_step(other) <= done
            what = "is named by no checkpoint" + (", and doubles rows" if is_extra else "")
            found += [Finding(other, what, is_extra), *_check_parquet(other)]
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
        yield from _check_parquet(path, part.rows)


def _check_parquet(path: Path, rows: int | None = None) -> Iterator[Finding]:
    """Reads a whole file with its page checksums; counts its rows if their number is known."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            found = sum(len(batch) for batch in file.iter_batches(use_threads=False))
    except UNREADABLE as error:
        yield Finding(path, f"cannot be read: {_line(error)}")
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
        yield Finding(path, f"cannot be read: {_line(error).removeprefix(f'{path}: ')}")
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
        yield Finding(path, f"cannot be read: {_line(error)}")
        return
    if is_done and checkpoint and not _same_weights(weights, final_weights(checkpoint.arrays)):
        yield Finding(path, "does not hold the weights of the checkpoint")


def _same_weights(stored: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]) -> bool:
    """Compares bits; the state has padding lanes at the end."""
    return stored.keys() == state.keys() and all(
        array.tobytes() == state[name][: len(array)].tobytes() for name, array in stored.items()
    )


def _check_whole(folder: Folder) -> Iterator[Finding]:
    """Checks what belongs to no pack."""
    yield from _check_documents(folder)
    empty = [folder.table(table) / EMPTY_PART for table in ("runs", *RESULT_TABLES)]
    for path in (*empty, folder.cells):
        if path.exists():
            yield from _check_parquet(path)
    for table in ("runs", *RESULT_TABLES):
        for path in sorted(folder.table(table).glob("*")):
            if path.name != EMPTY_PART and pack_of(path) is None:
                yield Finding(path, "is no part of this table, but read with it")
    yield from _check_copy(folder)


def _check_documents(folder: Folder) -> Iterator[Finding]:
    """Reads what belongs to no pack as the commands do that need it."""
    of_manifest = list(_check_reading(folder.manifest, lambda: manifest.read(folder)))
    yield from of_manifest
    if not of_manifest:
        yield from _check_reading(folder.sweep, lambda: manifest.stored_sweep(folder))
    yield from _check_reading(folder.schedules, lambda: choices.stored(folder, "cpu"))
    yield from _check_reading(folder.analysis, lambda: stored_analysis(folder))


def _check_reading(path: Path, read: Callable[[], object]) -> Iterator[Finding]:
    """Says what is wrong with a file that others read as a whole."""
    try:
        read()
    except DamagedFile as error:
        yield Finding(error.file, f"is damaged: {error.what}")
    except UNREADABLE as error:
        yield Finding(path, f"cannot be read: {_line(error).removeprefix(f'{path}: ')}")


def _check_copy(folder: Folder) -> Iterator[Finding]:
    """Compares the copy of the runs table with the files that it stands for."""
    if not folder.gathered.exists():
        return
    found = list(_check_parquet(folder.gathered))
    if found:
        yield from found
        return
    try:
        differs = RunsTable(folder).copy_differs()
    except UNREADABLE:  # a column has another name or type
        differs = True
    if differs:
        yield Finding(folder.gathered, "does not hold the rows of its files. Delete it")


def _last_step(path: Path) -> int:
    _, stop = steps_of(path) or (0, 0)
    return stop


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
