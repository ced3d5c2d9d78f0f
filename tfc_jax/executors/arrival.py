"""What workers on other machines have written is seen by this one.

Over NFS a machine keeps the list of a folder for up to a minute, and does not ask whether others
have added to it, unless it changes the folder itself. A file that was replaced is seen late too.
"""

import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress

from tfc_jax import files
from tfc_jax.errors import StorageError
from tfc_jax.executors.local import Interrupt
from tfc_jax.layout import Folder
from tfc_jax.runs_table import rows_in
from tfc_jax.untrusted import reading
from tfc_jax.wording import counted

SECONDS = 120.0  # twice as long as NFS keeps a list that nothing makes it drop
LOOK_SECONDS = 1.0
SETTLED = ("done", "diverged")


def await_rows(folder: Folder, steps: Mapping[str, int], interrupt: Interrupt) -> None:
    """Waits until the runs table, as it is seen here, says of packs that they have finished.

    Args:
      steps: that each pack has done, by its id.
      interrupt: ends the wait.
    Raises:
      StorageError: after two minutes it does not say so.
      InputError: rows are damaged.
    """
    lacking, give_up = dict(steps), time.monotonic() + SECONDS
    while True:
        for pack in lacking.keys() & _packs_anew(folder):
            if _is_settled(folder, pack, lacking[pack]):
                del lacking[pack]
        if not lacking or interrupt.level:
            return
        if time.monotonic() >= give_up:
            raise StorageError(
                f"{folder.runs}: the rows of {counted(len(lacking), 'pack')} that finished on "
                f"other machines are not seen here after {SECONDS:g} s. Nothing is lost: see "
                f"whether all machines have the same file system there (of NFS, with acdirmax=1), "
                f"then run it again."
            )
        time.sleep(LOOK_SECONDS)


def _packs_anew(folder: Folder) -> set[str]:
    """The packs in the runs table; a folder, which no reader of tables opens, makes its list new.

    Where none can be made, as on a disk that is full, the list is as old as it is.
    """
    probe = folder.probe(secrets.token_hex(4))
    with suppress(OSError):
        files.make_new_folder(probe)
        files.remove(probe)
    return {name.removesuffix(".parquet") for name in os.listdir(folder.runs)}


def _is_settled(folder: Folder, pack: str, steps: int) -> bool:
    """Whether the rows of a pack are those of its end; workers write others when they begin."""
    path = folder.runs / f"{pack}.parquet"
    with reading(folder.root, path):
        try:
            rows = rows_in(path, ("status", "steps_done"))
        except OSError:  # replaced; NFS, whose list has the former file, says that it is gone
            return False
    return all(row["status"] in SETTLED and row["steps_done"] >= steps for row in rows.to_pylist())
