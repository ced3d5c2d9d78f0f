"""Local copies of objects, as the files of a results folder.

An object that has not changed since it was copied is not copied again. Files come in whole, and go
when their objects do.
"""

import fcntl
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tfc_jax import files
from tfc_jax.errors import InputError
from tfc_jax.event_log import MAX_LOG
from tfc_jax.layout import EMPTY_PART, PART, Folder, pack_of
from tfc_jax.objects.bucket import Bucket, Entry
from tfc_jax.schema import RESULT_TABLES
from tfc_jax.untrusted import MAX_JSON_BYTES
from tfc_jax.yaml_source import MAX_BYTES

AT_ONCE = 8  # objects that are copied side by side
MOST_SOUGHT = 30  # packs that are looked for one by one; of more, a whole table is listed
_HERE = Folder(Path())
# In the order in which a launch sends them: the manifest says that there are results.
DOCUMENTS = tuple(
    str(path)
    for path in (
        *(_HERE.manifest, _HERE.sweep, _HERE.schedules, _HERE.cells, _HERE.log),
        *(_HERE.analysis, Path("workers.log")),
    )
)
_PART = re.compile(rf"(?:{'|'.join(RESULT_TABLES)})/{PART}")
_ROWS = re.compile(r"runs/[0-9a-f]{12}\.parquet")
_WEIGHTS = re.compile(r"params/[0-9a-f]{12}\.npz")
EMPTY_PARTS = tuple(f"{table}/{EMPTY_PART}" for table in ("runs", *RESULT_TABLES))


@dataclass(frozen=True)
class Kind:
    """A kind of objects.

    Attributes:
      listed: returns those of a bucket.
      has: whether a key is of this kind.
    """

    listed: Callable[[Bucket], list[Entry]]
    has: Callable[[str], bool]


def documents() -> Kind:
    """What tells of the whole sweep: manifest, log, ..., the runs table, empty parts."""

    def listed(bucket: Bucket) -> list[Entry]:
        entries, folders = bucket.top()
        for folder in sorted({"runs", "cells"} & set(folders)):
            entries += bucket.listed(folder)
        for table in sorted(set(RESULT_TABLES) & set(folders)):
            entries += bucket.beginning(table, "empty.")
        return entries

    return Kind(listed, lambda key: key in DOCUMENTS or key in EMPTY_PARTS or _is(_ROWS, key))


def rows() -> Kind:
    """The runs table."""
    return Kind(lambda bucket: bucket.listed("runs"), partial(_is, _ROWS))


def parts(tables: Sequence[str] = RESULT_TABLES, packs: Collection[str] | None = None) -> Kind:
    """Data files of tables and packs; None stands for all packs."""

    def listed(bucket: Bucket) -> list[Entry]:
        if packs is None or len(packs) > MOST_SOUGHT:
            return [entry for table in tables for entry in bucket.listed(table)]
        wanted = [(table, f"{pack}-") for table in tables for pack in sorted(packs)]
        return [entry for table, start in wanted for entry in bucket.beginning(table, start)]

    def has(key: str) -> bool:
        is_one = _is(_PART, key) and key.split("/")[0] in tables
        return is_one and (packs is None or pack_of(Path(key)) in packs)

    return Kind(listed, has)


def weights(packs: Collection[str] | None = None) -> Kind:
    """Final weights of packs; None stands for all."""

    def listed(bucket: Bucket) -> list[Entry]:
        if packs is None:
            return bucket.listed("params")
        return [entry for pack in sorted(packs) for entry in bucket.beginning("params", f"{pack}.")]

    return Kind(
        listed, lambda key: _is(_WEIGHTS, key) and (packs is None or pack_of(Path(key)) in packs)
    )


def bring(bucket: Bucket, root: Path, *kinds: Kind) -> list[Entry]:
    """Makes the files of these kinds in a folder what the objects are; others are left alone.

    Returns:
      what was listed, of which none need be ours.
    Raises:
      InputError: the store cannot be used, or the folder cannot be written.
    """
    listed = [entry for kind in kinds for entry in kind.listed(bucket)]
    there = {e.key: e for e in listed if any(kind.has(e.key) for kind in kinds)}
    with _alone(root):
        known = _known(root)
        new = [e for e in there.values() if known.get(e.key) != [e.tag, *_mark(root / e.key)]]
        gone = [k for k in _keys(root) if k not in there and any(kind.has(k) for kind in kinds)]
        for folder in {(root / entry.key).parent for entry in new}:
            files.make_folder(folder)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            came = list(
                pool.map(lambda e: bucket.download(e.key, root / e.key, _limit(e.key)), new)
            )
        for key in gone:
            files.remove(root / key)
            known.pop(key, None)
        for entry in (entry for entry, is_there in zip(new, came, strict=True) if is_there):
            known[entry.key] = [entry.tag, *_mark(root / entry.key)]
        if new or gone:
            files.write_whole(_index(root), json.dumps(known).encode())
    return listed


def _limit(key: str) -> int | None:
    """Bytes of which no more are read in a folder either; None of tables, which may be huge."""
    limits = {".json": MAX_JSON_BYTES, ".yaml": MAX_BYTES, ".jsonl": MAX_LOG, ".log": MAX_LOG}
    return limits.get(Path(key).suffix)


def _is(pattern: re.Pattern[str], key: str) -> bool:
    return bool(pattern.fullmatch(key))


def _keys(root: Path) -> Iterator[str]:
    """The files of a folder and of the folders in it."""
    for path in (*root.glob("*"), *root.glob("*/*")):
        if path.is_file():
            yield path.relative_to(root).as_posix()


def _mark(path: Path) -> list[int]:
    """What changes when a file does; nothing of one that is gone."""
    try:
        return list(files.mark(path))
    except OSError:
        return []


def _known(root: Path) -> dict[str, list[str | int]]:
    """The tag of the object that each file was, and its mark; nothing if that cannot be told."""
    try:
        known = json.loads(_index(root).read_bytes())
        return known if isinstance(known, dict) else {}
    except (FileNotFoundError, ValueError):
        return {}


def _index(root: Path) -> Path:
    """Beside the folder, in which nothing but results is."""
    return root.with_name(f".{root.name}.objects.json")


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Two commands that copy at once do so one after the other."""
    try:
        files.make_folder(root)
        descriptor = os.open(root.with_name(f".{root.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(
            f"{root}: copies of objects cannot be written here ({error.strerror}). Make room, or "
            f"set TFC_CACHE to another folder."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
