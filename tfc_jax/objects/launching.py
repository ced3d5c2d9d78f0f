"""`tfc run` on results in an object store: a launch in a local folder that is kept in step."""

import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfc_jax.config import Sweep
from tfc_jax.contents import MOST_NAMED, is_ours, is_ours_inside
from tfc_jax.errors import InputError
from tfc_jax.event_log import OnEvent
from tfc_jax.execution import Executor
from tfc_jax.executors.channel import dismiss
from tfc_jax.executors.local import Interrupt
from tfc_jax.launch import launch, plan_sweep
from tfc_jax.layout import Folder
from tfc_jax.objects import mirror
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.head import CHECKPOINTS
from tfc_jax.objects.keeper import kept
from tfc_jax.objects.place import Place
from tfc_jax.objects.probe import check_conditions
from tfc_jax.options import Options
from tfc_jax.plan import Plan

_MANIFEST = "manifest.json"
_PACK = re.compile("[0-9a-f]{12}")
_OURS_TOO = (".lease", ".probe-")  # besides what a results folder has


def launch_at(
    place: Place,
    sweep: Sweep,
    options: Options,
    executor: Executor,
    on_event: OnEvent,
    interrupt: Interrupt,
    say: Callable[[str], None],
) -> Counter[str]:
    """Trains what is missing; returns the number of runs by status.

    Args:
      say: called with a line where another launch's lease is waited for.
    Raises:
      StorageError: a disk or the store fails in the middle; a pack of which a worker cannot write
        has failed instead.
      InputError: before anything is compiled.
    """
    bucket, found = Bucket(place), executor.found
    _check_no_others(bucket)
    mirror.bring(bucket, place.seen, mirror.documents())
    plan_sweep(sweep, Folder(place.seen), options, found)  # bad input leaves no trace
    check_conditions(bucket)
    with kept(bucket, place.work, say) as keeper:
        if options.fresh:
            dismiss(Folder(place.work))
            clear(bucket)
            shutil.rmtree(place.work, ignore_errors=True)
        mirror.bring(bucket, place.work, mirror.documents())
        return launch(
            sweep,
            Folder(place.work),
            replace(options, url=place.url, fresh=False),
            found,
            _before_training(bucket, keeper.watching(on_event)),
            interrupt,
            executor,
            _InStore(bucket),
        )


@dataclass(frozen=True)
class _InStore:
    """In an object store, of which the folder has a part."""

    bucket: Bucket

    def check_fits(self, planned: Plan, folder: Folder, *, fresh: bool) -> None:
        """Only what is at work is on this disk."""

    def refuse_damage(
        self, folder: Folder, steps_done: Mapping[str, int], unfinished: AbstractSet[str]
    ) -> None:
        """Data files are not here: each pack's writer looks for its own."""

    def bring_rows(self, folder: Folder) -> None:
        """Workers on other machines have put theirs into the store alone."""
        mirror.bring(self.bucket, folder.root, mirror.rows())


def _before_training(bucket: Bucket, on_event: OnEvent) -> OnEvent:
    def handle(event: dict[str, Any]) -> None:
        if event["event"] == "planned":
            _check_owners(bucket, {pack.id for pack in event["plan"].packs})
        on_event(event)

    return handle


def _check_owners(bucket: Bucket, planned: AbstractSet[str]) -> None:
    """Refuses packs without rows in the runs table, whose runs are in other packs by now.

    Raises:
      InputError: there is one.
    """
    rows = {Path(entry.key).stem for entry in bucket.listed("runs")}
    _, packs = bucket.top(CHECKPOINTS)
    for pack in sorted(set(packs) - rows - planned):
        raise InputError(
            f"{bucket.place.url}: there are objects of pack {pack}, which is neither in the runs "
            f"table nor planned, so its rows may come to stand twice: restore runs/{pack}.parquet, "
            f"give the flags of the launch that trained it, or delete all that is named {pack}."
        )


def clear(bucket: Bucket) -> None:
    """Deletes results, and nothing that no launch wrote.

    What says that runs are done goes first, and the manifest last, so that half a deletion leaves
    nothing without its rows, and can be done again. It goes once more when nothing is staged any
    longer from which a writer that is left over could still publish it.
    """
    top, folders = bucket.top()
    ours = [folder for folder in folders if is_ours(folder)]
    for folder in sorted(ours, key=lambda name: (name != "runs", name != "checkpoints")):
        _clear_folder(bucket, folder)
    _clear_folder(bucket, "runs")
    names = [entry.key for entry in top if is_ours(entry.key)]
    bucket.delete([name for name in names if name != _MANIFEST])
    bucket.delete([name for name in names if name == _MANIFEST])


def _clear_folder(bucket: Bucket, folder: str) -> None:
    bucket.delete([entry.key for entry in bucket.listed(folder) if _is_ours_inside(entry.key)])


def _is_ours_inside(key: str) -> bool:
    """Whether launches give this key to what they write; a pack's checkpoints have a folder."""
    folder, name = key.split("/")[:2]
    if folder == CHECKPOINTS:
        return _PACK.fullmatch(name) is not None
    return is_ours_inside(folder, name)


def _check_no_others(bucket: Bucket) -> None:
    """Refuses a prefix below which other things are, and no results yet.

    Raises:
      InputError: it is one.
    """
    top, folders = bucket.top()
    names = [entry.key for entry in top]
    if _MANIFEST in names:
        return
    others = sorted(_others([*names, *folders]))
    if others:
        more = ", ..." if len(others) > MOST_NAMED else ""
        raise InputError(
            f"{bucket.place.url}: no results are here, but other objects "
            f"({', '.join(others[:MOST_NAMED])}{more}). Results get a prefix of their own: give "
            f"another --out."
        )


def _others(names: Sequence[str]) -> list[str]:
    return [name for name in names if not is_ours(name) and not name.startswith(_OURS_TOO)]
