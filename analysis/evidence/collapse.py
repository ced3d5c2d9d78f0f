"""How far features collapse, over a time that all compared networks share.

A rise that is read at a run's own end of phase one is 0 by construction where that is over within a
record, whatever its features do. Collapse is therefore (ours) the largest value of the middle
layer's cosine, a centred mean over 50 steps, from step 0 up to the median end of phase one of the
reference, less that at step 0. Where fewer than half of the reference's runs ended, that is up to
the last record. Being a largest value it is never below 0.
"""

import numpy as np
import pandas as pd

from analysis.curves import Floats
from analysis.evidence import Cells, Evidence
from analysis.evidence.samples import by_seed, of_sample
from analysis.evidence.windows import middle_curves
from analysis.survival import kaplan_meier


def rise(cells: Cells, of: str, reference: str, column: str, no_effect: float) -> Evidence:
    """Collapse of one cell up to the reference's end of phase one, median over seeds."""
    until = common_step(cells, reference)
    values = {name: collapse_by_seed(cells, name, column, until) for name in (of, reference)}
    medians = ", ".join(f"{value.median():.3f} ({name})" for name, value in values.items())
    detail = f"largest rise of {column}, middle layer, {_until(until)}: {medians}"
    return of_sample(values[of].to_numpy(), no_effect, detail)


def difference(cells: Cells, first: str, second: str, column: str, no_effect: float) -> Evidence:
    """Collapse of the first cell less that of the second, paired by seed, median over seeds.

    Both up to the median end of phase one of the second.
    """
    until = common_step(cells, second)
    values = {name: collapse_by_seed(cells, name, column, until) for name in (first, second)}
    both = pd.concat(values, axis=1, join="inner")
    medians = " against ".join(f"{both[name].median():.3f} ({name})" for name in values)
    detail = f"median rise of {column}, middle layer, {_until(until)}: {medians}"
    return of_sample((both[first] - both[second]).to_numpy(dtype=float), no_effect, detail)


def common_step(cells: Cells, reference: str) -> float:
    """Median end of phase one of the reference, updates; inf if fewer than half ended."""
    return kaplan_meier(cells.runs[reference]).median


def collapse_by_seed(cells: Cells, name: str, column: str, until: float) -> pd.Series:
    """Largest value up to a step less that at step 0, by seed (median over a seed's runs)."""
    runs = cells.runs[name]
    curve = middle_curves(cells, runs, [column])[column]
    largest_R = _largest(curve.values, curve.steps <= until)
    return by_seed(runs, largest_R - curve.at(np.zeros(len(runs))))


def _largest(values_RxM: Floats, counted_M: np.ndarray) -> Floats:
    """NaN of a run that has no value."""
    values_RxM = np.where(counted_M & np.isfinite(values_RxM), values_RxM, -np.inf)
    largest_R = values_RxM.max(axis=1)
    return np.where(np.isfinite(largest_R), largest_R, np.nan)


def _until(step: float) -> str:
    return f"up to step {step:.0f}" if np.isfinite(step) else "up to the last record"
