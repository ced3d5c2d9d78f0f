"""Whether what samples share grows over the plateau."""

from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.curves import floats
from analysis.evidence import Cells, Evidence
from analysis.evidence.samples import by_seed, equivalence_p, of_sample
from analysis.evidence.windows import END, ends, median, middle_curves, unfinished


def rise(cells: Cells, column: str, no_effect: float = 0.0, end: str = END) -> Evidence:
    """Change of a column of the middle layer from step 0 to the plateau's end; median of seeds."""
    runs = cells.all
    curve = middle_curves(cells, runs, [column])[column]
    start_R = curve.at(np.zeros(len(runs)))
    end_R = curve.at(ends(runs, end))
    later_R = curve.at(ends(runs, "phase1_end_90"))
    detail = (
        f"{column} of the middle layer goes from {median(start_R):.3f} to "
        f"{median(end_R):.3f} ({median(later_R):.3f} where the loss has fallen by "
        f"10 %){unfinished(runs, end)}"
    )
    return of_sample(by_seed(runs, end_R - start_R).to_numpy(), no_effect, detail)


def rises_by_seed(
    cells: Cells, name: str, column: str, layer: int | None = None, end: str = END
) -> pd.Series:
    """Rise in a cell, by seed; of the middle layer, or of one."""
    runs = cells.runs[name]
    curve = middle_curves(cells, runs, [column], layer)[column]
    rise_R = curve.at(ends(runs, end)) - curve.at(np.zeros(len(runs)))
    return by_seed(runs, rise_R)


def level(cells: Cells, column: str, no_effect: float, end: str = END) -> Evidence:
    """Value of a column of the middle layer at the plateau's end, median over seeds."""
    runs = cells.all
    value_R = middle_curves(cells, runs, [column])[column].at(ends(runs, end))
    detail = f"{column} of the middle layer at {end}{unfinished(runs, end)}"
    return of_sample(by_seed(runs, value_R).to_numpy(), no_effect, detail)


def fall(cells: Cells, column: str, no_effect: float) -> Evidence:
    """Change of a column of the middle layer from the plateau's end to the last record."""
    runs = cells.all
    curve = middle_curves(cells, runs, [column])[column]
    end_R = np.where(runs["phase1_end"].notna(), ends(runs), np.nan)
    early_R, late_R = curve.at(end_R), curve.at(np.full(len(runs), np.inf))
    detail = (
        f"{column} of the middle layer goes from {median(early_R):.3f} at the plateau's end "
        f"to {median(late_R):.3f} at the last record"
    )
    return of_sample(by_seed(runs, late_R - early_R).to_numpy(), no_effect, detail)


def peak_against_end(
    cells: Cells, column: str, no_effect: float, threshold: float, end: str
) -> Evidence:
    """Step at which a column of the middle layer is largest, over that of the plateau's end.

    Counted from 1. p is that of the two one-sided tests that the ratio lies inside the threshold
    and its reciprocal (signed ranks of its logarithm). A run that did not end has no ratio.
    """
    runs = cells.all
    curve = middle_curves(cells, runs, [column])[column]
    known_R = np.isfinite(curve.values).any(axis=1)
    filled_RxM = np.where(np.isfinite(curve.values), curve.values, -np.inf)
    peak_R = np.where(known_R, curve.steps[filled_RxM.argmax(axis=1)], np.nan)
    end_R = floats(runs, end)
    ratio_S = by_seed(runs, (peak_R + 1) / (end_R + 1)).to_numpy()
    detail = f"median peak at step {median(peak_R):.0f}, {end} at {median(end_R):.0f}"
    left = int(np.isnan(end_R).sum())
    if left:
        detail += f"; {left} of {len(runs)} runs never come to {end} and have no ratio"
    found = of_sample(ratio_S, no_effect, detail, log=True)
    known = ratio_S[np.isfinite(ratio_S)]
    p = equivalence_p(np.log(known), np.log(no_effect**2 / threshold), np.log(threshold))
    return replace(found, p=p)
