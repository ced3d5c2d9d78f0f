"""Whether two series of one run step at the same times: correlation against circular shifts."""

import numpy as np
import scipy.stats
from numpy.lib.stride_tricks import sliding_window_view

from analysis.curves import Floats

WINDOW = 21  # looks over which a trend is removed (ours)
MEDIAN = 5  # looks of the running median by which flutter is told from a step (ours)


def detrended(series_M: Floats, window: int = WINDOW) -> Floats:
    """The series less its centred moving mean, over its moving deviation; 0 where that is 0.

    Both trends go: that of the level, and that of the size of the steps, which is large at first
    in any curve of training and would align any two of them.
    """
    half = window // 2
    around = sliding_window_view(np.pad(series_M, half, mode="reflect"), window)
    spread = around.std(axis=1)
    floor = 1e-9 * np.abs(series_M).max(initial=0.0)  # rounding of the mean is no deviation
    safe = np.where(spread > floor, spread, 1.0)
    return np.where(spread > floor, (series_M - around.mean(axis=1)) / safe, 0.0)


def alignment(first_M: Floats, second_M: Floats) -> tuple[float, float]:
    """How much better two series fit in time than when one is shifted around (ours).

    Returns:
      excess: correlation of the detrended series less its mean over all circular shifts.
      z: normal score of the correlation's rank among those of all shifts; 0 is no better than
        any. Both are NaN where a series never moves, or is shorter than two windows.
    """
    if len(first_M) < 2 * WINDOW:
        return np.nan, np.nan
    first, second = (scipy.stats.zscore(detrended(series)) for series in (first_M, second_M))
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return np.nan, np.nan
    size = len(first)
    shifted = np.stack([np.roll(second, shift) for shift in range(size)])
    correlation = shifted @ first / size
    others = correlation[1:]
    below = np.sum(others < correlation[0]) + 0.5 * np.sum(others == correlation[0])
    return float(correlation[0] - others.mean()), float(scipy.stats.norm.ppf((below + 0.5) / size))


def running_median(values_RxM: Floats, window: int = MEDIAN) -> Floats:
    """Centred running median along the last axis; the ends repeat the first and last value."""
    half = window // 2
    padded = np.pad(values_RxM, ((0, 0), (half, half)), mode="edge")
    return np.asarray(np.median(sliding_window_view(padded, window, axis=1), axis=-1))
