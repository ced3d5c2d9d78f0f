"""Where things stand in a results folder."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tfc_jax.errors import InputError

# Gives readers the columns while a table has no row yet.
EMPTY_PART = "empty.parquet"
PART = r"(?P<pack>[0-9a-f]{12})-(?P<first>\d{9})-(?P<stop>\d{9})\.parquet"  # as of part_name
_PACK = re.compile(r"[0-9a-f]{12}")
_OF_PACK = re.compile(r"[0-9a-f]{12}(?=[-.])")
_CHANNEL = re.compile(r"launch-[0-9a-f]{16}")
PROBE = r"\.seen-[0-9a-f]{8}"  # as of Folder.probe
_PART = re.compile(rf"{PART}$")
_PROBE = re.compile(PROBE)
_STAGE = re.compile(r"[0-9a-f]{12}\.\d{9}\..*")


@dataclass(frozen=True)
class Folder:
    """Paths below `results/<name>`."""

    root: Path

    @property
    def sweep(self) -> Path:
        """The sweep file as it was launched last."""
        return self.root / "sweep.yaml"

    @property
    def manifest(self) -> Path:
        """Versions, git, device, flags, schema."""
        return self.root / "manifest.json"

    @property
    def schedules(self) -> Path:
        """Schedule and pack width of packs that have not started, where they were chosen."""
        return self.root / "schedules.json"

    @property
    def log(self) -> Path:
        """One JSON object per event."""
        return self.root / "log.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the launcher and its workers while they write."""
        return self.root / ".lock"

    @property
    def runs(self) -> Path:
        """The runs table, one file per pack."""
        return self.root / "runs"

    def probe(self, token: str) -> Path:
        """A folder that is made and removed, so that a list of `runs` is a new one (arrival.py)."""
        return self.runs / f".seen-{token}"

    @property
    def gathered(self) -> Path:
        """A copy of the runs table in one file; may lack rows, or hold old ones (runs_table.py)."""
        return self.root / ".runs.parquet"

    @property
    def has_runs(self) -> bool:
        """Whether the runs table has a file; an empty one stands for no run."""
        return any(self.runs.glob("*.parquet"))

    @property
    def cells(self) -> Path:
        """The leaf cells of a sweep that refines: one file in a folder of its own."""
        return self.root / "cells" / "leaves.parquet"

    @property
    def checkpoints(self) -> Path:
        """Whole states of packs."""
        return self.root / "checkpoints"

    @property
    def staging(self) -> Path:
        """Parts that no checkpoint has named yet."""
        return self.checkpoints / "staging"

    @property
    def progress(self) -> Path:
        """What workers on other machines say while they train (executors/channel.py)."""
        return self.root / "progress"

    def channel(self, token: str) -> Path:
        """The folder of one launch that trains on other machines, while it lasts."""
        return self.progress / f"launch-{token}"

    @property
    def params(self) -> Path:
        """Final weights, one file per finished pack."""
        return self.root / "params"

    @property
    def analysis(self) -> Path:
        """One row per run, written by the analysis."""
        return self.root / "analysis.parquet"

    def table(self, name: str) -> Path:
        """The folder of a result table."""
        return self.root / name

    def checkpoint(self, pack: str, step: int) -> Path:
        """The state of a pack after `step` updates."""
        return self.checkpoints / f"{checked_pack(pack)}-{step:09d}.npz"

    def checkpoints_of(self, pack: str) -> list[Path]:
        """Checkpoints of a pack, newest first."""
        return _named(self.checkpoints, f"{checked_pack(pack)}-", ".npz")[::-1]

    def stage(self, pack: str, epoch: int, token: str) -> Path:
        """The folder of one writer of a pack, number `epoch`, while it writes (stage.py)."""
        return self.staging / f"{checked_pack(pack)}.{epoch:09d}.{token}"

    def stages_of(self, pack: str) -> list[Path]:
        """Folders of the writers of a pack, in their order; more than one only for a moment."""
        return sorted(self.staging.glob(f"{checked_pack(pack)}.{'[0-9]' * 9}.*"))

    @property
    def stages(self) -> list[Path]:
        """Folders of the writers of all packs; `staging` is looked through once."""
        return [self.staging / n for n in sorted(_listed(self.staging)) if _STAGE.fullmatch(n)]

    def merged(self, pack: str) -> Path:
        """Which parts of a pack stand merged in one file (merged.py)."""
        return self.checkpoints / f"{checked_pack(pack)}.merged.json"

    def compacted(self, table: str) -> Path:
        """The folder that takes the place of a table's when its parts are merged (compact.py)."""
        return self.staging / f"compact-{table}"

    @property
    def staged_merged(self) -> Path:
        """What `merged` is written as first, of whatever pack."""
        return self.staging / "merged.json"

    def parts_of(self, table: str, pack: str) -> list[Path]:
        """Data files of a pack in step order."""
        parts = _named(self.table(table), f"{checked_pack(pack)}-", ".parquet")
        return list(filter(steps_of, parts))

    def part_names(self, table: str, packs: Iterable[str]) -> dict[str, list[str]]:
        """Names of data files of packs in step order, by pack; their folder is looked through once.

        Packs without any are left out.
        """
        wanted, parts = set(packs), dict[str, list[str]]()
        for name in sorted(n for n in _listed(self.table(table)) if n.partition("-")[0] in wanted):
            if _PART.fullmatch(name):
                parts.setdefault(name.partition("-")[0], []).append(name)
        return parts

    def weights_of(self, pack: str) -> Path:
        """The final weights of a pack."""
        return self.params / f"{checked_pack(pack)}.npz"


def _named(folder: Path, start: str, end: str) -> list[Path]:
    """The files of a folder whose names begin and end so, in order; faster than a pattern."""
    names = (name for name in _listed(folder) if name.startswith(start) and name.endswith(end))
    return [folder / name for name in sorted(names)]


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def checked_pack(pack: object) -> str:
    """Returns the id of a pack, which names files: nothing in it leads to another folder.

    Raises:
      InputError: it is not 12 hex digits.
    """
    if not isinstance(pack, str) or not _PACK.fullmatch(pack):
        raise InputError(
            f"pack {str(pack)[:40]!r}: no pack has this id, which names files. Allowed: 12 hex "
            f"digits, as `tfc run` writes them."
        )
    return pack


def part_name(pack: str, first: int, stop: int) -> str:
    """A part is named by what it holds: the pack's runs, steps first..stop-1."""
    return f"{pack}-{first:09d}-{stop:09d}.parquet"


def pack_of(path: Path) -> str | None:
    """Returns the id of the pack to which a file belongs, by its name; None if to none."""
    match = _OF_PACK.match(path.name)
    return match[0] if match else None


def is_probe(name: str) -> bool:
    """Whether a folder in the runs table is one that a launch makes to see a new list."""
    return bool(_PROBE.fullmatch(name))


def is_channel(name: str) -> bool:
    """Whether a folder of a launch that trains on other machines has this name."""
    return bool(_CHANNEL.fullmatch(name))


def steps_of(part: Path) -> tuple[int, int] | None:
    """The least and the greatest step that a part can hold, by its name; None if it says none.

    A probe is dated by the steps done, so the greatest is that after the last update.
    """
    match = _PART.search(part.name)
    return (int(match["first"]), int(match["stop"])) if match else None


def last_step(part: Path) -> int:
    """The step up to which a part holds rows, by its name; 0 if it says none."""
    _, stop = steps_of(part) or (0, 0)
    return stop
