"""Whether collapse differs: over the hidden layers of a network, and between kinds of network."""

from dataclasses import replace

import numpy as np
import pandas as pd
import scipy.stats

from analysis.curves import Floats
from analysis.evidence import Cells, Evidence
from analysis.evidence.collapse import collapse_by_seed, common_step
from analysis.evidence.samples import of_sample
from analysis.evidence.similarity import rises_by_seed


def over_layers(cells: Cells, column: str) -> Evidence:
    """Spread over the hidden layers of the rise from step 0 to the plateau's end, one cell.

    See `spread`.
    """
    ((name, runs),) = cells.runs.items()
    depth = int(runs["depth"].iloc[0])
    rises = {str(n): rises_by_seed(cells, name, column, layer=n) for n in range(1, depth)}
    return spread(rises, f"median rise of {column} by hidden layer")


def between_cells(cells: Cells, reference: str, column: str) -> Evidence:
    """Spread between cells of the collapse of the middle layer; see `spread`.

    Collapse is that up to the reference's end of phase one: what each rises until its own end is
    0 by construction where that comes at once.
    """
    until = common_step(cells, reference)
    rises = {name: collapse_by_seed(cells, name, column, until) for name in cells.runs}
    return spread(rises, f"median rise of {column}, middle layer, by cell")


def spread(values: dict[str, pd.Series], what: str) -> Evidence:
    """Difference of the condition that has most and that which has least, median over seeds.

    Which two these are, the medians of the other half of the seeds tell: one half is every second
    seed. Largest less smallest median of the same seeds would choose noise, and be above 0 without
    any effect; this is 0 then, and where others come close rather too small. To leave out one seed
    alone is not enough: all seeds would be judged by nearly the same choice, and the interval lies
    above the truth three times as often as it says (ours). p is Friedman's test over seeds,
    Wilcoxon's for two conditions.

    Args:
      values: one number per seed, by condition; seeds that one lacks are left out.
    """
    table = pd.concat(values, axis=1, join="inner").dropna().sort_index()
    medians = table.median()
    detail = what + " " + ", ".join(f"{name}: {value:.3f}" for name, value in medians.items())
    if len(table) < 2:
        return of_sample(np.array([]), 0.0, detail)
    values_NxC = table.to_numpy(dtype=float)
    first_N = np.arange(len(table)) % 2 == 0
    halves = [(values_NxC[half], values_NxC[~half]) for half in (first_N, ~first_N)]
    difference_N = np.concatenate([_difference(own, other) for own, other in halves])
    return replace(of_sample(difference_N, 0.0, detail), p=_p(values_NxC))


def _difference(values_NxC: Floats, others_MxC: Floats) -> Floats:
    """Between the conditions that have the largest and the smallest median of the others, (N,)."""
    median_C = np.median(others_MxC, axis=0)
    return values_NxC[:, median_C.argmax()] - values_NxC[:, median_C.argmin()]


def _p(values_NxC: Floats) -> float:
    if (values_NxC == values_NxC[:, :1]).all():
        return 1.0
    if values_NxC.shape[1] == 2:
        return float(scipy.stats.wilcoxon(values_NxC[:, 0], values_NxC[:, 1]).pvalue)
    return float(scipy.stats.friedmanchisquare(*values_NxC.T).pvalue)
