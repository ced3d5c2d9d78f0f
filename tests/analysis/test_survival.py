"""Medians under censoring, and the stratified log-rank test."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from lifelines.statistics import logrank_test

from analysis.survival import (
    at_risk,
    cliffs_delta,
    kaplan_meier,
    stratified_logrank,
    survival_curve,
)


def runs(
    ends: list[float | None], horizon: float = 20, diverged_at: dict[int, float] | None = None
) -> pd.DataFrame:
    frame = pd.DataFrame({"phase1_end": pd.array(ends, dtype="Float64"), "horizon": horizon})
    at = pd.Series(diverged_at or {}, dtype=float).reindex(frame.index)
    return frame.assign(diverged_at=at, seed=np.arange(len(ends)))


def test_without_censoring_the_median_is_the_middle_run() -> None:
    survival = kaplan_meier(runs([5, 9, 6, 8, 7]))
    assert survival.median == 7
    assert survival.low <= 7 <= survival.high
    assert (survival.n, survival.ended) == (5, 5)


def test_the_median_is_reached_when_exactly_half_have_ended() -> None:
    assert kaplan_meier(runs([5, 6, 7, 8, None, None, None, None])).median == 8


def test_the_median_is_infinite_when_fewer_than_half_have_ended() -> None:
    survival = kaplan_meier(runs([5, 6, 7, None, None, None, None, None]))
    assert survival.median == np.inf
    assert survival.ended == 3


def test_no_run_that_ended_leaves_everything_open() -> None:
    survival = kaplan_meier(runs([None] * 4))
    assert (survival.median, survival.low, survival.high) == (np.inf, np.inf, np.inf)
    assert survival.restricted_mean == 20


def test_the_restricted_mean_counts_censored_runs_until_the_horizon() -> None:
    # the area under the survival curve of runs observed until T is the mean of min(length, T)
    expected = np.mean([5, 6, 7, 20, 20])
    survival = kaplan_meier(runs([5, 6, 7, None, None]))
    assert survival.restricted_mean == pytest.approx(expected, rel=1e-9)


def test_a_diverged_run_never_ends_its_phase() -> None:
    diverged = kaplan_meier(runs([5, 6, None, None], diverged_at={2: 1.0, 3: 2.0}))
    assert diverged == kaplan_meier(runs([5, 6, None, None]))


def test_one_run_has_a_median() -> None:
    assert kaplan_meier(runs([4])).median == 4


def test_runs_that_end_at_step_0_are_runs() -> None:
    assert kaplan_meier(runs([0, 0, 3])).median == 0


def test_one_stratum_gives_the_usual_log_rank_test() -> None:
    rng = np.random.default_rng(0)
    first = runs([float(v) if v < 20 else None for v in rng.integers(1, 25, 30)])
    second = runs([float(v) if v < 20 else None for v in rng.integers(3, 40, 40)])
    reference = logrank_test(
        first["phase1_end"].fillna(20).astype(float),
        second["phase1_end"].fillna(20).astype(float),
        first["phase1_end"].notna(),
        second["phase1_end"].notna(),
    )
    ours = stratified_logrank(first.assign(seed=0), second.assign(seed=0))
    assert ours.chi2 == pytest.approx(reference.test_statistic, rel=1e-9)
    assert ours.p == pytest.approx(reference.p_value, rel=1e-9)


def test_pairs_give_the_sign_test() -> None:
    first = runs([1, 2, 3, 4, 5, 6, 9])
    second = runs([2, 3, 4, 5, 6, None, 8])
    ours = stratified_logrank(first, second)
    # the first ends sooner in six pairs and later in one: (6 - 1)^2 / (6 + 1), excess 6/2 - 1/2
    assert ours.chi2 == pytest.approx(25 / 7)
    assert ours.excess == pytest.approx(2.5)


def test_a_pair_that_cannot_be_told_apart_adds_nothing() -> None:
    first, second = runs([1, 2, 3]), runs([2, 3, 4])
    tied = stratified_logrank(runs([1, 2, 3, 7, None]), runs([2, 3, 4, 7, None]))
    assert tied == stratified_logrank(first, second)


def test_strata_that_only_one_condition_has_are_left_out() -> None:
    first, second = runs([1, 2, 3]), runs([2, 3, 4, 9, 9])
    assert stratified_logrank(first, second) == stratified_logrank(first, second.head(3))


def test_a_diverged_run_stays_at_risk_as_it_never_ends() -> None:
    sooner = runs([5, None], diverged_at={1: 3.0})
    later = runs([9, 4])
    # one pair for each side: the other of the second pair ends, and the diverged run does not
    assert stratified_logrank(sooner, later).chi2 == pytest.approx(0.0)
    assert cliffs_delta(sooner, later) == pytest.approx((-1 + 1 + 1 + 1) / 4)
    assert stratified_logrank(sooner, later) == stratified_logrank(runs([5, None]), later)


def test_conditions_that_never_end_have_no_p() -> None:
    ours: Any = stratified_logrank(runs([None] * 5), runs([None] * 5))
    assert np.isnan(ours.p)


def test_the_survival_curve_falls_by_the_share_at_risk_that_ends() -> None:
    curve = survival_curve(runs([5, 10, None, None]))
    assert curve.step.tolist() == [0, 5, 10, 20]
    assert curve.share.tolist() == pytest.approx([1, 0.75, 0.5, 0.5])
    assert (curve.low <= curve.share).all()
    assert (curve.share <= curve.high).all()
    assert curve.censored.tolist() == [20]


def test_at_risk_are_as_many_as_the_curve_counts() -> None:
    frame = runs([5, 10, None, None], diverged_at={3: 7})
    assert at_risk(frame, np.array([0.0, 5, 6, 8, 20, 21])).tolist() == [4, 4, 3, 3, 2, 0]
    # where one ends, the curve falls by 1 / at risk of what is left
    curve = survival_curve(frame)
    falls = 1 - curve.share[1:3] / curve.share[:2]
    assert (1 / falls).tolist() == pytest.approx(at_risk(frame, curve.step[1:3]).tolist())


def test_a_diverged_run_is_not_marked_as_censored() -> None:
    assert survival_curve(runs([5, None], diverged_at={1: 7})).censored.tolist() == []
    assert survival_curve(runs([5, None])).censored.tolist() == [20]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3], [4, 5, 6], -1),
        ([4, 5, 6], [1, 2, 3], 1),
        ([1, 4], [2, 3], 0),
        ([None, None], [5, 6], 1),  # longer than all that ended before
        ([None, 3], [None, 4], -0.25),  # unknown, longer, shorter, shorter
    ],
)
def test_cliffs_delta_counts_pairs_and_leaves_unknown_ones_at_0(
    first: list[float | None], second: list[float | None], expected: float
) -> None:
    assert cliffs_delta(runs(first), runs(second)) == pytest.approx(expected)
