"""Puts the parts of each pack together, one file per table, so that readers open few files.

A table changes in one step. A folder beside it gets a hard link to every file that stays, and the
merged files; then the two folders exchange their names. Whoever lists the table sees the parts or
what they were merged into, never both and never neither. Whoever has listed it before and opens
afterwards finds a name that is gone, and lists again: a merged file has a name that no part had.
"""

import hashlib
import io
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tfc_jax import files, merged
from tfc_jax.checkpoint import Part
from tfc_jax.damage import newest
from tfc_jax.errors import InputError
from tfc_jax.executors import channel
from tfc_jax.folder_tables import clear_traces
from tfc_jax.layout import Folder, last_step, pack_of, part_name, steps_of
from tfc_jax.lock import sole_writer
from tfc_jax.merged import Merged
from tfc_jax.orphans import strays
from tfc_jax.schema import RESULT_TABLES
from tfc_jax.stage import Fenced, Stage
from tfc_jax.stored_files import StoredFiles
from tfc_jax.tables import ROW_GROUP, parquet_writer

MOST_LISTED = 3  # times that files are listed, while writers begin that were called before

Say = Callable[[str], None]


@dataclass(frozen=True)
class Group:
    """Parts of one pack and table, in order, that become one file."""

    pack: str
    table: str
    parts: Mapping[str, Part]

    @property
    def name(self) -> str:
        """Of the file, below the results folder."""
        (first, _), (_, stop) = _span(min(self.parts)), _span(max(self.parts))
        return f"{self.table}/{part_name(self.pack, first, stop)}"


def compact(folder: Folder, say: Say, *, waits: bool = False) -> tuple[int, int]:
    """Merges what can be merged; a reader may come at any time, a launch at any time after.

    Args:
      say: called with a line about a pack that is left as it is, or about who is waited for.
      waits: until no launch is at work, however long that takes.
    Returns:
      how many data files there were, and are.
    Raises:
      InputError: a launch is at work; something is damaged, or no part of its table; the file
        system cannot exchange folders, or has no room.
    """
    with sole_writer(folder, math.inf if waits else 0.0, say if waits else None):
        files.make_folder(folder.staging)  # a copy of results may lack what is empty
        stored, stages = _fenced_off(folder)
        for stray in strays(stored):
            raise InputError(f"{stray}")
        clear_traces(folder, settled=())
        _check_exchange(folder)
        groups = list(_all_groups(folder, stored, stages, say))
        _check_room(folder, groups)
        for table in RESULT_TABLES:
            _compact_table(folder, table, [one for one in groups if one.table == table], stages)
    before = sum(1 for _ in stored.all_parts)
    return before, before - sum(len(one.parts) - 1 for one in groups)


def _fenced_off(folder: Folder) -> tuple[StoredFiles, list[Path]]:
    """Lists the files once nobody is left who could add to them, and the stages of writers.

    Raises:
      InputError: writers go on beginning.
    """
    for _ in range(MOST_LISTED):
        stages = _end_writers(folder)
        stored = StoredFiles.of(folder)
        if folder.stages == stages:  # else a writer that was about to begin has done so
            return stored, stages
    raise _in_use(folder)


def _end_writers(folder: Folder) -> list[Path]:
    """Takes packs over whose writers may still be at work on other machines, where no lock holds.

    What they have staged stays for the next launch, and nothing that they do now has an effect.
    Returns the stages as they are now.
    """
    channel.dismiss(folder)
    packs = {stage.name.partition(".")[0] for stage in folder.stages}
    try:
        return [Stage.take(folder, pack).path for pack in sorted(packs)]
    except Fenced as error:
        raise _in_use(folder) from error


def _in_use(folder: Folder) -> InputError:
    return InputError(
        f"{folder.root}: workers of a launch that was killed are still beginning packs here, so "
        f"nothing more is compacted. Run `tfc compact` again in a minute; if they go on, end them "
        f"on their machines first."
    )


def _check_exchange(folder: Folder) -> None:
    """Tries it before anything is merged.

    Raises:
      InputError: folders cannot be exchanged here.
    """
    one, other = (folder.compacted(name) for name in RESULT_TABLES[:2])
    files.make_new_folder(one)
    files.make_new_folder(other)
    try:
        files.exchange(one, other)
    except OSError as error:
        raise InputError(
            f"{folder.root}: this file system cannot exchange two folders in one step "
            f"({error.strerror}), so nothing is compacted. Copy the results to a local disk of a "
            f"Linux machine, and compact them there; over NFS it cannot be done."
        ) from error
    finally:
        files.remove(one)
        files.remove(other)


def _all_groups(
    folder: Folder, stored: StoredFiles, stages: Sequence[Path], say: Say
) -> Iterator[Group]:
    staged = set(map(pack_of, stages))
    for pack in stored.packs:
        if pack in staged:
            say(f"pack {pack} is left as it is: `tfc run` has to go on with it first.")
        else:
            yield from _groups(folder, stored, pack, say)


def _groups(folder: Folder, stored: StoredFiles, pack: str, say: Say) -> Iterator[Group]:
    """Yields the parts that every checkpoint of a pack names: it may have to go on from each."""
    paths = stored.checkpoints.get(pack, ())
    oldest = _least_step(paths)
    if not _has_several(stored.parts.get(pack, ()), oldest):
        return  # as most packs are after the first time; to verify checkpoints takes long
    damaged, checkpoint = newest(paths, pack)
    if checkpoint is None or damaged:
        say(f"pack {pack} is left as it is: a checkpoint of it is damaged, or there is none.")
        return
    standing = merged.standing(folder, checkpoint.parts, merged.read(folder, pack))
    for table in RESULT_TABLES:
        names = sorted(name for name in standing if name.startswith(f"{table}/"))
        common = {n: standing[n] for n in names if last_step(Path(n)) <= oldest}
        if len(common) > 1:
            yield Group(pack, table, common)


def _least_step(checkpoints: Iterable[Path]) -> float:
    """The step of the oldest, by its name; infinity where there is none."""
    texts = (path.stem.partition("-")[2] for path in checkpoints)
    return min((int(text) for text in texts if text.isdecimal()), default=math.inf)


def _has_several(parts: Iterable[Path], oldest: float) -> bool:
    """Whether a table has several parts up to this step, by their names."""
    tables = Counter(path.parent.name for path in parts if last_step(path) <= oldest)
    return max(tables.values(), default=0) > 1


def _check_room(folder: Folder, groups: Sequence[Group]) -> None:
    """Old and new files of one table are on the disk together."""
    sizes = dict.fromkeys(RESULT_TABLES, 0)
    for one in groups:
        sizes[one.table] += sum((folder.root / name).stat().st_size for name in one.parts)
    need, free = max(sizes.values()), shutil.disk_usage(folder.root).free
    if need > free:
        raise InputError(
            f"{folder.root}: {need / 2**20:,.0f} MiB are needed until old files are deleted, and "
            f"{free / 2**20:,.0f} MiB are free. Make room, then compact again."
        )


def _compact_table(
    folder: Folder, table: str, groups: Sequence[Group], stages: Sequence[Path]
) -> None:
    if not groups:
        return
    beside, place = folder.compacted(table), folder.table(table)
    files.make_new_folder(beside)
    for one in groups:
        made = _merge(folder, one, beside / one.name.partition("/")[2])
        known = {n: m for n, m in merged.read(folder, one.pack).items() if _is_there(folder, n)}
        merged.write(folder, one.pack, known | {one.name: made})
    gone = {name.partition("/")[2] for one in groups for name in one.parts}
    for path in place.iterdir():
        if path.name not in gone:
            files.link(path, beside / path.name)
    files.sync_folder(beside)
    if folder.stages != stages:  # what its writer adds now would have no place in `beside`
        raise _in_use(folder)
    files.exchange(beside, place)
    _keep_late(beside, place, gone)
    files.sync_folder(folder.root)
    files.sync_folder(beside.parent)
    _remove(beside)


def _keep_late(former: Path, place: Path, gone: AbstractSet[str]) -> None:
    """Gives a place to what came into the former folder at the very moment of the exchange."""
    here = {path.name for path in place.iterdir()}
    late = [path for path in former.iterdir() if path.name not in here | gone]
    for path in late:
        files.link(path, place / path.name)
    if late:
        files.sync_folder(place)


def _is_there(folder: Folder, name: str) -> bool:
    return (folder.root / name).exists()


def _merge(folder: Folder, group: Group, place: Path) -> Merged:
    """Writes the rows of all parts into a new file, in their order, and describes it."""
    record, rows = merged.read(folder, group.pack), 0
    tables = (_verified(folder, name, part) for name, part in group.parts.items())
    first = next(tables)
    with files.new_file(place) as file:
        with parquet_writer(file, first.schema, "zstd") as writer:
            for table in (first, *tables):
                writer.write_table(table.cast(first.schema), row_group_size=ROW_GROUP)
                rows += table.num_rows
        digest = file.digest().hex()
    spans = [span for name in group.parts for span in _spans(name, record)]
    return Merged(sha256=digest, rows=rows, spans=tuple(spans))


def _spans(name: str, record: Mapping[str, Merged]) -> Sequence[tuple[int, int]]:
    return record[name].spans if name in record else [_span(name)]


def _span(name: str) -> tuple[int, int]:
    return steps_of(Path(name)) or (0, 0)


def _verified(folder: Folder, name: str, part: Part) -> pa.Table:
    """Reads a part, if it is what was committed: damage must not get a new hash."""
    try:
        content = (folder.root / name).read_bytes()
    except FileNotFoundError:
        content = b""
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise InputError(
            f"{folder.root / name} is not the file that was committed, so no more is compacted. "
            f"`tfc fsck {folder.root}` says what can be done."
        )
    with pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True) as file:
        return file.read(use_threads=False)


def _remove(beside: Path) -> None:
    if beside.is_dir():
        for path in beside.iterdir():
            files.remove(path)
        files.remove(beside)
