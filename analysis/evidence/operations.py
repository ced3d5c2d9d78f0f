"""Whether what removes the collapse also removes the waiting."""

import numpy as np

from analysis.evidence import Cells, Evidence
from analysis.evidence.collapse import collapse_by_seed, common_step
from analysis.evidence.lengths import compare
from analysis.stats import median_interval


def removal_of_both(cells: Cells, reference: str, column: str, removed_below: float) -> Evidence:
    """Among operations that remove the collapse, the one that shortens phase one least.

    An operation removes the collapse if the interval of its median, up to the reference's end of
    phase one (`collapse`), lies wholly below `removed_below`; what it does to the length is
    `lengths.compare` with the reference. The claim is an implication, so operations that leave the
    collapse do not count, and the operation with the least shortening decides (ours).
    """
    until = common_step(cells, reference)
    rises = {name: collapse_by_seed(cells, name, column, until).dropna() for name in cells.runs}
    high = {name: float(median_interval(rise.to_numpy())[2]) for name, rise in rises.items()}
    others = [name for name in cells.runs if name != reference]
    found = {name: compare(cells, name, reference) for name in others}
    words = []
    for name in others:
        state = "removes" if high[name] < removed_below else "leaves"
        words.append(
            f"{name} {state} the collapse (rise {rises[name].median():.3f}), delta of the length "
            f"{found[name].effect:.2f}"
        )
    detail = f"{reference}: rise {rises[reference].median():.3f}; " + "; ".join(words)
    removing = [name for name in others if high[name] < removed_below]
    if not removing:
        return Evidence(np.nan, np.nan, np.nan, np.nan, 0, f"no operation removes it; {detail}")
    least = max(removing, key=lambda name: found[name].high)
    p = max(found[name].p for name in removing)
    one = found[least]
    return Evidence(one.effect, one.low, one.high, p, one.n, f"least: {least}; {detail}")
