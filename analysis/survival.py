"""Phase lengths of runs that may not have ended: medians, restricted means, log-rank test."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.stats
from lifelines import KaplanMeierFitter
from lifelines.utils import (
    median_survival_times,
    qth_survival_times,
    restricted_mean_survival_time,
)

from analysis.curves import Floats
from analysis.ordering import longer


@dataclass(frozen=True)
class Survival:
    """Kaplan-Meier summary of n runs; lengths in steps, inf where more than was observed."""

    median: float
    low: float
    high: float
    restricted_mean: float
    n: int
    ended: int
    horizon: float


@dataclass(frozen=True)
class LogRank:
    """Observed minus expected ends of the first group (> 0: it ends sooner), chi2(1), p."""

    excess: float
    chi2: float
    p: float


def times(runs: pd.DataFrame, end: str = "phase1_end") -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Length of each run, or how long it was seen to be at least; and whether it ended.

    The one rule for all comparisons of lengths: a run that did not end phase one counts until its
    horizon, also if it diverged, since it never will end it.

    Returns:
      time_R, steps; ended_R.
    """
    length = runs[end].to_numpy(dtype=float, na_value=np.nan)
    ended = np.isfinite(length)
    return np.where(ended, length, runs["horizon"].to_numpy(dtype=float)), ended


def kaplan_meier(runs: pd.DataFrame, end: str = "phase1_end") -> Survival:
    """Median length of phase one with its 95 % interval (log-log Greenwood), and restricted mean.

    Censored runs count until their horizon. A run that diverged never ends its phase: it stays at
    risk until its horizon, so that 1 - S is the cumulative incidence of the end under the
    competing event (all other censoring is at T). The restricted mean is over [0, horizon], the
    longest one; a mean over ended runs alone would favour conditions that often never end.

    Args:
      runs: one row per run, columns `end` (null if not ended) and horizon.
    """
    time, ended = times(runs, end)
    horizon = float(runs["horizon"].max())
    fitted = KaplanMeierFitter().fit(time, ended)
    # S = 1/2 is reached in floating point only up to rounding: 4 of 8 ended must give a median
    median = qth_survival_times(0.5 + 1e-9, fitted.survival_function_)
    low, high = median_survival_times(fitted.confidence_interval_).to_numpy()[0]
    return Survival(
        median=float(median),
        low=float(low),
        high=float(high),
        restricted_mean=float(restricted_mean_survival_time(fitted, t=horizon)),
        n=len(runs),
        ended=int(ended.sum()),
        horizon=horizon,
    )


@dataclass(frozen=True)
class Curve:
    """Share of runs still in phase one after each step, with its 95 % interval.

    Attributes:
      step: (E,) steps at which the share falls, from 0 to the horizon.
      share, low, high: (E,) from that step on.
      censored: (C,) steps at which runs were last seen, in phase one; those that diverged were not.
    """

    step: Floats
    share: Floats
    low: Floats
    high: Floats
    censored: Floats


def survival_curve(runs: pd.DataFrame) -> Curve:
    """Kaplan-Meier curve of phase one; interval log-log Greenwood, as `kaplan_meier` counts runs.

    Args:
      runs: columns phase1_end (null if not ended), horizon and diverged_at.
    """
    time, ended = times(runs)
    fitted = KaplanMeierFitter().fit(time, ended)
    low, high = fitted.confidence_interval_.to_numpy().T
    step = fitted.survival_function_.index.to_numpy(dtype=float)
    share = fitted.survival_function_.to_numpy()[:, 0]
    waiting = ~ended & runs["diverged_at"].isna().to_numpy(dtype=bool)
    return Curve(step, share, low, high, np.unique(time[waiting]))


def at_risk(runs: pd.DataFrame, steps: Floats) -> npt.NDArray[np.int64]:
    """Runs that had not ended phase one just before each step and were seen until it (`times`)."""
    time_N, _ = times(runs)
    return (time_N[:, None] >= steps).sum(axis=0)


def cliffs_delta(first: pd.DataFrame, second: pd.DataFrame) -> float:
    """Cliff's delta of two conditions' lengths: 1 if those of the first are all longer, -1 shorter.

    Over all pairs of one run of each; pairs whose order is not known (`ordering.longer`) count 0.
    """
    return float(np.nan_to_num(longer(*times(first), *times(second))).mean())


def stratified_logrank(first: pd.DataFrame, second: pd.DataFrame, stratum: str = "seed") -> LogRank:
    """Tests whether phase one ends at the same rate in two conditions, within strata.

    Seeds are shared between conditions, so each seed is a stratum: observed minus expected ends
    and their hypergeometric variances are summed over strata. A diverged run stays at risk until
    its horizon (`times`): as all other censoring is at T, that is Gray's test of cumulative
    incidences, of the same quantity as `kaplan_meier`'s curve.

    Returns:
      p is NaN when no stratum can tell the conditions apart.
    Source: Mantel (1966), Gray (1988); with pairs it is the chi2 of the sign test,
      (n+ - n-)^2 / (n+ + n-).
    """
    excess, variance = 0.0, 0.0
    for value in np.intersect1d(first[stratum], second[stratum]):
        parts = [frame[frame[stratum] == value] for frame in (first, second)]
        both = pd.concat(parts)
        in_first = np.repeat([True, False], [len(part) for part in parts])
        one, two = _excess(*times(both), in_first)
        excess, variance = excess + one, variance + two
    if variance == 0:
        return LogRank(excess, float("nan"), float("nan"))
    chi2 = excess**2 / variance
    return LogRank(excess, chi2, float(scipy.stats.chi2.sf(chi2, df=1)))


def _excess(
    time_N: Floats, ended_N: npt.NDArray[np.bool_], in_first_N: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Observed minus expected ends of the first group in one stratum, and its variance."""
    event_E = np.unique(time_N[ended_N])
    at_risk_ExN = time_N >= event_E[:, None]
    ends_ExN = (time_N == event_E[:, None]) & ended_N
    n, d = at_risk_ExN.sum(axis=1), ends_ExN.sum(axis=1)
    share = (at_risk_ExN & in_first_N).sum(axis=1) / n
    observed = (ends_ExN & in_first_N).sum(axis=1)
    spread = d * share * (1 - share) * (n - d) / np.maximum(n - 1, 1)
    return float((observed - d * share).sum()), float(spread.sum())
