"""Seeds are an axis: medians over runs with intervals, and corrected p values."""

from collections.abc import Sequence

import numpy as np
import scipy.stats

from analysis.curves import Floats

RESAMPLES = 999


def median_interval(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Median over the first axis (runs) with its 95 % percentile bootstrap interval.

    Whole runs are resampled, with a fixed generator: the same data give the same interval. NaN
    in a column gives NaN there. BCa is not used: its acceleration comes from a jackknife, which
    fails for the median.

    Args:
      values: (R, ...), R runs.
    Returns:
      median, low, high, each (...); low and high are NaN for a single run.
    """
    median = np.asarray(np.median(values, axis=0))
    low, high = np.full(median.shape, np.nan), np.full(median.shape, np.nan)
    whole = np.isfinite(values).all(axis=0)
    if len(values) > 1 and whole.any():
        low[whole], high[whole] = _bootstrap(values[:, whole])
    return median, low, high


def _bootstrap(values: Floats) -> tuple[Floats, Floats]:
    interval = scipy.stats.bootstrap(
        (values,),
        np.median,
        axis=0,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return interval.low, interval.high


def holm(p_values: Sequence[float], tests: int | None = None) -> Floats:
    """Holm-corrected p values, in the given order; NaN (no test) stays NaN.

    Args:
      tests: size of the family, at least as large as the number of p values that are not NaN (the
        default): tests that were planned and could not be made count, as if their p were 1.
    """
    p = np.asarray(p_values, dtype=float)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    count = max(tests or 0, len(order))
    factors = np.arange(count, count - len(order), -1)
    corrected = np.full(p.shape, np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return corrected
