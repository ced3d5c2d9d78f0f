"""Whether what samples share grows over the plateau."""

import numpy as np

from analysis.evidence import Cells, Evidence
from analysis.evidence.samples import of_sample
from analysis.evidence.windows import END, ends, middle_curves, unfinished


def rise(cells: Cells, column: str, no_effect: float = 0.0, end: str = END) -> Evidence:
    """Change of a column of the middle layer from step 0 to the plateau's end, median over runs."""
    runs = cells.all
    curve = middle_curves(cells, runs, [column])[column]
    start_R = curve.at(np.zeros(len(runs)))
    end_R = curve.at(ends(runs, end))
    later_R = curve.at(ends(runs, "phase1_end_90"))
    detail = (
        f"{column} of the middle layer goes from {np.nanmedian(start_R):.3f} to "
        f"{np.nanmedian(end_R):.3f} ({np.nanmedian(later_R):.3f} where the loss has fallen by "
        f"10 %){unfinished(runs, end)}"
    )
    return of_sample(end_R - start_R, no_effect, detail)
