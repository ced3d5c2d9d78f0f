"""Whether less collapse goes with better generalisation, at the same training loss."""

import numpy as np
import pandas as pd
import scipy.stats

from analysis.curves import floats
from analysis.evidence import Cells, Evidence
from analysis.evidence.samples import of_sample
from analysis.generalization import accuracy_at_loss

COLLAPSE = "middle_cos_between_peak"


def collapse_and_accuracy(cells: Cells, share: float, no_effect: float) -> Evidence:
    """Rank correlation of collapse and test accuracy over the cells, seed by seed; their median.

    Collapse is the largest between-class cosine of the middle layer. Accuracy is taken where the
    training loss first falls below `share` of the prior loss (ours). A seed of which fewer than
    three cells get there has no correlation.
    """
    runs = cells.all
    level = share * float(runs["prior_loss"].min())
    table = pd.DataFrame(
        {
            "seed": runs["seed"],
            "collapse": floats(runs, COLLAPSE),
            "accuracy": accuracy_at_loss(cells.results, runs, level),
        }
    )
    known = table.dropna()
    rho_N = np.array([spearman(group) for _, group in known.groupby("seed")], dtype=float)
    detail = (
        f"{len(known)} of {len(table)} runs reach a training loss of {level:.3g}; over all of them "
        f"together the rank correlation is {spearman(known):.2f}"
    )
    return of_sample(rho_N, no_effect, detail)


def spearman(runs: pd.DataFrame) -> float:
    """Rank correlation of the columns collapse and accuracy; NaN below three rows or if flat."""
    if len(runs) < 3 or runs["collapse"].nunique() < 2 or runs["accuracy"].nunique() < 2:
        return float("nan")
    return float(scipy.stats.spearmanr(runs["collapse"], runs["accuracy"]).statistic)
