"""Which of two curves moves first: lags at the peak of their cross-correlation, run by run."""

import numpy as np

from analysis.curves import WINDOW, Floats, smooth

MIN_OVERLAP = 0.5


def lead_lag(
    a_RxM: Floats, b_RxM: Floats, steps_M: Floats, max_lag: float, window: int = WINDOW
) -> Floats:
    """Lag of each run, in steps, at which the growth of `a` is most like the later growth of `b`.

    Positive: `a` leads `b` by so many steps; negative: it follows. The answer is exact to one
    record (definition ours: the largest positive value of `cross_correlation`).

    Args:
      a_RxM, b_RxM: the same runs and records; NaN where a record is not to count, such as after
        the end of the phase of interest.
      steps_M: of the records, ascending; uneven ones are interpolated onto an even grid.
      max_lag: in steps, of either sign.
      window: of the smoothing before differences are taken, in steps (`curves.smooth`).
    Returns:
      (R,); NaN for a run of which a curve is flat or too short, whose correlation is nowhere
      positive, or largest at `max_lag` itself, which is then no peak.
    """
    lags_K, correlation_RxK = cross_correlation(a_RxM, b_RxM, steps_M, max_lag, window)
    return peaks(lags_K, correlation_RxK)


def peaks(lags_K: Floats, correlation_RxK: Floats) -> Floats:
    """Lag of each row's largest value, (R,); NaN where that is not positive or at either end."""
    seen_RxK = np.where(np.isfinite(correlation_RxK), correlation_RxK, -np.inf)
    at_R = seen_RxK.argmax(axis=1)
    inside_R = (at_R > 0) & (at_R < len(lags_K) - 1) & (seen_RxK.max(axis=1) > 0)
    return np.where(inside_R, lags_K[at_R], np.nan)


def cross_correlation(
    a_RxM: Floats, b_RxM: Floats, steps_M: Floats, max_lag: float, window: int = WINDOW
) -> tuple[Floats, Floats]:
    """Pearson correlation of the growth of `a` at step t with that of `b` at t + lag.

    Growth is the difference of neighbouring records of the smoothed curve, so that two curves do
    not correlate merely because both have risen. Noise that both share, of the same batch,
    correlates at lag 0 alone; a wider `window` damps it, and blurs the lag.

    Returns:
      lags_K, in steps, -max_lag to max_lag; correlation_RxK, NaN where fewer than half of the
      pairs that there are at lag 0 are left, or where a curve does not move.
    """
    if len(steps_M) < 2:
        return np.zeros(1), np.full((len(a_RxM), 1), np.nan)
    spacing = float(np.median(np.diff(steps_M)))
    grid_G = np.arange(steps_M[0], steps_M[-1] + spacing / 2, spacing)
    growth_a_RxG, growth_b_RxG = (
        np.diff(_on_grid(smooth(x_RxM, steps_M, window), steps_M, grid_G), axis=1)
        for x_RxM in (a_RxM, b_RxM)
    )
    most = min(int(max_lag // spacing), growth_a_RxG.shape[1] - 1)
    offsets = range(-most, most + 1)
    correlation_RxK = np.stack(
        [_shifted(growth_a_RxG, growth_b_RxG, offset) for offset in offsets], axis=1
    )
    return spacing * np.array(offsets, dtype=float), correlation_RxK


def _on_grid(values_RxM: Floats, steps_M: Floats, grid_G: Floats) -> Floats:
    """Linear interpolation of each run between its first and last finite record; NaN outside."""
    out_RxG = np.full((len(values_RxM), len(grid_G)), np.nan)
    for out_G, row_M in zip(out_RxG, values_RxM, strict=True):
        finite_M = np.isfinite(row_M)
        if finite_M.any():
            x, y = steps_M[finite_M], row_M[finite_M]
            out_G[:] = np.interp(grid_G, x, y, left=np.nan, right=np.nan)
    return out_RxG


def _shifted(a_RxG: Floats, b_RxG: Floats, offset: int) -> Floats:
    """Correlation of a(t) with b(t + offset), one per run."""
    length = a_RxG.shape[1]
    early = slice(max(0, -offset), length - max(0, offset))
    late = slice(max(0, offset), length - max(0, -offset))
    full_R = (np.isfinite(a_RxG) & np.isfinite(b_RxG)).sum(axis=1)
    return _pearson(a_RxG[:, early], b_RxG[:, late], MIN_OVERLAP * full_R)


def _pearson(a_RxG: Floats, b_RxG: Floats, least_R: Floats) -> Floats:
    """Pearson correlation over the pairs that are finite; NaN for fewer than `least_R` or 3."""
    both_RxG = np.isfinite(a_RxG) & np.isfinite(b_RxG)
    count_R = both_RxG.sum(axis=1)
    centred = []
    for x_RxG in (a_RxG, b_RxG):
        kept_RxG = np.where(both_RxG, x_RxG, 0.0)
        mean_R = kept_RxG.sum(axis=1) / np.maximum(count_R, 1)
        centred.append(np.where(both_RxG, x_RxG - mean_R[:, None], 0.0))
    covariance_R = (centred[0] * centred[1]).sum(axis=1)
    scale_R = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    known_R = (count_R >= np.maximum(least_R, 3)) & (scale_R > 0)
    return np.where(known_R, covariance_R / np.where(known_R, scale_R, 1.0), np.nan)
