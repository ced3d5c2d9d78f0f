"""The rounds of a sweep that refines, from its runs table: what is known, and its leaf cells."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tfc_jax.config import Sweep
from tfc_jax.layout import Folder
from tfc_jax.refine import Expansion, Leaf, Refine, expand
from tfc_jax.results import Results
from tfc_jax.schema import Column, arrow_schema


def known(sweep: Sweep, folder: Folder) -> Sweep:
    """Returns the sweep with the runs of all rounds that the stored results ask for."""
    expansion = expanded(sweep, folder)
    return sweep.with_known(expansion) if expansion else sweep


def expanded(sweep: Sweep, folder: Folder) -> Expansion | None:
    """Returns what is known of a sweep; None if it does not refine."""
    if sweep.refine is None:
        return None
    return expand(sweep.refine, sweep.first, _votes(sweep.refine, sweep.steps, folder))


def _votes(refine: Refine, steps: int, folder: Folder) -> dict[str, bool | None]:
    """By run_id of the ended runs, whether the boundary's condition holds; None if it failed."""
    if not folder.has_runs:
        return {}
    runs = Results(folder).runs
    has_all = runs["status"].isin(["done", "diverged"]) & (runs["steps_done"] >= steps)
    runs = runs[has_all | (runs["status"] == "failed")]
    if runs.empty:
        return {}
    holds = refine.boundary.mask(_with_worst_ends(runs))
    rows = zip(runs["run_id"], runs["status"], holds, strict=True)
    return {run_id: None if status == "failed" else bool(vote) for run_id, status, vote in rows}


def _with_worst_ends(runs: pd.DataFrame) -> pd.DataFrame:
    """Diverged runs end at an infinite loss, below every accuracy.

    Their last loss may be NaN, which a condition may call either side (`final_loss > 2`, `not
    final_loss > 2`), or even finite again.
    """
    diverged = runs["status"] == "diverged"
    worst = {"final_loss": np.inf, "final_accuracy": -np.inf}
    ends = {name: runs[name].astype("Float64").mask(diverged, to) for name, to in worst.items()}
    return runs.assign(**ends)


def cell_table(refine: Refine, expansion: Expansion) -> pa.Table:
    """Rows run_id, cell, level, holds, <axis>_low, <axis>_high: the runs of every leaf."""
    leaves = [leaf for leaves in expansion.maps for leaf in leaves]
    rows = [row for number, leaf in enumerate(leaves) for row in _rows(refine, number, leaf)]
    schema = arrow_schema("cells", _columns(refine))
    return pa.Table.from_pandas(pd.DataFrame(rows, columns=schema.names), schema, False)


def _rows(refine: Refine, number: int, leaf: Leaf) -> list[dict[str, Any]]:
    place: dict[str, Any] = {"cell": number, "level": leaf.cell.level, "holds": leaf.holds}
    for line, index in zip(refine.axes, leaf.cell.index, strict=True):
        low, high = line.box(leaf.cell.level, index)
        place |= {f"{line.name}_low": low, f"{line.name}_high": high}
    return [{"run_id": run.run_id, **place} for run in leaf.runs]


def _columns(refine: Refine) -> list[Column]:
    side = f"whether {refine.boundary.text} for at least half of the cell's runs; null: not known"
    borders = [
        Column(f"{line.name}_{end}", "cells", "as the key", f"{end} border of the cell", "float64")
        for line in refine.axes
        for end in ("low", "high")
    ]
    return [
        Column("cell", "cells", "", "number of the cell, over all maps", "int64"),
        Column("level", "cells", "", "how often the cell was halved along every axis", "int64"),
        Column("holds", "cells", "", side, "bool"),
        *borders,
    ]
