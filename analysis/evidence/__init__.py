"""What the tables say about one claim: functions from results to an effect with its interval.

One file per subject. A function is named in the claims' files as `file.function`; it takes the
`Cells` of the claim and the claim's arguments, and returns an `Evidence`. A parameter `no_effect`
or `threshold` is filled with the claim's, so that the interval and p ask the same question; a claim
without a value of no effect gives its threshold for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from tfc_jax.results import Results


@dataclass(frozen=True)
class Cells:
    """The runs that a claim speaks of.

    Attributes:
      results: of the claim's sweep; other runs than those of the cells are to be left alone.
      runs: by name of the cell, in the claim's order: rows of `runs` with the columns of
        `analysis.phases`; at least one row each.
    """

    results: Results
    runs: Mapping[str, pd.DataFrame]

    @property
    def all(self) -> pd.DataFrame:
        """Runs of all cells under one another, with the column `cell`."""
        frames = [frame.assign(cell=name) for name, frame in self.runs.items()]
        return pd.concat(frames, ignore_index=True)


@dataclass(frozen=True)
class Evidence:
    """An effect, how sure one can be of it, and from how many runs.

    Attributes:
      effect: the estimate, in the unit that the claim states.
      low, high: 95 % interval; NaN where there is none (then no verdict but INCONCLUSIVE).
      p: two-sided, against the claim's `no_effect`, not yet corrected; NaN for counts, which are no
        test.
      n: independent units: seeds, or runs where runs share no seed.
      detail: what else a reader needs, in one sentence: medians of both sides, censored runs.
    """

    effect: float
    low: float
    high: float
    p: float
    n: int
    detail: str
