"""What workers on other machines have written is seen by this one.

Over NFS a machine keeps the list of a folder for up to a minute, and does not ask whether others
have added to it, unless it changes the folder itself.
"""

import os
import secrets
import time
from collections.abc import Iterable

from tfc_jax import files
from tfc_jax.errors import StorageError
from tfc_jax.layout import Folder
from tfc_jax.wording import counted

SECONDS = 120.0  # twice as long as NFS keeps a list that nothing makes it drop
LOOK_SECONDS = 1.0


def await_rows(folder: Folder, packs: Iterable[str]) -> None:
    """Waits until the runs table, as it is seen here, has the rows of packs that have finished.

    Raises:
      StorageError: after two minutes it has not.
    """
    wanted, give_up = {f"{pack}.parquet" for pack in packs}, time.monotonic() + SECONDS
    while lacking := wanted - _names_anew(folder):
        if time.monotonic() >= give_up:
            raise StorageError(
                f"{folder.runs}: the rows of {counted(len(lacking), 'pack')} that finished on "
                f"other machines are not seen here after {SECONDS:g} s. Nothing is lost: see "
                f"whether all machines have the same file system there (of NFS, with acdirmax=1), "
                f"then run it again."
            )
        time.sleep(LOOK_SECONDS)


def _names_anew(folder: Folder) -> set[str]:
    """The names in the runs table; a folder, which no reader of tables opens, makes them new."""
    probe = folder.runs / f".seen-{secrets.token_hex(4)}"
    files.make_new_folder(probe)
    files.remove(probe)
    return set(os.listdir(folder.runs))
