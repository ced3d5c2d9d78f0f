"""From an effect with its interval to one of four words: one rule for every claim (ours).

A claim states, before any data, the value of no effect, a direction and a threshold: the smallest
effect of interest, as a value of the effect. Where nothing would be the opposite of the claim, as
of "almost the same", there is no value of no effect, and p is against the threshold.

| verdict | when |
|---|---|
| SUPPORTED | the 95 % interval lies beyond the threshold, in the stated direction, and p < 0.05 |
| OPPOSITE | it lies beyond no effect, if there is one, on the other side, and p < 0.05 |
| NOT SUPPORTED | it lies short of the threshold: what there is, is smaller than of interest |
| INCONCLUSIVE | anything else: too few runs, or an effect near the threshold |

`either` (the sign is open): SUPPORTED on either side, never OPPOSITE. `within` (two things are the
same up to the threshold): SUPPORTED inside, NOT SUPPORTED outside. For both, the threshold is
mirrored at no effect: 2 no_effect - threshold, of ratios no_effect^2 / threshold. p is corrected by
Holm within the family. Below six units everything is INCONCLUSIVE: even the range of five values
covers their median in less than 95 % of cases.

Counts have no p and need none: `above` means that it happens in more than the threshold's share of
cases, `below` that it never happened and, in that many cases, would have if its share were the
threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.evidence import Evidence

Direction = Literal["above", "below", "either", "within"]

SUPPORTED, NOT_SUPPORTED = "SUPPORTED", "NOT SUPPORTED"
OPPOSITE, INCONCLUSIVE, NOT_JUDGED = "OPPOSITE", "INCONCLUSIVE", "NOT JUDGED"
VERDICTS = (SUPPORTED, NOT_SUPPORTED, OPPOSITE, INCONCLUSIVE, NOT_JUDGED)
ALPHA = 0.05
FEWEST = 6


@dataclass(frozen=True)
class Rule:
    """What a claim fixes before data.

    Attributes:
      no_effect: None where a claim has no opposite; `either` and `within` need one.
      threshold: a value of the effect, on the side of `direction`; for `either` and `within` the
        upper one, mirrored at `no_effect`.
      ratio: mirror by division.
      count: a share of cases with its exact interval, which needs no p.
    """

    direction: Direction
    no_effect: float | None
    threshold: float
    ratio: bool = False
    count: bool = False

    @property
    def null(self) -> float:
        """The value of the effect that p is against."""
        return self.threshold if self.no_effect is None else self.no_effect

    @property
    def mirrored(self) -> float:
        """The threshold on the other side of no effect; NaN without one."""
        if self.no_effect is None:
            return float("nan")
        if self.ratio:
            return self.no_effect**2 / self.threshold
        return 2 * self.no_effect - self.threshold


def verdict(rule: Rule, evidence: Evidence, p: float) -> str:
    """Returns the verdict on one claim.

    Args:
      p: corrected; NaN is no test, and then only counts and small effects can be judged.
    """
    low, high = evidence.low, evidence.high
    if np.isnan(evidence.effect) or not low <= high:  # also when one of them is NaN
        return INCONCLUSIVE
    if rule.count:
        return _of_count(rule, evidence)
    if evidence.n < FEWEST:
        return INCONCLUSIVE
    if rule.direction in ("either", "within"):
        return _of_mirrored(rule, low, high, p)
    sign = 1 if rule.direction == "above" else -1
    near, far = sorted((sign * low, sign * high))
    if near > sign * rule.threshold and p < ALPHA:
        return SUPPORTED
    if rule.no_effect is not None and far < sign * rule.no_effect and p < ALPHA:
        return OPPOSITE
    return NOT_SUPPORTED if far < sign * rule.threshold else INCONCLUSIVE


def _of_mirrored(rule: Rule, low: float, high: float, p: float) -> str:
    inside = rule.mirrored < low and high < rule.threshold
    outside = low > rule.threshold or high < rule.mirrored
    holds, fails = (inside, outside) if rule.direction == "within" else (outside, inside)
    if holds and p < ALPHA:
        return SUPPORTED
    return NOT_SUPPORTED if fails else INCONCLUSIVE


def _of_count(rule: Rule, evidence: Evidence) -> str:
    if rule.direction == "below":
        if evidence.effect > 0:
            return NOT_SUPPORTED
        return SUPPORTED if evidence.high < rule.threshold else INCONCLUSIVE
    if evidence.low > rule.threshold:
        return SUPPORTED
    return NOT_SUPPORTED if evidence.high < rule.threshold else INCONCLUSIVE


def verdict_of_all(parts: Sequence[tuple[Rule, Evidence]], p: float) -> str:
    """Verdict on a claim that several things hold together (intersection-union).

    SUPPORTED and OPPOSITE only if every part is; one part that is shown not to hold, or to hold the
    other way, makes it NOT SUPPORTED.

    Args:
      p: the largest of the parts', corrected: the test of all of them needs no other correction.
    """
    found = [verdict(rule, evidence, p) for rule, evidence in parts]
    if len(set(found)) == 1:
        return found[0]
    # A counter-example is judged by its own p, not by the largest one of the parts.
    own = [verdict(rule, evidence, evidence.p) for rule, evidence in parts]
    return NOT_SUPPORTED if {NOT_SUPPORTED, OPPOSITE} & set(own) else INCONCLUSIVE


def weakest(parts: Sequence[tuple[Rule, Evidence]]) -> int:
    """Returns the part that decides: the worst verdict, then the least beyond its threshold."""
    order = (OPPOSITE, NOT_SUPPORTED, INCONCLUSIVE, SUPPORTED)

    def strength(at: int) -> tuple[int, float]:
        rule, evidence = parts[at]
        return order.index(verdict(rule, evidence, evidence.p)), _margin(rule, evidence)

    return min(range(len(parts)), key=strength)


def _margin(rule: Rule, evidence: Evidence) -> float:
    """How far the interval lies beyond the threshold; negative short of it; -inf if unknown."""
    low, high = evidence.low, evidence.high
    above, below = low - rule.threshold, rule.mirrored - high
    margin = {
        "above": above,
        "below": rule.threshold - high,
        "either": max(above, below),
        "within": min(rule.threshold - high, low - rule.mirrored),
    }[rule.direction]
    return -np.inf if np.isnan(margin) else float(margin)
