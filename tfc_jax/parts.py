"""Data files of a pack: how they are named, and whether they are what was committed."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfc_jax import files
from tfc_jax.checkpoint import Checkpoint, DamagedCheckpoint, Part
from tfc_jax.schema import RESULT_TABLES, ROW_KEYS
from tfc_jax.tables import same_bits

logger = logging.getLogger(__name__)


class DamagedPart(Exception):
    """A data file is gone, or is not what it was when it was committed."""


def final_weights(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights in a state, by their name in `params/`, padding lanes included."""
    prefix = "params/"
    return {n.removeprefix(prefix): a for n, a in state.items() if n.startswith(prefix)}


def staged_name(path: str) -> str:
    """Name of a part in the folder of its writer, by its path below the results folder."""
    return path.replace("/", "-", 1)


def check_names(checkpoint: Checkpoint, pack: str, path: Path) -> None:
    """A checkpoint names files of its pack's tables, and no other place on the disk.

    Raises:
      DamagedCheckpoint: this one does not.
    """
    tables = "|".join(RESULT_TABLES)
    allowed = re.compile(rf"({tables})/{pack}-\d{{9}}-\d{{9}}\.parquet")
    wrong = [name for name in checkpoint.parts if not allowed.fullmatch(name)]
    if wrong:
        raise DamagedCheckpoint(f"{path}: it names {wrong[0]!r}, which is no part of a table.")


def check_content(path: Path, part: Part) -> None:
    if files.sha256(path) != part.sha256:
        raise DamagedPart(damage(path, "is not the file that was committed"))


def damage(path: Path, what: str) -> str:
    return (
        f"{path} {what}. Restore it from a copy; `tfc fsck` of these results says what else can be "
        f"done."
    )


def same_rows(before: Path, now: Path) -> bool:
    """Whether two parts hold the same rows, bit for bit; one that is damaged holds none to keep.

    Merged parts stand one after the other, so their rows are in another order.
    """
    try:
        return same_bits(_in_order(before), _in_order(now))
    except (OSError, pa.ArrowException) as error:
        logger.warning("%s: damaged (%s), so nothing is compared with it.", before, error)
        return True


def _in_order(part: Path) -> pa.Table:
    with pq.ParquetFile(part, page_checksum_verification=True) as file:
        rows = file.read(use_threads=False)
    return rows.sort_by([(key, "ascending") for key in ROW_KEYS if key in rows.column_names])
