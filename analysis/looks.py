"""What probes saw of each run: at initialisation, at every look, and when a level was reached."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.curves import Floats, matrix
from tfc_jax.results import Results

TRAINED = 0.99  # training accuracy from which a network counts as trained (VAR)


def at_start(results: Results, runs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The runs with probe columns of step 0; NaN where a run has no look at it."""
    frame = results.table("probe", "step == 0", list(columns))
    kept = frame[["run_id", *columns]].astype(dict.fromkeys(columns, float))
    return runs.drop(columns=list(columns), errors="ignore").merge(kept, on="run_id", how="left")


def looks(results: Results, runs: pd.DataFrame, column: str) -> tuple[Floats, Floats]:
    """Steps of all looks (M,), and a probe column at them (R, M), NaN where not seen."""
    return matrix(results.table("probe", None, [column]), column, runs["run_id"].tolist())


def layer_looks(
    results: Results, runs: pd.DataFrame, column: str, layer: int
) -> tuple[Floats, Floats]:
    """The same of one layer; a negative one counts from the last: -1 is the last hidden layer.

    Layer L holds the outputs, so that -1 is L-1.
    """
    parts = []
    for depth, group in runs.groupby("depth"):
        at = layer if layer > 0 else int(depth) + layer
        frame = results.table("probe_layers", f"depth == {depth} and layer == {at}", [column])
        parts.append(frame[frame["run_id"].isin(group["run_id"])])
    return matrix(pd.concat(parts, ignore_index=True), column, runs["run_id"].tolist())


def first_look(steps_M: Floats, reached_RxM: np.ndarray) -> Floats:
    """Step of the first look at which it is so, for each run; inf where it never is."""
    first_R = steps_M[reached_RxM.argmax(axis=1)]
    return np.where(reached_RxM.any(axis=1), first_R, np.inf)


def steps_to_trained(results: Results, runs: pd.DataFrame) -> Floats:
    """First look at which 99 % of the training probe are right, in updates; inf if never."""
    steps_M, accuracy_RxM = looks(results, runs, "train_accuracy")
    return first_look(steps_M, accuracy_RxM >= TRAINED)


def steps_to_loss(results: Results, runs: pd.DataFrame, share: float) -> Floats:
    """First look at which the training loss is at most `share` of the prior loss; inf if never."""
    steps_M, loss_RxM = looks(results, runs, "train_loss")
    prior_R = runs["prior_loss"].to_numpy(dtype=float)
    return first_look(steps_M, loss_RxM <= share * prior_R[:, None])
