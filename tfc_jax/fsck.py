"""Is every file of a results folder what was committed?

Reads only. What a crash leaves behind is no damage: the next launch clears it away.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import pyarrow.parquet as pq

from tfc_jax import choices, contents, manifest, orphans
from tfc_jax.damage import UNREADABLE, Finding, check_parquet, line
from tfc_jax.errors import InputError
from tfc_jax.layout import EMPTY_PART, Folder
from tfc_jax.pack_damage import ROWS_REMEDY, check_packs
from tfc_jax.results import stored_analysis
from tfc_jax.runs_table import RunsTable, recorded
from tfc_jax.schema import RESULT_TABLES
from tfc_jax.seal import is_sealed_file
from tfc_jax.started import started_packs
from tfc_jax.stored_files import StoredFiles
from tfc_jax.untrusted import DamagedFile
from tfc_jax.wording import counted

AGAIN = "`tfc run` writes it again."
DELETE = "Delete it: nothing is lost."
ALONE = f"Delete it: {AGAIN}"
MANIFEST = f"Delete it: {manifest.AGAIN}"
SWEEP = "`tfc run` of your sweep file writes it again."
SCHEDULES = "Delete it: packs that have not started then take the defaults."
ANALYSIS = "Delete it, and run the analysis again: it is made from the tables alone."


@dataclass(frozen=True)
class Report:
    """What was looked at, and what was found.

    Attributes:
      size: bytes of all files.
      lost: packs with damage that only a copy or training mends.
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
            return f"{looked}: no damage{self._traces()}"
        told = f"{looked}: {counted(len(self.damage), 'damaged file')}. Restore from a copy"
        if self.lost:
            return (
                f"{told}, or train again pack {', '.join(self.lost)}: delete what is named after "
                f"it in runs, params and checkpoints, then `tfc run`; rows that are intact are "
                f"compared with those that come out."
            )
        if all(one.remedy for one in self.damage):
            return f"{told}, or do what is said above; no row is lost."
        return f"{told}."

    def _traces(self) -> str:
        traces = [one for one in self.findings if not one.is_damage and not one.remedy]
        if not traces:
            return ""
        return f"; {counted(len(traces), 'trace')} of a crash, which `tfc run` mends"


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
    if not folder.manifest.exists() and not folder.has_runs:
        raise InputError(
            f"{folder.root}: there are no results here (no manifest.json). Give the folder that "
            f"`tfc run` wrote, such as results/quickstart."
        )
    stored = StoredFiles.of(folder)
    packs = stored.packs
    of_packs = check_packs(folder, packs, stored)
    found = [*_check_whole(folder, stored), *chain.from_iterable(of_packs.values())]
    if not any(one.path == folder.analysis or _is_damaged_row(one, folder) for one in found):
        started = list(_check_started(folder))
        doubled = {} if started else orphans.doubled(folder, stored)
        of_packs = {pack: found for pack, found in of_packs.items() if pack not in doubled}
        rows = {folder.runs / f"{pack}.parquet" for pack in doubled}
        found = [*(one for one in found if one.path not in rows), *started, *doubled.values()]
    everything = [path for path in _walked(folder.root) if path.is_file()]
    return Report(
        packs=len(packs),
        files=len(everything),
        size=sum(map(_size, everything)),
        findings=(*misplaced.values(), *(one for one in found if one.path not in misplaced)),
        lost=tuple(p for p, found in of_packs.items() if any(map(_is_loss, found))),
    )


def _walked(root: Path) -> Iterator[Path]:
    """Yields what no folder is; folders that go meanwhile, as stages do, are passed over."""
    for folder, _, names in os.walk(root):
        yield from (Path(folder, name) for name in names)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # merged or replaced meanwhile
        return 0


def _check_started(folder: Folder) -> Iterator[Finding]:
    """Reads the rows of all packs as a launch does: each may be right, and not fit the others."""
    for one in _check_reading(folder.runs, lambda: list(started_packs(folder))):
        yield one if one.path == folder.runs else replace(one, remedy=ROWS_REMEDY)


def _is_damaged_row(finding: Finding, folder: Folder) -> bool:
    return finding.is_damage and finding.path.parent == folder.runs


def _is_loss(finding: Finding) -> bool:
    return finding.is_damage and not finding.remedy


def _check_whole(folder: Folder, stored: StoredFiles) -> Iterator[Finding]:
    """Checks what belongs to no pack."""
    yield from _check_documents(folder, stored)
    for table in ("runs", *RESULT_TABLES):
        path = folder.table(table) / EMPTY_PART
        if path.exists():
            is_alone = len(list(path.parent.glob("*.parquet"))) == 1  # readers need its columns
            yield from _with(_check_empty(path), ALONE if is_alone else DELETE)
    if folder.cells.exists():
        yield from _with(check_parquet(folder.cells), AGAIN)
    yield from orphans.strays(stored)
    for path in sorted(folder.checkpoints.glob("*.damaged")):
        what = "was set aside, since it is damaged: the pack went on without it"
        yield Finding(path, what, is_damage=False, remedy=DELETE)
    yield from _check_copy(folder)


def _with(found: Iterable[Finding], remedy: str) -> Iterator[Finding]:
    return (replace(one, remedy=remedy) for one in found)


def _check_empty(path: Path) -> Iterator[Finding]:
    """Checks the part without rows, which must have the columns of the others."""
    found = list(check_parquet(path))
    yield from found
    if found:
        return
    if not _is_sealed(path):
        yield Finding(path, "is not what was written (SHA-256)")
        return
    others = [part for part in sorted(path.parent.glob("*.parquet")) if part != path]
    if others and not any(_has_columns_of(part, path) for part in others):
        yield Finding(path, "lacks columns that the other files of its table have")


def _has_columns_of(part: Path, empty: Path) -> bool:
    """A later version may have more."""
    try:
        return set(pq.read_schema(part).names) <= set(pq.read_schema(empty).names)
    except UNREADABLE:  # said where the part is checked
        return True


def _is_sealed(path: Path) -> bool:
    try:
        return bool(is_sealed_file(path))
    except FileNotFoundError:  # deleted meanwhile, by --fresh
        return True


def _check_documents(folder: Folder, stored: StoredFiles) -> Iterator[Finding]:
    """Reads what belongs to no pack as the commands do that need it."""
    of_manifest = list(_check_reading(folder.manifest, lambda: manifest.read(folder), MANIFEST))
    yield from of_manifest
    if not folder.manifest.exists():  # a launch that is killed before anything trains leaves none
        is_damage = bool(stored.packs)
        remedy = manifest.AGAIN if is_damage else ""
        yield Finding(folder.manifest, "is missing", is_damage=is_damage, remedy=remedy)
    elif not of_manifest:
        yield from _check_reading(
            folder.sweep, lambda: manifest.stored_outline(folder).sweep, SWEEP
        )
        yield from _check_record(folder)
    yield from _check_reading(folder.schedules, lambda: choices.stored(folder, "cpu"), SCHEDULES)
    yield from _check_reading(folder.analysis, lambda: stored_analysis(folder), ANALYSIS)


def _check_record(folder: Folder) -> Iterator[Finding]:
    """Compares what the manifest says is recorded with what the rows of the packs say."""
    try:
        by_rows = recorded(folder)
    except UNREADABLE:  # said of the file of that pack
        return
    changed = manifest.differing((manifest.read(folder) or {})["record"], by_rows)
    if changed:
        what = f"says of record.{', record.'.join(changed)} what the rows do not"
        yield Finding(folder.manifest, what, remedy=MANIFEST)


def _check_reading(path: Path, read: Callable[[], object], remedy: str = "") -> Iterator[Finding]:
    """Says what is wrong with a file that others read as a whole."""
    try:
        read()
    except DamagedFile as error:
        yield Finding(error.file, f"is damaged: {error.what}", remedy=remedy)
    except UNREADABLE as error:
        told = line(error).removeprefix(f"{path}: ").removesuffix(".")
        told = told.removesuffix(f". {remedy[:-1]}").partition(". Restore it from a copy")[0]
        yield Finding(path, f"cannot be read: {told}", remedy=remedy)


def _check_copy(folder: Folder) -> Iterator[Finding]:
    """Compares the copy of the runs table with the files that it stands for."""
    if not folder.gathered.exists():
        return
    found = list(check_parquet(folder.gathered))
    if not found and not _is_sealed(folder.gathered):
        found = [Finding(folder.gathered, "is not what was written (SHA-256)")]
    if found:
        yield from _with(found, DELETE)
        return
    try:
        differs = RunsTable(folder).copy_differs()
    except UNREADABLE:  # a column has another name or type
        differs = True
    if differs:
        yield Finding(folder.gathered, "does not hold the rows of its files", remedy=DELETE)
