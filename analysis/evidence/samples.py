"""One number per seed: its median, a bootstrap interval, and the signed-rank test."""

import numpy as np
import pandas as pd
import scipy.stats

from analysis.curves import Floats
from analysis.evidence import Evidence
from analysis.stats import median_interval


def of_sample(values_N: Floats, no_effect: float, detail: str, *, log: bool = False) -> Evidence:
    """Median of independent values with its bootstrap interval; Wilcoxon's p against `no_effect`.

    NaN values are left out, and the detail says how many. Infinite ones keep their rank.

    Args:
      log: the values are positive ratios; the test, which is about symmetry, is on their logarithm.
    """
    known_N = values_N[~np.isnan(values_N)]
    left_out = len(values_N) - len(known_N)
    if left_out:
        detail += f"; {left_out} of {len(values_N)} without a value are left out"
    if len(known_N) == 0:
        return Evidence(np.nan, np.nan, np.nan, np.nan, 0, detail)
    median, low, high = _median(known_N)
    return Evidence(
        median, low, high, signed_rank(known_N, no_effect, log=log), len(known_N), detail
    )


def by_seed(runs: pd.DataFrame, value_R: Floats) -> pd.Series:
    """One value per seed, the median of its runs that have one: seeds are the independent units.

    Args:
      runs: R rows with the column seed; several of one seed differ in another key.
    """
    return pd.Series(value_R, index=runs["seed"].to_numpy()).groupby(level=0).median()


def _median(values_N: Floats) -> tuple[float, float, float]:
    """Median and interval; where some values are infinite, of their ranks (ours)."""
    if np.isfinite(values_N).all():
        summary = [float(value) for value in median_interval(values_N)]
        return summary[0], summary[1], summary[2]
    ordered_N, rank_N = np.unique(values_N, return_inverse=True)
    ranks = [float(rank) for rank in median_interval(rank_N.astype(float))]
    outward = zip(ranks, (np.floor, np.floor, np.ceil), strict=True)
    at = [int(toward(rank)) if np.isfinite(rank) else -1 for rank, toward in outward]
    middle, low, high = (float(ordered_N[i]) if i >= 0 else np.nan for i in at)
    return middle, low, high


def signed_rank(values_N: Floats, no_effect: float, *, log: bool = False) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; 1 if all are `no_effect`.

    Exact up to 50 values without ties, else with the normal approximation (SciPy).
    """
    if len(values_N) < 2:
        return float("nan")
    with np.errstate(divide="ignore"):
        shift_N = np.log(values_N) - np.log(no_effect) if log else values_N - no_effect
    if not shift_N.any():
        return 1.0
    finite_N = np.clip(shift_N, -np.finfo(float).max / 4, np.finfo(float).max / 4)
    return float(scipy.stats.wilcoxon(finite_N).pvalue)


def equivalence_p(values_N: Floats, low: float, high: float) -> float:
    """The larger p of two one-sided signed-rank tests: above `low`, and below `high` (TOST)."""
    if len(values_N) < 2:
        return float("nan")
    above = scipy.stats.wilcoxon(values_N - low, alternative="greater").pvalue
    below = scipy.stats.wilcoxon(values_N - high, alternative="less").pvalue
    return float(max(above, below))


def sign_p(yes: int, cases: int) -> float:
    """Two-sided p of the sign test that yes and no are equally likely."""
    return float(scipy.stats.binomtest(yes, cases).pvalue) if cases else float("nan")
