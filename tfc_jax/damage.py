"""Are the checkpoints and data files of a pack what was committed? Compares hashes and rows."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tfc_jax import checkpoint as checkpoints
from tfc_jax import files, merged
from tfc_jax.checkpoint import Checkpoint, DamagedCheckpoint, Part
from tfc_jax.errors import InputError
from tfc_jax.layout import Folder, last_step
from tfc_jax.parts import check_names, staged_name
from tfc_jax.untrusted import DamagedFile

UNREADABLE = (InputError, OSError, ValueError, KeyError, EOFError, pa.ArrowException)


@dataclass(frozen=True)
class Finding:
    """Something about a file.

    Attributes:
      is_damage: false for the trace of a crash, which the next launch clears away.
      remedy: what to do, in a sentence, where that is less than to train a pack again.
    """

    path: Path
    what: str
    is_damage: bool = True
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.path} {self.what}" + (f". {self.remedy}" if self.remedy else "")


def newest(paths: Iterable[Path], pack: str) -> tuple[list[Finding], Checkpoint | None]:
    """Returns what is wrong with a pack's checkpoints, and the newest that is good.

    Args:
      paths: newest first.
    """
    found: list[Finding] = []
    newest = None
    for path in paths:
        try:
            checkpoint = checkpoints.load(path)
            check_names(checkpoint, pack, path)
        except (FileNotFoundError, IsADirectoryError):
            continue  # a newer one came just now; or it was said already
        except DamagedCheckpoint:
            remedy = "Delete it: a newer one is intact." if newest else ""
            found.append(Finding(path, "is damaged", remedy=remedy))
        else:
            newest = newest or checkpoint
    return (_with_remedies(found, pack) if newest else found), newest


def _with_remedies(found: Iterable[Finding], pack: str) -> list[Finding]:
    """Says of checkpoints what to do where only older ones are good."""
    remedy = (
        f"Delete it and runs/{pack}.parquet: `tfc run` goes on from the one before, and compares "
        f"with the rows that are there."
    )
    return [one if one.remedy else replace(one, remedy=remedy) for one in found]


def check_parts(
    folder: Folder, pack: str, named: Mapping[str, Part], parts: Iterable[Path]
) -> list[Finding]:
    """Compares the data files of a pack with those that its checkpoint names."""
    found: list[Finding] = []
    try:
        named = merged.standing(folder, named, merged.read(folder, pack))
    except DamagedFile as error:
        told = (
            f"is damaged: {error.what}, so nothing tells what the data files of its pack should be"
        )
        return [Finding(error.file, told)]
    for path, part in named.items():
        found += _check_part(folder, pack, folder.root / path, part)
    done = max((last_step(Path(path)) for path in named), default=0)
    for other in parts:
        if f"{other.parent.name}/{other.name}" not in named:
            found += _check_unnamed(other, is_extra=last_step(other) <= done)
    return found


def _check_unnamed(part: Path, *, is_extra: bool) -> Iterator[Finding]:
    if is_extra:
        remedy = "Move it away: other files hold all rows of the pack."
        yield Finding(part, "is named by no checkpoint, and doubles rows", remedy=remedy)
    else:
        what = "is named by no intact checkpoint, so its rows are computed again and compared"
        yield Finding(part, what, is_damage=False)
        yield from check_parquet(part)


def _check_part(folder: Folder, pack: str, path: Path, part: Part) -> Iterator[Finding]:
    digest = _digest(path)
    if digest is None:
        name = staged_name(f"{path.parent.name}/{path.name}")
        staged = [stage / name for stage in folder.stages_of(pack)]
        if any(map(Path.exists, staged)):
            yield Finding(path, "is committed, and not in its place yet", is_damage=False)
        else:
            yield Finding(path, "is missing")
    elif digest != part.sha256:
        yield Finding(path, "is not the file that was committed (SHA-256)")
    else:
        yield from check_parquet(path, part.rows)


def _digest(path: Path) -> str | None:
    """None if there is no file, or none any more: it may just have been merged."""
    try:
        return files.sha256(path) if path.is_file() else None
    except FileNotFoundError:
        return None


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


def line(error: Exception) -> str:
    """The first line of what a library says, without its full stop."""
    return str(error).splitlines()[0].removesuffix(".") if str(error) else type(error).__name__
