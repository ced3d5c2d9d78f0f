"""Lead and lag of curves whose shift is known."""

import numpy as np
import pytest

from analysis.curves import Floats
from analysis.leadlag import cross_correlation, lead_lag, peaks

STEPS = np.arange(0.0, 3000.0, 10.0)


def rises(at_R: list[float], steps_M: Floats = STEPS, width: float = 80.0) -> Floats:
    """One logistic rise per run, about the given step."""
    return 1 / (1 + np.exp(-(steps_M - np.array(at_R)[:, None]) / width))


def test_a_curve_that_rises_earlier_leads_by_the_shift() -> None:
    early, late = rises([1000, 1200, 1500]), rises([1300, 1200, 1100])
    # the peak of the growth of two equal shapes lies on the grid of records, so it is exact
    np.testing.assert_array_equal(lead_lag(early, late, STEPS, 600), [300, 0, -400])
    np.testing.assert_array_equal(lead_lag(late, early, STEPS, 600), [-300, 0, 400])


def test_the_lag_does_not_depend_on_scale_or_offset() -> None:
    early, late = rises([1000]), rises([1250])
    assert lead_lag(3 * early - 7, 1e-4 * late + 2, STEPS, 600) == 250


def test_uneven_records_give_the_lag_to_one_spacing() -> None:
    steps = np.concatenate([np.arange(0.0, 900, 10), np.arange(900.0, 3000, 20)])
    lag = lead_lag(rises([1000], steps), rises([1300], steps), steps, 600)
    # linear interpolation of a rise 80 steps wide over gaps of at most 20
    assert abs(lag - 300) <= 20


def test_a_correlation_that_is_nowhere_positive_has_no_lag() -> None:
    rows = np.array([[-0.5, -0.1, -0.3], [0.1, 0.9, np.nan]])
    np.testing.assert_array_equal(peaks(np.array([-10.0, 0, 10]), rows), [np.nan, 0])


def test_a_flat_curve_has_no_lag() -> None:
    assert np.isnan(lead_lag(rises([1000]), np.ones((1, len(STEPS))), STEPS, 300)).all()


def test_a_correlation_that_still_grows_at_the_largest_lag_is_no_peak() -> None:
    assert np.isnan(lead_lag(rises([800]), rises([1300]), STEPS, 300)).all()


def test_records_that_are_not_to_count_change_nothing() -> None:
    early, late = rises([700, 700]), rises([900, 900])
    late[1, STEPS > 1800] += 5.0  # a second, larger rise that is masked
    for curve in (early, late):
        curve[1, STEPS > 1790] = np.nan
    np.testing.assert_array_equal(lead_lag(early, late, STEPS, 500), [200, 200])


def test_a_run_without_records_has_no_lag_and_harms_no_other() -> None:
    early, late = rises([700, 700]), rises([900, 900])
    early[0] = np.nan
    np.testing.assert_array_equal(lead_lag(early, late, STEPS, 500), [np.nan, 200])


def test_a_curve_correlates_with_itself_to_one_at_lag_zero_and_symmetrically() -> None:
    rng = np.random.default_rng(0)
    curve = np.cumsum(rng.normal(size=(2, 300)), axis=1)
    lags, correlation = cross_correlation(curve, curve, STEPS, 400)
    np.testing.assert_array_equal(lags, -lags[::-1])
    assert correlation[:, lags == 0] == pytest.approx(1, abs=1e-12)  # rounding of 300 terms
    np.testing.assert_allclose(correlation, correlation[:, ::-1], atol=1e-12)


def test_the_correlation_is_that_of_numpy_on_the_overlap() -> None:
    rng = np.random.default_rng(1)
    a, b = np.cumsum(rng.normal(size=(2, 1, 300)), axis=2)
    _, correlation = cross_correlation(a, b, STEPS, 50, window=10)  # one record: no smoothing
    da, db = np.diff(a[0]), np.diff(b[0])
    slow = [
        np.corrcoef(da[max(0, -k) : 299 - max(0, k)], db[max(0, k) : 299 - max(0, -k)])[0, 1]
        for k in range(-5, 6)
    ]
    np.testing.assert_allclose(correlation[0], slow, atol=1e-12)


def test_a_run_shorter_than_the_largest_lag_is_searched_as_far_as_it_goes() -> None:
    steps = np.arange(0.0, 100.0, 10.0)
    lags, correlation = cross_correlation(
        rises([40], steps, 10), rises([50], steps, 10), steps, 1e4
    )
    assert lags.max() <= 90
    assert np.isfinite(correlation).any()


def test_a_run_of_one_record_has_no_lag() -> None:
    assert np.isnan(lead_lag(np.ones((2, 1)), np.ones((2, 1)), np.zeros(1), 100)).all()
