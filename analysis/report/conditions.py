"""Runs by condition: how long phase one is, and how the runs end."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.conditions import describe, varied
from analysis.report.tables import Cell, Column, Table, number, several, sweep_column
from analysis.survival import Survival, kaplan_meier
from tfc_jax.keys import KEYS

STATUSES = ("done", "diverged", "failed")
FINAL = {"final_loss": np.inf, "final_accuracy": -np.inf}  # and what is worst
DEPARTING = 3


def name_runs(runs: pd.DataFrame) -> tuple[pd.Series, str]:
    """Names the condition of each run: what differs between runs, except seed and steps.

    A sweep that changes one or two things at a time of at least three is named by what departs
    from the plain condition, any other by all that varies.

    Returns:
      names by run_id, in the order of the keys' values; what plain means, empty where not used.
    """
    keys = varied(runs, [key for key in KEYS if key != "steps"])
    if not keys:
        return pd.Series("all runs", index=runs["run_id"]), ""
    runs = runs.sort_values(keys, kind="stable")
    rows = [
        {key: None if pd.isna(value) else value for key, value in row.items()}
        for row in runs[keys].to_dict("records")
    ]
    plain = {key: Counter(row[key] for row in rows).most_common(1)[0][0] for key in keys}
    departing = [{key: row[key] for key in keys if row[key] != plain[key]} for row in rows]
    if len(keys) >= DEPARTING and max(map(len, departing)) <= 2:
        names = [describe(one) or "plain" for one in departing]
        return pd.Series(names, index=runs["run_id"]), describe(plain)
    return pd.Series([describe(row) for row in rows], index=runs["run_id"]), ""


def grouped(runs: pd.DataFrame, names: pd.Series) -> dict[str, pd.DataFrame]:
    """The runs of each condition that has some, in the order of `names`."""
    condition = runs["run_id"].map(names)
    return {name: runs[condition == name] for name in names.unique() if (condition == name).any()}


def conditions_table(
    groups: Mapping[str, Mapping[str, pd.DataFrame]], phases: Mapping[str, pd.DataFrame]
) -> Table:
    """One row per condition of each sweep.

    Args:
      groups: by sweep and condition, all runs.
      phases: by sweep, the runs that have recorded steps, with the columns of `phases.COLUMNS`.
    """
    columns = (
        *sweep_column(groups),
        Column("condition", wide=True),
        Column("runs", numeric=True),
        *(Column(word, numeric=True) for word in STATUSES),
        Column("phase one, median", numeric=True),
        Column("restricted mean", numeric=True),
        Column("not ended", numeric=True),
        *(Column(f"{column}, median", numeric=True) for column in FINAL),
    )
    rows = {
        sweep: [_row(name, group, phases[sweep]) for name, group in by_name.items()]
        for sweep, by_name in groups.items()
    }
    return Table("conditions", "One row per condition", columns, several(rows))


def _row(name: str, group: pd.DataFrame, phases: pd.DataFrame) -> list[Cell]:
    """One row of the table; a dash where a condition has no recorded steps yet."""
    status = group["status"].value_counts()
    analysed = phases[phases["run_id"].isin(group["run_id"])]
    survival = kaplan_meier(analysed) if len(analysed) else None
    mean = survival.restricted_mean if survival else None
    return [
        Cell(name),
        number(len(group)),
        *(number(int(status.get(word, 0))) for word in STATUSES),
        _length(survival),
        Cell(f"{mean:.0f}", mean) if mean is not None else Cell("-"),
        number(int(analysed["censored"].sum())),
        *(_median(group, column, worst) for column, worst in FINAL.items()),
    ]


def _median(group: pd.DataFrame, column: str, worst: float) -> Cell:
    """A dash where half of the runs or more diverged: they count as worse than all others.

    A median of those that are left would put a condition first in which few are left.
    """
    values = group[column].to_numpy(dtype=float, na_value=np.nan)
    values = np.where(group["status"] == "diverged", worst, values)
    known = values[~np.isnan(values)]
    middle = float(np.median(known)) if len(known) else np.nan
    return number(middle if np.isfinite(middle) else None)


def _length(survival: Survival | None) -> Cell:
    """The median with its interval; sorted after all medians where it lies beyond the budget."""
    if survival is None:
        return Cell("-")
    if not np.isfinite(survival.median):
        return Cell(f"> {survival.horizon:.0f}", survival.horizon + 0.5)
    high = f"{survival.high:.0f}" if np.isfinite(survival.high) else "∞"
    text = f"{survival.median:.0f} ({survival.low:.0f} to {high})"
    return Cell(text, survival.median)
