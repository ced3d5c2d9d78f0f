"""What a run measured at the start and at the end of its plateau (windows are ours).

A value at a step is the centred mean over 50 steps of `curves.smooth`, taken at the last record at
or before that step: at step 0 it is the record itself. A phase that is over before the second
record therefore changes nothing. A run whose plateau never ended is read at its last record.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.curves import Floats, floats, last_until, matrix, middle_layer, smooth
from analysis.evidence import Cells
from tfc_jax.errors import InputError

END = "phase1_end"


@dataclass(frozen=True)
class Curves:
    """One smoothed quantity of R runs at M records.

    Attributes:
      steps: (M,), ascending.
      values: (R, M), NaN where a run has no record or has diverged.
    """

    steps: Floats
    values: Floats

    def at(self, step_R: Floats) -> Floats:
        """Value of each run at the last finite record at or before its step, (R,)."""
        return last_until(self.values, self.steps, step_R)


def middle_curves(
    cells: Cells,
    runs: pd.DataFrame,
    columns: Sequence[str],
    layer: int | None = None,
    *,
    smoothed: bool = True,
) -> dict[str, Curves]:
    """Columns of table `layers` at each run's middle layer (or at `layer`), by column.

    Runs may differ in depth.

    Raises:
      InputError: a column is not recorded, or none of these runs has a record.
    """
    parts = []
    for depth, group in runs.groupby("depth"):
        where = f"depth == {depth} and layer == {layer or middle_layer(int(depth))}"
        frame = cells.results.layers(where, columns)
        parts.append(frame[frame["run_id"].isin(group["run_id"])])
    frame = pd.concat(parts, ignore_index=True)
    if frame.empty:
        raise InputError(f"{cells.results.path}: no layer of these runs is recorded.")
    diverged_at_R = floats(runs, "diverged_at")
    curves = {}
    for column in columns:
        steps_M, values_RxM = matrix(frame, column, runs["run_id"].tolist())
        sane_RxM = ~(steps_M >= diverged_at_R[:, None])
        values_RxM = np.where(sane_RxM, values_RxM, np.nan)
        curves[column] = Curves(steps_M, smooth(values_RxM, steps_M) if smoothed else values_RxM)
    return curves


def median(values: Floats) -> float:
    """Median of the finite values; NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def ends(runs: pd.DataFrame, end: str = END) -> Floats:
    """Step at which the plateau of each run ended, else the last step that was seen, (R,)."""
    last_R = np.fmin(floats(runs, "horizon"), floats(runs, "diverged_at")) - 1
    end_R = floats(runs, end)
    return np.where(np.isfinite(end_R), end_R, last_R)


def unfinished(runs: pd.DataFrame, end: str = END) -> str:
    """Says how many runs did not end their plateau, "" if all did."""
    left = int(runs[end].isna().sum())
    diverged = int(runs["diverged"].sum())
    if not left:
        return ""
    text = f"{left} of {len(runs)} runs did not end it within T and are read at their last step"
    return f"; {text} ({diverged} of them diverged)" if diverged else f"; {text}"
