"""How many runs carry one flag and not another."""

from collections.abc import Sequence

import pandas as pd

from analysis.evidence import Cells, Evidence
from analysis.evidence.counts import share
from tfc_jax.errors import InputError


def exist(cells: Cells, flags: Sequence[str], without: Sequence[str] = ()) -> Evidence:
    """Share of runs that carry all of `flags` and none of `without`.

    Runs of which a flag is unknown are no cases. The interval takes runs as independent; those of
    one seed share their data and directions.
    """
    runs = cells.all
    missing = [f"flag_{name}" for name in (*flags, *without) if f"flag_{name}" not in runs.columns]
    if missing:
        raise InputError(f"{cells.results.path}: the analysis has no {', '.join(missing)}.")
    table = runs[[f"flag_{name}" for name in (*flags, *without)]].astype("boolean")
    known = table.notna().all(axis=1)
    wanted = [True] * len(flags) + [False] * len(without)
    holds = pd.Series((table[known].to_numpy(dtype=bool) == wanted).all(axis=1), dtype=bool)
    by_cell = runs.loc[known, "cell"].reset_index(drop=True)[holds].value_counts(sort=False)
    places = ", ".join(f"{count} in {name}" for name, count in by_cell.items()) or "none"
    return share(int(holds.sum()), int(known.sum()), places)
