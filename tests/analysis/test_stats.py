"""Bootstrap medians and Holm's correction."""

import numpy as np
import pytest

from analysis.stats import holm, median_interval


def test_the_median_lies_in_its_interval_for_every_column() -> None:
    values = np.random.default_rng(0).normal(size=(9, 50))
    median, low, high = median_interval(values)
    np.testing.assert_array_equal(median, np.median(values, axis=0))
    assert (low <= median).all()
    assert (median <= high).all()
    assert (low < high).all()


def test_the_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(1).normal(size=(16, 1000))
    _, low, high = median_interval(draws)
    covered = np.mean((low < 0) & (high > 0))
    # the percentile interval of a median of 16 covers 92-97 %; 3 standard errors of 1000 draws
    assert 0.92 - 0.026 < covered < 0.97 + 0.016


def test_the_same_data_give_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=(31, 200))
    for first, again in zip(median_interval(values), median_interval(values), strict=True):
        np.testing.assert_array_equal(first, again)


def test_one_wild_run_among_nine_does_not_move_the_interval() -> None:
    # the median of a resample moves only if 5 of 9 draws are the wild one: probability 0.001
    values = np.array([0.0] * 8 + [1e6])
    assert [float(v) for v in median_interval(values)] == [0, 0, 0]


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert [float(v) for v in median_interval(np.full(8, 0.5))] == [0.5, 0.5, 0.5]


def test_one_run_has_no_interval() -> None:
    median, low, high = median_interval(np.array([[1.0, 2.0]]))
    assert median.tolist() == [1.0, 2.0]
    assert np.isnan([low, high]).all()


def test_nan_stays_in_its_column() -> None:
    values = np.random.default_rng(0).normal(size=(6, 3))
    values[2, 1] = np.nan
    for row in median_interval(values):
        assert np.isnan(row).tolist() == [False, True, False]


def test_holm_multiplies_the_smallest_by_the_count_and_never_decreases() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_holm_stops_at_one() -> None:
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])


def test_a_family_may_be_larger_than_what_was_tested() -> None:
    assert holm([0.01, np.nan, 0.02], tests=5)[[0, 2]] == pytest.approx([0.05, 0.08])
    assert holm([0.01, 0.02], tests=0) == pytest.approx([0.02, 0.02])


def test_a_comparison_that_could_not_be_made_is_not_counted() -> None:
    corrected = holm([0.02, np.nan, 0.03])
    assert corrected[[0, 2]] == pytest.approx([0.04, 0.04])
    assert np.isnan(corrected[1])
