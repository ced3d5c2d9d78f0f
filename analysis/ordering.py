"""Which of two lengths is longer, where some were not seen to end."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.stats

from analysis.curves import Floats

RESAMPLES = 1999


def longer(a_N: Floats, a_ended_N: npt.ArrayLike, b_M: Floats, b_ended_M: npt.ArrayLike) -> Floats:
    """1 where a is known to be longer than b, -1 shorter, 0 equal, NaN where it is not known.

    A length that did not end is longer than one that ended before it was last seen. Of two that
    did not end, nothing is known.

    Returns:
      (N, M).
    """
    a, a_ended = a_N[:, None], np.asarray(a_ended_N, bool)[:, None]
    b, b_ended = b_M[None, :], np.asarray(b_ended_M, bool)[None, :]
    shorter = a_ended & (a < b)
    is_longer = b_ended & (b < a)
    equal = a_ended & b_ended & (a == b)
    return np.where(is_longer, 1.0, np.where(shorter, -1.0, np.where(equal, 0.0, np.nan)))


def delta(
    order_NxM: Floats, seed_N: npt.ArrayLike, seed_M: npt.ArrayLike
) -> tuple[float, float, float]:
    """Cliff's delta, the mean order, with its 95 % percentile bootstrap interval over seeds.

    Whole seeds are resampled, with all their runs on both sides. Unknown orders count 0 in the
    effect, -1 in the lower and 1 in the upper end of the interval. Where no resample differs (all
    of one side are longer), the interval is the exact one of that many pairs, one per seed (ours):
    the bootstrap cannot see past the sample.
    """
    seeds, at = np.unique(np.concatenate([seed_N, seed_M]), return_inverse=True)
    counts = resampled(len(seeds))
    weight_a, weight_b = counts[:, at[: len(order_NxM)]], counts[:, at[len(order_NxM) :]]
    effect = float(np.nan_to_num(order_NxM).mean())
    if len(seeds) < 2:
        return effect, float("nan"), float("nan")
    ends = []
    for unknown, quantile in ((-1.0, 0.025), (1.0, 0.975)):
        filled = np.where(np.isnan(order_NxM), unknown, order_NxM)
        total = weight_a.sum(axis=1) * weight_b.sum(axis=1)
        kept = total > 0
        means = ((weight_a @ filled) * weight_b).sum(axis=1)[kept] / total[kept]
        ends.append(float(np.quantile(means, quantile)))
    return effect, *_not_degenerate(effect, ends[0], ends[1], len(seeds))


def _not_degenerate(effect: float, low: float, high: float, n: int) -> tuple[float, float]:
    least = 2 * 0.025 ** (1 / n) - 1  # n of n: the lower end of Clopper and Pearson, as a delta
    if effect >= 1 and low >= 1:
        return least, 1.0
    if effect <= -1 and high <= -1:
        return -1.0, -least
    return low, high


def resampled(n_seeds: int) -> Floats:
    """How often each seed is drawn, (RESAMPLES, n_seeds); the same for the same number."""
    draws = np.random.default_rng(0).multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), RESAMPLES)
    return draws.astype(float)


def trend_p(
    time_N: Floats, ended_N: npt.ArrayLike, covariate_N: Floats, stratum_N: npt.ArrayLike
) -> tuple[float, float]:
    """Tests whether lengths go with a covariate, within strata, under censoring.

    Each run's score is how many of its stratum it is known to be longer than, less how many it is
    shorter than (Gehan); the sum of score times rank of the covariate is compared with its exact
    variance under permutations within the stratum.

    Returns:
      z (> 0: longer at larger values) and two-sided p; NaN where no stratum can tell.
    Source: Gehan (1965); with two groups in one stratum it is Gehan's generalised Wilcoxon test.
    """
    total, variance = 0.0, 0.0
    frame = pd.DataFrame({"t": time_N, "ended": ended_N, "x": covariate_N})
    for _, group in frame.groupby(np.asarray(stratum_N)):
        t, ended = group["t"].to_numpy(), group["ended"].to_numpy()
        score = np.nan_to_num(longer(t, ended, t, ended)).sum(axis=1)
        x = group["x"].rank().to_numpy()
        x = x - x.mean()
        total += float(score @ x)
        variance += float((score @ score) * (x @ x)) / max(len(group) - 1, 1)
    if variance == 0:
        return float("nan"), float("nan")
    z = total / np.sqrt(variance)
    return float(z), float(2 * scipy.stats.norm.sf(abs(z)))
