"""Whether classes contract around their means late in training: neural collapse."""

import numpy as np

from analysis.curves import floats, last_until
from analysis.evidence import Cells, Evidence
from analysis.evidence.samples import by_seed, of_sample
from analysis.evidence.windows import median
from analysis.looks import looks


def contraction(cells: Cells, no_effect: float) -> Evidence:
    """nc1 of the last hidden layer at the last look over that at the plateau's end.

    nc1 is the spread within classes against that between them, on the training probe; it is 0 in
    neural collapse. Read at the first look at or after the plateau's end that has one (in total
    collapse there is none). A run that did not end its plateau has no ratio. Median over seeds.
    """
    runs = cells.all
    steps_M, nc1_RxM = looks(cells.results, runs, "nc1")
    after_RxM = np.isfinite(nc1_RxM) & (steps_M >= floats(runs, "phase1_end")[:, None])
    first_R = nc1_RxM[np.arange(len(runs)), after_RxM.argmax(axis=1)]
    first_R = np.where(after_RxM.any(axis=1), first_R, np.nan)
    last_R = last_until(nc1_RxM, steps_M, np.full(len(runs), np.inf))
    ratio_R = last_R / np.where(first_R > 0, first_R, np.nan)
    detail = (
        f"nc1 goes from {median(first_R):.3g} at the plateau's end to {median(last_R):.3g} at the "
        "last look (medians)"
    )
    return of_sample(by_seed(runs, ratio_R).to_numpy(), no_effect, detail, log=True)
