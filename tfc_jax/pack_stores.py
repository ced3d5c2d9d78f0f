"""The store of a task's pack: that of a folder, or of an object store."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tfc_jax import files, folder_tables
from tfc_jax.layout import Folder
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.place import place_at
from tfc_jax.objects.replica import ReplicatedStore
from tfc_jax.parts import DamagedPart
from tfc_jax.stage import Fenced
from tfc_jax.store import PackStore, stored_facts
from tfc_jax.task import Task


def folder_of(task: Task) -> Folder:
    """Returns the folder in which a task is done, with what is known of its pack.

    Of results in an object store it is one of this machine, which another machine may never have
    seen.
    """
    if not task.url:
        return Folder(Path(task.out))
    place = place_at(task.url)
    folder = Folder(place.work)
    folder_tables.create(folder, task.record)
    rows = folder.runs / f"{task.pack}.parquet"
    if not Bucket(place).download(f"runs/{rows.name}", rows):
        files.remove(rows)
    return folder


def open_store(task: Task, folder: Folder, facts: Mapping[str, Any]) -> PackStore:
    """Returns what commits the pack of a task.

    Args:
      facts: columns of the runs table that are the same for all commits.
    """
    if not task.url:
        return PackStore(folder, task.pack, task.runs, task.record, facts)
    return ReplicatedStore(Bucket(place_at(task.url)), folder, task, facts)


def mark_failed(task: Task) -> None:
    """Stores that a pack could not be trained; what it committed stays, `tfc retry` goes on.

    A pack that another process has taken over is left to it.
    """
    folder = folder_of(task)
    facts = {"schedule": task.schedule, "pack_width": task.width, "program": task.program}
    store = open_store(task, folder, facts | stored_facts(folder, task.pack))
    with suppress(Fenced):
        try:
            checkpoint = store.recover()
        except DamagedPart:  # what is staged stays as it is, to be looked at
            store.write_failed(store.newest_good_checkpoint())
        else:
            store.write_failed(checkpoint)
            store.release()
