"""Cells of a claim from tables in memory, read as the real reader reads them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.evidence import Cells
from tfc_jax import expression

MakeCells = Callable[..., Cells]


class Tables:
    """What evidence reads of `Results`: tables with an expression over rows and runs."""

    def __init__(self, runs: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> None:
        self.runs, self._tables = runs, tables

    def table(
        self, name: str, where: str | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        frame = self._tables[name]
        keys = self.runs.columns.difference(frame.columns).union(["run_id"])
        joined = frame.merge(self.runs[keys])
        if where:
            joined = joined[expression.parse(where, list(joined.columns)).mask(joined)]
        index = [key for key in ("run_id", "step", "layer") if key in frame.columns]
        return joined[[*index, *(columns or frame.columns.difference(index))]].reset_index(
            drop=True
        )

    def layers(self, *args: Any, **kwargs: Any) -> pd.DataFrame:
        return self.table("layers", *args, **kwargs)

    def steps(self, *args: Any, **kwargs: Any) -> pd.DataFrame:
        return self.table("steps", *args, **kwargs)

    def probe(self, *args: Any, **kwargs: Any) -> pd.DataFrame:
        return self.table("probe", *args, **kwargs)

    def has(self, table: str, column: str) -> bool:
        return table in self._tables and column in self._tables[table].columns


RUN: dict[str, Any] = {
    "depth": 5,
    "width": 32,
    "seed": 0,
    "phase1_end": 100.0,
    "phase1_end_95": np.nan,
    "phase1_end_90": np.nan,
    "horizon": 400.0,
    "diverged_at": np.nan,
}


@pytest.fixture(scope="session")
def make_cells() -> MakeCells:
    """Makes cells from one dict per run, by cell, and optional tables.

    run_id is "cell/seed" if it is not given. Runs that neither end nor diverge are censored at
    their horizon.
    """

    def make(runs: Mapping[str, Sequence[Mapping[str, Any]]], **tables: pd.DataFrame) -> Cells:
        frames = {}
        for cell, rows in runs.items():
            frame = pd.DataFrame([{**RUN, "seed": seed, **row} for seed, row in enumerate(rows)])
            if "run_id" not in frame:
                frame["run_id"] = [f"{cell}/{seed}" for seed in frame["seed"]]
            frame["diverged"] = frame["diverged_at"].notna()
            frame["censored"] = frame["phase1_end"].isna() & ~frame["diverged"]
            frames[cell] = frame
        everything = pd.concat(frames.values(), ignore_index=True)
        return Cells(Tables(everything, tables), frames)  # type: ignore[arg-type]

    return make
