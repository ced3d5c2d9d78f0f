"""Test accuracy of runs that have learned the training samples equally well."""

import numpy as np
import pandas as pd

from analysis.curves import Floats
from tfc_jax.results import Results

RESOLVED = float(np.exp(2))  # largest fall of the training loss between two probes


def accuracy_at_loss(results: Results, runs: pd.DataFrame, level: float) -> pd.Series:
    """Test accuracy where the training loss first falls below a level, by the index of `runs`.

    Interpolated, linearly in the logarithm of the training loss, between the probe before and the
    first one below (ours). NaN where the training probe never gets there, where its loss falls by
    more than e^2 from the one to the other, so that nothing is known between, and where no probe is
    recorded.

    Args:
      level: in units of the loss, > 0.
    """
    out = pd.Series(np.nan, index=runs.index)
    if not (results.has("probe", "train_loss") and results.has("probe", "test_accuracy")):
        return out
    kinds = {"train_loss": float, "test_accuracy": float}
    frame = results.probe(columns=[*kinds]).astype(kinds).sort_values("step")
    found = {
        run_id: _crossing(rows["train_loss"].to_numpy(), rows["test_accuracy"].to_numpy(), level)
        for run_id, rows in frame.groupby("run_id")
    }
    return runs["run_id"].map(found).astype(float)


def _crossing(loss_P: Floats, accuracy_P: Floats, level: float) -> float:
    at = int((loss_P < level).argmax())  # 0 where it never is, too
    if at == 0 or not loss_P[at - 1] < RESOLVED * loss_P[at]:
        return float("nan")
    before, after, target = np.log([loss_P[at - 1], loss_P[at], level])
    share = (before - target) / (before - after)
    return float(accuracy_P[at - 1] + share * (accuracy_P[at] - accuracy_P[at - 1]))


def within(values: pd.Series, conditions: pd.Series) -> pd.Series:
    """Deviations from the mean of the own condition: what differs between seeds alone."""
    return values - values.groupby(conditions).transform("mean")
