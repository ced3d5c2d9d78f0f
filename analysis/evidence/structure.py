"""Whether collapse differs: over the hidden layers of a network, and between kinds of network."""

import numpy as np
import pandas as pd
import scipy.stats

from analysis.curves import Floats
from analysis.evidence import Cells, Evidence
from analysis.evidence.collapse import collapse_by_seed, common_step
from analysis.evidence.similarity import rises_by_seed
from analysis.ordering import resampled


def over_layers(cells: Cells, column: str) -> Evidence:
    """Spread over the hidden layers of the rise from step 0 to the plateau's end, one cell.

    The largest less the smallest median; see `spread`.
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
    """Largest less smallest median of several conditions over the seeds that all of them have.

    The interval is the percentile bootstrap over whole seeds; it lies above 0 by construction, so
    that only p (Friedman's test; Wilcoxon's for two) and the threshold can tell a difference from
    noise (ours).

    Args:
      values: one number per seed, by condition.
    """
    table = pd.concat(values, axis=1, join="inner").dropna()
    medians = table.median()
    detail = what + " " + ", ".join(f"{name}: {value:.3f}" for name, value in medians.items())
    if len(table) < 2:
        return Evidence(np.nan, np.nan, np.nan, np.nan, len(table), detail)
    values_NxC = table.to_numpy(dtype=float)
    spread_B = _resampled_spreads(values_NxC)
    low, high = np.quantile(spread_B, [0.025, 0.975])
    effect = float(medians.max() - medians.min())
    return Evidence(effect, float(low), float(high), _p(values_NxC), len(table), detail)


def _resampled_spreads(values_NxC: Floats) -> Floats:
    counts_BxN = resampled(len(values_NxC)).astype(int)
    rows = np.arange(len(values_NxC))
    chosen_BxN = np.stack([np.repeat(rows, counts) for counts in counts_BxN])
    medians_BxC = np.median(values_NxC[chosen_BxN], axis=1)
    return np.asarray(np.ptp(medians_BxC, axis=1))


def _p(values_NxC: Floats) -> float:
    if (values_NxC == values_NxC[:, :1]).all():
        return 1.0
    if values_NxC.shape[1] == 2:
        return float(scipy.stats.wilcoxon(values_NxC[:, 0], values_NxC[:, 1]).pvalue)
    return float(scipy.stats.friedmanchisquare(*values_NxC.T).pvalue)
