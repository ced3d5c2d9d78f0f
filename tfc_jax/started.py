"""What earlier launches have started, as the runs table holds it."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from tfc_jax.errors import InputError
from tfc_jax.keys import KEYS, Run
from tfc_jax.keytypes import Key
from tfc_jax.layout import Folder, checked_pack
from tfc_jax.pack import pack_id, program_key
from tfc_jax.plan import StartedPack
from tfc_jax.results import Results
from tfc_jax.untrusted import DamagedFile

# Columns of the runs table that are the same for all runs of a pack.
_OF_PACKS = ("pack", "pack_width", "schedule", "steps_done", "status", "dataset_sha256")


def started_packs(folder: Folder) -> Iterator[StartedPack]:
    """Yields the packs of earlier launches, as the runs table holds them.

    Raises:
      DamagedFile: rows do not name their runs, or their pack, as launches do.
    """
    if not folder.has_runs:
        return
    table = Results(folder).runs
    place = pd.factorize(table["pack"])[0]  # packs in order of appearance
    table = table.iloc[np.lexsort((table["lane"].to_numpy(), place))]
    runs = _runs(table)
    column = {name: table[name].tolist() for name in ("run_id", *_OF_PACKS)}
    for _, rows in groupby(range(len(runs)), column["pack"].__getitem__):
        lanes = list(rows)
        first, stop = lanes[0], lanes[-1] + 1
        of_pack = tuple(runs[first:stop])
        digest = column["dataset_sha256"][first]
        _check_names(folder, column["pack"][first], of_pack, column["run_id"][first:stop])
        yield StartedPack(
            runs=of_pack,
            width=column["pack_width"][first],
            schedule=column["schedule"][first],
            steps_done=column["steps_done"][first],
            failed=column["status"][first] == "failed",
            settled=column["status"][first] in ("done", "diverged"),
            dataset_sha256=None if _is_null(digest) else digest,
        )


def _check_names(folder: Folder, pack: str, runs: Sequence[Run], ids: Sequence[str]) -> None:
    """Refuses rows whose ids are not hashes of what they are of: a run could be trained twice."""
    wrong = None
    for run, run_id in zip(runs, ids, strict=True):
        if run.run_id != run_id:
            wrong = f"the keys of run {run_id[:40]!r} are those of run {run.run_id}"
    if wrong is None and pack_id(ids) != pack:
        wrong = f"its runs are not those of pack {pack[:40]!r}"
    if wrong is None and len({program_key(run) for run in runs}) > 1:
        wrong = "its runs are of several programs"
    if wrong is not None:
        raise DamagedFile(folder.runs / f"{checked_pack(pack)}.parquet", folder.root, wrong)


def run_status(runs: pd.DataFrame, steps: int) -> dict[str, str]:
    """Status by run_id; a finished run of which more steps are wanted now is `pending`."""
    is_short = runs["status"].isin(["done", "diverged"]) & (runs["steps_done"] < steps)
    return dict(zip(runs["run_id"], runs["status"].mask(is_short, "pending"), strict=True))


def _runs(table: pd.DataFrame) -> list[Run]:
    """The runs of the rows of the runs table; a whole column at a time, since packs are many."""
    columns = [_checked(key, table[name].tolist()) for name, key in KEYS.items()]
    return [Run(*values) for values in zip(*columns, strict=True)]


def _checked(key: Key, column: list[Any]) -> list[Any]:
    """The values of a column as runs hold them; each distinct one is checked once.

    Raises:
      InputError: no run of ours can hold one of them.
    """
    values = dict.fromkeys(column)
    try:
        checked = {value: key.checked(None if _is_null(value) else value) for value in values}
    except ValueError as error:
        raise InputError(f"the runs table: {key.name}: {error}") from error
    return [checked[value] for value in column]


def _is_null(value: Any) -> bool:
    """Pandas marks nulls in its own ways."""
    return value is None or type(value).__name__ == "NAType" or value != value
