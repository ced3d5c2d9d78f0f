"""VAR: what predicts whether a network trains, its variability at step 0 or its depth."""

from typing import Literal

import numpy as np
import pandas as pd
from lifelines.utils import concordance_index
from sklearn.metrics import roc_auc_score

from analysis.curves import Floats
from analysis.evidence import Cells, Evidence
from analysis.evidence.samples import of_sample
from analysis.evidence.variability import VARIABILITY, per_seed
from analysis.looks import at_start, steps_to_trained


def predicts(
    cells: Cells,
    outcome: Literal["reached", "steps"],
    column: str = VARIABILITY,
    no_effect: float = 0,
) -> Evidence:
    """How much better variability at step 0 orders the runs of a seed than their depth does.

    `reached`: difference of areas under the ROC curve, for runs that reach 99 % training accuracy;
    `steps`: difference of concordances with the steps to it, censored at T. Depth predicts by the
    mean outcome of the other seeds' runs of that depth: whatever its law, which is generous.
    """
    runs = at_start(cells.results, cells.all, [column])
    # a network without a variability (not finite) counts as one that does not vary
    runs[column] = runs[column].where(np.isfinite(runs[column]), 0.0)
    step_R = steps_to_trained(cells.results, runs)
    runs["reached"] = np.isfinite(step_R)
    runs["time"] = np.minimum(step_R, runs["horizon"].to_numpy(dtype=float))
    runs["by_depth"] = _others_mean(runs, "reached" if outcome == "reached" else "time")
    sign = 1 if outcome == "reached" else -1
    score = _area if outcome == "reached" else _concordance
    own = per_seed(runs, lambda g: score(g, g[column]))
    depth = per_seed(runs, lambda g: score(g, sign * g["by_depth"]))
    detail = (
        f"variability {_median(own):.3f}, depth {_median(depth):.3f}; "
        f"{runs['reached'].mean():.0%} of {len(runs)} runs reach 99 %"
    )
    return of_sample(own - depth, no_effect, detail)


def _others_mean(runs: pd.DataFrame, column: str) -> Floats:
    """Mean over the runs of the same depth and all other seeds; the overall mean if there are none.

    A run's own seed is left out, or depth would know the answer.
    """
    value = runs[column].astype(float)
    total, count = (
        runs.assign(value=value, one=1.0).groupby("depth")[name].transform("sum")
        for name in ("value", "one")
    )
    own = runs.assign(value=value, one=1.0).groupby(["depth", "seed"])
    others = (total - own["value"].transform("sum")) / (count - own["one"].transform("sum"))
    return others.fillna(value.mean()).to_numpy(dtype=float)


def _area(group: pd.DataFrame, score: pd.Series) -> float:
    """Area under the ROC curve; NaN where all runs reach it, or none."""
    if group["reached"].nunique() < 2:
        return np.nan
    return float(roc_auc_score(group["reached"], score))


def _concordance(group: pd.DataFrame, score: pd.Series) -> float:
    """Harrell's concordance of a score with sooner being trained; NaN where none is."""
    if not group["reached"].any():
        return np.nan
    return float(concordance_index(group["time"], -score, group["reached"]))


def _median(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else np.nan
