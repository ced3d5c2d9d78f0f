"""Matrices and smoothing."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.curves import floats, matrix, middle_layer, places, smooth, thin


@pytest.mark.parametrize(("depth", "middle"), [(1, 1), (2, 1), (5, 3), (8, 4), (9, 5)])
def test_the_middle_layer_is_half_the_depth_rounded_up(depth: int, middle: int) -> None:
    assert middle_layer(depth) == middle


def test_a_matrix_has_the_wanted_runs_in_the_wanted_order() -> None:
    frame = pd.DataFrame(
        {"run_id": ["a", "b", "a", "c"], "step": [5, 0, 0, 0], "loss": [2.0, 3.0, 1.0, 9.0]}
    )
    steps_M, values_RxM = matrix(frame, "loss", ["b", "a"])
    assert steps_M.tolist() == [0, 5]
    np.testing.assert_array_equal(values_RxM, [[3.0, np.nan], [1.0, 2.0]])


@pytest.mark.parametrize("dtype", [object, "category", pd.StringDtype("pyarrow", na_value=np.nan)])
def test_rows_have_the_place_of_their_run_whatever_texts_are_kept_in(dtype: Any) -> None:
    ids = pd.Series(["b", "c", "a", "b", None], dtype=dtype)
    assert places(ids, ["a", "b"]).tolist() == [1, -1, 0, 1, -1]
    assert places(ids[:0], ["a", "b"]).tolist() == []


def test_a_matrix_shows_null_as_nan() -> None:
    frame = pd.DataFrame(
        {"run_id": ["a", "a"], "step": [0, 1], "loss": pd.array([None, 1.5], dtype="Float64")}
    )
    np.testing.assert_array_equal(matrix(frame, "loss", ["a"])[1], [[np.nan, 1.5]])


def test_smoothing_is_the_mean_of_fifty_steps_around_each() -> None:
    values_RxM = np.random.default_rng(0).normal(size=(2, 120))
    smoothed_RxM = smooth(values_RxM, np.arange(120.0))
    # float64 sums of 50 values near 1 agree to 1e-15 times 50
    np.testing.assert_allclose(smoothed_RxM[:, 60], values_RxM[:, 35:85].mean(axis=1), atol=1e-13)


def test_smoothing_leaves_a_straight_line_alone_also_at_its_ends() -> None:
    line_1xM = np.arange(200.0)[None]
    smoothed_1xM = smooth(line_1xM, np.arange(200.0))
    # an even window is centred half a step early
    np.testing.assert_allclose(smoothed_1xM, line_1xM, atol=0.5)
    assert smoothed_1xM[0, 0] == 0
    assert smoothed_1xM[0, -1] == 199


def test_the_window_is_in_steps_not_in_records() -> None:
    steps_M = np.arange(0.0, 1000, 10)
    values_1xM = np.random.default_rng(0).normal(size=(1, 100))
    smoothed_1xM = smooth(values_1xM, steps_M)
    np.testing.assert_allclose(smoothed_1xM[0, 50], values_1xM[0, 48:53].mean(), atol=1e-14)


def test_values_that_are_not_finite_stay_out_of_every_window() -> None:
    values_1xM = np.ones((1, 100))
    values_1xM[0, 60:] = [np.nan, np.inf] * 20
    smoothed_1xM = smooth(values_1xM, np.arange(100.0))
    assert np.array_equal(smoothed_1xM[0, :60], np.ones(60))
    assert np.isnan(smoothed_1xM[0, 60:]).all()


def test_a_spike_spoils_only_the_windows_it_lies_in() -> None:
    values_1xM = np.ones((1, 300))
    values_1xM[0, 100] = 1e30
    smoothed_1xM = smooth(values_1xM, np.arange(300.0))
    assert np.array_equal(smoothed_1xM[0, 126:], np.ones(174))


@pytest.mark.parametrize("log", [False, True])
def test_thinning_keeps_both_ends_and_never_repeats(log: bool) -> None:
    chosen = thin(np.arange(5000.0), 300, log=log)
    assert chosen[0] == 0
    assert chosen[-1] == 4999
    assert len(chosen) <= 300
    assert (np.diff(chosen) > 0).all()


def test_logarithmic_thinning_keeps_more_of_the_first_steps() -> None:
    early = [(thin(np.arange(5000.0), 300, log=log) < 100).sum() for log in (False, True)]
    assert early[0] < 10
    assert early[1] > 60


def test_a_column_is_read_as_floats_with_null_as_nan() -> None:
    table = pd.DataFrame({"end": pd.array([3, None], dtype="Int64")})
    np.testing.assert_array_equal(floats(table, "end"), [3.0, np.nan])
