"""What the tables say about one claim: functions from results to an effect with its interval.

One file per subject. A function is named in `claims.yaml` as `file.function`; it takes the results
of the claim's sweep, restricted to its cells, and the claim's arguments, and returns an `Evidence`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Evidence:
    """An effect, how sure one can be of it, and from how many runs.

    Attributes:
      effect: the estimate, in the unit that `claims.yaml` states.
      low, high: 95 % interval; NaN where there is none (then no verdict but INCONCLUSIVE).
      p: against no effect, not yet corrected; NaN for counts, which are no test.
      n: independent units: seeds, or runs where runs share no seed.
      detail: what else a reader needs, in one sentence: medians of both sides, censored runs.
    """

    effect: float
    low: float
    high: float
    p: float
    n: int
    detail: str
