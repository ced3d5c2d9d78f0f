"""How long phase one is: of two conditions, along a covariate, and beyond what was trained.

Runs that did not end phase one are censored at their horizon; those that diverged never end it and
stay at risk until their horizon, as in `analysis.survival`. None is dropped or averaged.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.curves import Floats
from analysis.evidence import Cells, Evidence
from analysis.evidence.counts import share
from analysis.evidence.samples import of_sample
from analysis.evidence.windows import floats
from analysis.ordering import delta, longer
from analysis.survival import Survival, kaplan_meier, stratified_logrank


def compare(cells: Cells, first: str, second: str, after: str | None = None) -> Evidence:
    """Cliff's delta of two cells' lengths: 1 if the first is always longer, -1 if always shorter.

    Pairs of which neither run ended are not ordered; the interval reaches as far as if all of them
    were ordered either way (ours). p is the log-rank test's, stratified by seed.

    Args:
      after: a column with a step, such as `intervene_at`: seeds of which either run had ended
        phase one before it are left out, since nothing was left to change.
    """
    a, b = _paired(cells.runs[first], cells.runs[second])
    left_out = 0
    if after:
        over = a["seed"][_over(a, after)].tolist() + b["seed"][_over(b, after)].tolist()
        left_out = len(set(over))
        a, b = a[~a["seed"].isin(over)], b[~b["seed"].isin(over)]
    if a.empty or b.empty:
        return Evidence(np.nan, np.nan, np.nan, np.nan, 0, f"no pair of {first} and {second}")
    effect, low, high = delta(longer(*_times(a), *_times(b)), a["seed"], b["seed"])
    p = stratified_logrank(a, b).p
    lengths = {first: kaplan_meier(a), second: kaplan_meier(b)}
    words = " against ".join(f"{describe(one)} ({name})" for name, one in lengths.items())
    detail = f"median length {words}{_ratio(*lengths.values())}"
    if left_out:
        detail += f"; {left_out} seeds had ended phase one before {after}"
    return Evidence(effect, low, high, 1.0 if np.isnan(p) else p, a["seed"].nunique(), detail)


def _paired(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    shared = np.intersect1d(a["seed"], b["seed"])
    return a[a["seed"].isin(shared)], b[b["seed"].isin(shared)]


def _over(runs: pd.DataFrame, after: str) -> npt.NDArray[np.bool_]:
    return np.asarray(floats(runs, "phase1_end") <= floats(runs, after))


def _times(runs: pd.DataFrame) -> tuple[Floats, Floats]:
    """Length or horizon of each run, and whether it ended."""
    end = floats(runs, "phase1_end")
    return np.where(np.isfinite(end), end, floats(runs, "horizon")), np.isfinite(end)


def describe(survival: Survival) -> str:
    """ "620", or "> 3000"; with the number of runs that did not end."""
    left = survival.n - survival.ended
    median = survival.median
    text = f"{median:.0f}" if np.isfinite(median) else f"> {survival.horizon:.0f}"
    return f"{text}, {left} of {survival.n} not ended" if left else text


def _ratio(first: Survival, second: Survival) -> str:
    known = np.isfinite([first.median, second.median]).all() and second.median > 0
    return f", ratio {first.median / second.median:.3g}" if known else ""


def unended(cells: Cells) -> Evidence:
    """Share of runs that trained until T without ending phase one; diverged ones do not count."""
    runs = cells.all
    diverged = int(runs["diverged"].sum())
    horizons = floats(runs, "horizon")
    detail = f"T is {horizons.min():.0f} to {horizons.max():.0f} updates; {diverged} diverged"
    return share(int(runs["censored"].sum()), len(runs), detail)


def plateau_to_descent(cells: Cells, no_effect: float) -> Evidence:
    """Steps above 0.99 of the prior loss over those from 0.99 to 0.90, median over runs (ours).

    An exponential decay has 0.105, a straight line 0.11, whatever their speed. A run that does not
    fall to 0.90 has no drop and counts as 0; one that does so within a step counts one step.
    """
    runs = cells.all
    end_R, low_R = floats(runs, "phase1_end"), floats(runs, "phase1_end_90")
    ratio_R = end_R / np.maximum(low_R - end_R, 1)
    ratio_R = np.where(np.isfinite(ratio_R), ratio_R, 0.0)
    fell = int(np.isfinite(low_R).sum())
    detail = f"median plateau {describe(kaplan_meier(runs))} updates; {fell} of {len(runs)} fell"
    return of_sample(ratio_R, no_effect, detail, log=True)
