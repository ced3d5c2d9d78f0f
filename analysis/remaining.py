"""What is left of phase one after an intervention, against the sham on the same seed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.curves import Floats, floats
from analysis.stats import median_interval

SHAM, CONTROL = "sham", "none"


def in_phase_one(runs: pd.DataFrame) -> pd.Series:
    """Whether each run's seed was still in phase one at intervene_at, by its control arm.

    All arms of a seed share their past, so a seed counts in all arms or in none. The control arm
    is the one to ask: an end that it reaches later, others may reach at once. A seed without a
    control arm, or whose control diverged before, does not count.
    """
    return runs["seed"].isin(waiting_seeds(runs[runs["intervention"] == CONTROL]))


def waiting_seeds(control: pd.DataFrame) -> pd.Index:
    """Seeds of which the control arm had neither ended phase one nor diverged at intervene_at."""
    control = control.drop_duplicates("seed").set_index("seed")
    end = control["phase1_end"].astype(float).fillna(np.inf)
    diverged_at = control["diverged_at"].astype(float).fillna(np.inf)
    waiting = np.minimum(end, diverged_at) > control["intervene_at"].astype(float)
    return waiting.index[waiting]


def with_remaining(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns the runs with `remaining`, in updates, and `open`: it is at least that.

    Remaining is phase1_end - intervene_at, at least 1: the smoothed loss may cross before the
    intervention that makes it fall. A run that did not end is open at what was left until T.
    """
    end = floats(runs, "phase1_end")
    horizon = runs["horizon"].to_numpy(dtype=float)
    is_open = ~np.isfinite(end)
    remaining = np.where(is_open, horizon, end) - runs["intervene_at"].to_numpy(dtype=float)
    return runs.assign(remaining=np.maximum(remaining, 1.0), open=is_open)


@dataclass(frozen=True)
class Ratios:
    """Remaining lengths of an arm over those of the sham, one per seed that tells.

    Attributes:
      ratio: below 1, the arm shortens what is left.
      bound: +1 where the arm had not ended (the ratio is at least that), -1 where the sham had
        not (at most that), 0 where both ended.
      unknown: how many seeds tell nothing, since neither ended.
    """

    ratio: Floats
    bound: npt.NDArray[np.int64]
    unknown: int = 0


def ratios(arm: pd.DataFrame, sham: pd.DataFrame) -> Ratios:
    """Pairs runs with `with_remaining`'s columns by seed."""
    pairs = arm.merge(sham, on="seed", suffixes=("", "_sham"))
    neither = pairs["open"] & pairs["open_sham"]
    pairs = pairs[~neither]
    bound = pairs["open"].astype(int) - pairs["open_sham"].astype(int)
    ratio = pairs["remaining"] / pairs["remaining_sham"]
    count = int(neither.sum())
    return Ratios(ratio.to_numpy(dtype=float), bound.to_numpy(dtype=np.int64), count)


@dataclass(frozen=True)
class MedianRatio:
    """Median ratio over seeds: `least` and `most` it can be, equal where it is known; interval."""

    least: float
    most: float
    low: float
    high: float


def median_ratio(pairs: Ratios) -> MedianRatio:
    """Median of ratios of which some are bounds, with its 95 % bootstrap interval over seeds.

    Every ratio that is not known takes the least value it can have for the lower ends and the
    largest for the upper ends (as `ordering.delta` does): 0 where the sham had not ended, infinity
    where the arm had not, either where neither had. An end that rests on infinity is infinite.
    """
    nothing = np.ones(pairs.unknown)
    least_R = np.concatenate([np.where(pairs.bound < 0, 0.0, pairs.ratio), 0 * nothing])
    beyond = 1e6 * max(float(pairs.ratio.max(initial=1.0)), 1.0)  # for infinity: it has a mean
    most_R = np.concatenate([np.where(pairs.bound > 0, beyond, pairs.ratio), beyond * nothing])
    least, low, _ = median_interval(least_R)
    most, _, high = median_interval(most_R)
    upper = [np.inf if end > beyond / 1e5 else float(end) for end in (most, high)]
    return MedianRatio(float(least), upper[0], float(low), upper[1])
