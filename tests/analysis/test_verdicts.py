"""One rule turns an effect with its interval into a word."""

import numpy as np
import pytest

from analysis.evidence import Evidence
from analysis.verdicts import (
    INCONCLUSIVE,
    NOT_SUPPORTED,
    OPPOSITE,
    SUPPORTED,
    Rule,
    verdict,
    verdict_of_all,
    weakest,
)

NAN = float("nan")
ABOVE = Rule("above", no_effect=0, threshold=0.02)
BELOW = Rule("below", no_effect=0, threshold=-0.3)
EITHER = Rule("either", no_effect=0, threshold=0.3)
WITHIN = Rule("within", no_effect=1, threshold=2, ratio=True)
EXISTS = Rule("above", no_effect=0, threshold=0.05, count=True)
NEVER = Rule("below", no_effect=0, threshold=0.05, count=True)


def evidence(low: float, high: float, p: float = 0.001, effect: float | None = None) -> Evidence:
    return Evidence((low + high) / 2 if effect is None else effect, low, high, p, 16, "")


@pytest.mark.parametrize(
    ("rule", "low", "high", "p", "expected"),
    [
        (ABOVE, 0.03, 0.05, 0.001, SUPPORTED),
        (ABOVE, 0.03, 0.05, 0.06, INCONCLUSIVE),
        (ABOVE, 0.03, 0.05, NAN, INCONCLUSIVE),
        (ABOVE, 0.01, 0.05, 0.001, INCONCLUSIVE),
        (ABOVE, 0.005, 0.01, 0.001, NOT_SUPPORTED),  # significant, and smaller than of interest
        (ABOVE, -0.01, 0.01, 0.9, NOT_SUPPORTED),
        (ABOVE, -0.05, 0.05, 0.9, INCONCLUSIVE),
        (ABOVE, -0.05, -0.03, 0.001, OPPOSITE),
        (ABOVE, -0.05, -0.03, 0.2, NOT_SUPPORTED),
        (ABOVE, 0.02, 0.05, 0.001, INCONCLUSIVE),  # touches the threshold
        (ABOVE, NAN, NAN, 0.001, INCONCLUSIVE),
        (BELOW, -0.9, -0.4, 0.001, SUPPORTED),
        (BELOW, -0.9, -0.2, 0.001, INCONCLUSIVE),
        (BELOW, -0.2, 0.1, 0.5, NOT_SUPPORTED),
        (BELOW, 0.2, 0.9, 0.001, OPPOSITE),
        (EITHER, 0.4, 0.9, 0.001, SUPPORTED),
        (EITHER, -0.9, -0.4, 0.001, SUPPORTED),
        (EITHER, -0.9, -0.4, 0.2, INCONCLUSIVE),
        (EITHER, -0.2, 0.2, 0.9, NOT_SUPPORTED),
        (EITHER, 0.1, 0.9, 0.001, INCONCLUSIVE),
        (WITHIN, 0.6, 1.5, 0.001, SUPPORTED),
        (WITHIN, 0.4, 1.5, 0.001, INCONCLUSIVE),
        (WITHIN, 2.1, 3.0, 0.9, NOT_SUPPORTED),
        (WITHIN, 0.2, 0.4, 0.9, NOT_SUPPORTED),
        (EXISTS, 0.1, 0.5, NAN, SUPPORTED),
        (EXISTS, 0.01, 0.5, NAN, INCONCLUSIVE),
        (EXISTS, 0.0, 0.03, NAN, NOT_SUPPORTED),
    ],
)
def test_the_interval_and_p_decide(
    rule: Rule, low: float, high: float, p: float, expected: str
) -> None:
    assert verdict(rule, evidence(low, high, p), p) == expected


@pytest.mark.parametrize(
    ("effect", "high", "expected"),
    [
        (0.0, 0.03, SUPPORTED),
        (0.0, 0.2, INCONCLUSIVE),  # never seen, in too few cases
        (0.01, 0.03, NOT_SUPPORTED),  # one counter-example is enough
    ],
)
def test_never_is_refuted_by_one_case(effect: float, high: float, expected: str) -> None:
    assert verdict(NEVER, evidence(0.0, high, NAN, effect), NAN) == expected


def test_a_ratio_may_be_infinite() -> None:
    rule = Rule("above", no_effect=1, threshold=3, ratio=True)
    assert verdict(rule, evidence(7, np.inf, effect=np.inf), 0.001) == SUPPORTED
    assert verdict(rule, evidence(np.inf, np.inf, effect=np.inf), 0.001) == SUPPORTED
    assert verdict(rule, evidence(2, np.inf, effect=np.inf), 0.001) == INCONCLUSIVE


def test_five_units_are_too_few_for_any_verdict_but_counts() -> None:
    found = Evidence(0.04, 0.03, 0.05, 0.001, 5, "")
    assert verdict(ABOVE, found, 0.001) == INCONCLUSIVE
    assert verdict(EXISTS, Evidence(1.0, 0.48, 1.0, NAN, 5, ""), NAN) == SUPPORTED
    # the median lies outside of n values with probability 2 / 2^n
    assert 2 / 2**5 > 0.05 > 2 / 2**6


def test_null_on_the_threshold_leaves_no_room_for_not_supported() -> None:
    rule = Rule("below", no_effect=0.02, threshold=0.02)
    assert verdict(rule, evidence(0.03, 0.05), 0.001) == OPPOSITE
    assert verdict(rule, evidence(-0.01, 0.01), 0.001) == SUPPORTED
    assert verdict(rule, evidence(0.01, 0.03), 0.5) == INCONCLUSIVE


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.91, 0.93, NOT_SUPPORTED), (0.96, 0.98, SUPPORTED), (0.94, 0.96, INCONCLUSIVE)],
)
def test_a_claim_without_an_opposite_is_at_most_not_supported(
    low: float, high: float, expected: str
) -> None:
    rule = Rule("above", no_effect=None, threshold=0.95)
    assert rule.null == 0.95
    assert verdict(rule, evidence(low, high), 0.001) == expected
    assert weakest([(rule, evidence(0.97, 0.99)), (rule, evidence(low, high))]) == 1


def test_thresholds_of_ratios_are_mirrored_by_division() -> None:
    assert WITHIN.mirrored == 0.5
    assert EITHER.mirrored == -0.3


YES, NO, AGAINST, OPEN = (
    (ABOVE, evidence(*ends)) for ends in ((0.03, 0.05), (-0.01, 0.01), (-0.05, -0.03), (0.0, 0.03))
)


@pytest.mark.parametrize(
    ("parts", "p", "expected"),
    [
        ([YES, YES], 0.01, SUPPORTED),
        ([YES, YES], 0.2, INCONCLUSIVE),
        ([YES, OPEN], 0.01, INCONCLUSIVE),
        ([YES, NO], 0.2, NOT_SUPPORTED),
        ([YES, AGAINST], 0.2, NOT_SUPPORTED),
        ([AGAINST, AGAINST], 0.01, OPPOSITE),
        ([OPEN, NO], 0.2, NOT_SUPPORTED),
    ],
)
def test_all_parts_must_hold(parts: list[tuple[Rule, Evidence]], p: float, expected: str) -> None:
    assert verdict_of_all(parts, p) == expected


def test_the_part_that_holds_least_is_the_weakest() -> None:
    assert weakest([YES, OPEN, YES]) == 1
    assert weakest([YES, OPEN, NO, AGAINST]) == 3
    stronger = (ABOVE, evidence(0.04, 0.05))
    assert weakest([stronger, YES, stronger]) == 1
    assert weakest([YES, (ABOVE, evidence(NAN, NAN))]) == 1
