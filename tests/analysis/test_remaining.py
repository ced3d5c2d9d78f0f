"""What is left of phase one after an intervention."""

import numpy as np
import pandas as pd
import pytest

from analysis.remaining import Ratios, in_phase_one, median_ratio, ratios, with_remaining


def runs_of(*rows: tuple[str, int, int | None, int | None]) -> pd.DataFrame:
    """Rows of intervention, seed, phase1_end, diverged_at; at step 100 of 1000."""
    runs = pd.DataFrame(rows, columns=["intervention", "seed", "phase1_end", "diverged_at"])
    runs = runs.astype({"phase1_end": "Int64", "diverged_at": "Int64"})
    return runs.assign(intervene_at=100, horizon=1000)


def test_a_seed_whose_control_had_ended_counts_in_no_arm() -> None:
    runs = runs_of(("none", 0, 90, None), ("sham", 0, 400, None), ("none", 1, 300, None))
    assert in_phase_one(runs).tolist() == [False, False, True]


def test_a_seed_whose_arm_ends_at_once_counts() -> None:
    runs = runs_of(("none", 0, None, None), ("rescale", 0, 95, None))
    assert in_phase_one(runs).tolist() == [True, True]


def test_a_seed_without_a_control_or_with_a_diverged_one_does_not_count() -> None:
    runs = runs_of(("sham", 0, 400, None), ("none", 1, None, 50))
    assert in_phase_one(runs).tolist() == [False, False]


def test_what_is_left_counts_from_the_intervention_and_is_at_least_one_update() -> None:
    runs = with_remaining(runs_of(("none", 0, 300, None), ("rescale", 0, 95, None)))
    assert runs["remaining"].tolist() == [200, 1]
    assert runs["open"].tolist() == [False, False]


def test_a_phase_that_did_not_end_is_open_at_what_was_left_until_the_last_step() -> None:
    run = with_remaining(runs_of(("none", 0, None, None))).iloc[0]
    assert (run["remaining"], run["open"]) == (900, True)


def test_ratios_pair_seeds_and_tell_bounds_from_values() -> None:
    arm = with_remaining(
        runs_of(*(("arm", s, end, None) for s, end in enumerate((200, None, 190))))
    )
    sham_ends = enumerate((300, 400, None))
    sham = with_remaining(runs_of(*(("sham", s, end, None) for s, end in sham_ends)))
    pairs = ratios(arm, sham.iloc[::-1])
    assert pairs.ratio.tolist() == [0.5, 3, 0.1]
    assert pairs.bound.tolist() == [0, 1, -1]


def test_a_seed_on_which_neither_ended_tells_nothing() -> None:
    neither = with_remaining(runs_of(("arm", 0, None, None)))
    pairs = ratios(neither, neither)
    assert (pairs.ratio.tolist(), pairs.unknown) == ([], 1)


def median_of(ratio: list[float], bound: list[int], unknown: int = 0) -> tuple[float, ...]:
    found = median_ratio(Ratios(np.array(ratio), np.array(bound), unknown))
    return found.least, found.most, found.low, found.high


def test_ratios_that_are_all_known_have_a_median_inside_its_interval() -> None:
    least, most, low, high = median_of([0.25, 0.5, 0.5, 0.75, 1.0], [0] * 5)
    assert least == most == 0.5
    assert 0.25 <= low < 0.5 < high <= 1.0


def test_bounds_on_one_side_leave_the_median_known_and_open_the_interval() -> None:
    least, most, low, high = median_of([0.5, 0.5, 0.5, 2.0, 2.0], [0, 0, 0, 1, 1])
    assert least == most == low == 0.5
    assert high == np.inf
    least, most, low, high = median_of([0.1, 0.1, 0.5, 0.5, 0.5], [-1, -1, 0, 0, 0])
    assert least == most == high == 0.5
    assert low == 0


@pytest.mark.parametrize(
    ("bound", "expected"),
    [([1, 1, 1], (0.5, np.inf, 0.4, np.inf)), ([-1, -1, -1], (0, 0.5, 0, 0.6))],
)
def test_a_median_that_rests_on_bounds_is_a_bound(
    bound: list[int], expected: tuple[float, ...]
) -> None:
    assert median_of([0.4, 0.5, 0.6], bound) == expected


def test_seeds_on_which_neither_ended_widen_what_the_median_can_be() -> None:
    assert median_of([0.5], [0], unknown=2) == (0, np.inf, 0, np.inf)
