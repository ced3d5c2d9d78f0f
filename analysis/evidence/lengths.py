"""How long phase one is: of two conditions, along a covariate, and beyond what was trained.

Runs that did not end phase one are censored at their horizon; those that diverged never end it and
stay at risk until their horizon, as in `analysis.survival`. None is dropped or averaged.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.curves import floats
from analysis.evidence import Cells, Evidence
from analysis.evidence.counts import share
from analysis.evidence.samples import by_seed, of_sample
from analysis.evidence.windows import END
from analysis.ordering import delta, longer
from analysis.remaining import waiting_seeds
from analysis.survival import Survival, kaplan_meier, stratified_logrank, times


def compare(
    cells: Cells,
    first: str,
    second: str,
    control: str | None = None,
    ends: Mapping[str, str] | None = None,
) -> Evidence:
    """Cliff's delta of two cells' lengths: 1 if the first is always longer, -1 if always shorter.

    Over all pairs of one run of each, with whole seeds resampled. Pairs of which neither run ended
    are not ordered; the interval reaches as far as if all of them were ordered either way (ours).
    p is the log-rank test's, stratified by seed.

    Args:
      control: the cell that nothing was done to. Seeds of which it had ended phase one before
        intervene_at are left out, as in `analysis.remaining`: there was nothing left to change.
        What the compared arms did then would select by the outcome.
      ends: by cell, the column of its end where it is not phase1_end.
    """
    a, b = (_with_end(cells.runs[name], (ends or {}).get(name, END)) for name in (first, second))
    seeds = np.intersect1d(a["seed"], b["seed"])
    kept = np.intersect1d(seeds, waiting_seeds(cells.runs[control])) if control else seeds
    a, b = (runs[runs["seed"].isin(kept)] for runs in (a, b))
    if a.empty or b.empty:
        return Evidence(np.nan, np.nan, np.nan, np.nan, 0, f"no pair of {first} and {second}")
    effect, low, high = delta(longer(*times(a), *times(b)), a["seed"], b["seed"])
    p = stratified_logrank(a, b).p
    lengths = {first: kaplan_meier(a), second: kaplan_meier(b)}
    words = " against ".join(f"{describe(one)} ({name})" for name, one in lengths.items())
    detail = f"median length {words}{_ratio(*lengths.values())}{_diverged(a, b)}"
    if control:
        left_out = len(seeds) - len(kept)
        detail += f"; {left_out} seeds had ended phase one before intervene_at ({control})"
    return Evidence(effect, low, high, 1.0 if np.isnan(p) else p, len(kept), detail)


def _with_end(runs: pd.DataFrame, end: str) -> pd.DataFrame:
    return runs.assign(**{END: runs[end]})


def _diverged(a: pd.DataFrame, b: pd.DataFrame) -> str:
    count = int(a["diverged"].sum() + b["diverged"].sum())
    return f"; {count} runs diverged and count as never ending" if count else ""


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
    """Steps above 0.99 of the prior loss over those from 0.99 to 0.90, median over seeds (ours).

    An exponential decay has 0.105, a straight line 0.11, whatever their speed. A run that does not
    fall to 0.90 within T has no ratio and is left out, which the detail says; one that does so
    within a step counts one step.
    """
    runs = cells.all
    end_R, low_R = floats(runs, "phase1_end"), floats(runs, "phase1_end_90")
    ratio_R = end_R / np.maximum(low_R - end_R, 1)
    fell = int(np.isfinite(low_R).sum())
    lengths = describe(kaplan_meier(runs))
    detail = f"median plateau {lengths} updates; {fell} of {len(runs)} fell to 0.90 and count"
    return of_sample(by_seed(runs, ratio_R).to_numpy(), no_effect, detail, log=True)
