"""Arrays at one moment of each run from tables with a class or a unit per row."""

import numpy as np
import pandas as pd
import pytest

from analysis.classes import (
    median_class_cosines,
    nearest_records,
    salient_units,
    spread,
    unit_by_sample,
)


def test_each_run_gives_its_record_nearest_to_its_step() -> None:
    frame = pd.DataFrame({"run_id": ["a", "a", "a", "b", "b", "c"], "step": [0, 50, 100, 0, 70, 0]})
    found = nearest_records(frame, ["a", "b", "c", "d"], np.array([75.0, 60.0, np.nan, 0.0]))
    assert found.to_numpy().tolist() == [["a", 50], ["b", 70]]


def test_no_run_with_the_moment_gives_no_rows() -> None:
    frame = pd.DataFrame({"run_id": ["a"], "step": [0]})
    assert nearest_records(frame, ["a"], np.array([np.nan])).empty


def test_class_cosines_are_medians_over_runs_in_the_order_of_the_classes() -> None:
    one = np.array([[0.9, 0.1], [0.1, 0.8]])
    rows = [
        (run, a, b, factor * one[a, b])
        for run, factor in (("x", 1.0), ("y", 0.5), ("z", 0.1))
        for a in (1, 0)
        for b in (0, 1)
    ]
    frame = pd.DataFrame(rows, columns=["run_id", "class_a", "class_b", "class_cos"])
    np.testing.assert_allclose(median_class_cosines(frame), 0.5 * one, rtol=1e-15)


def features() -> pd.DataFrame:
    """Two steps, three units, two samples; unit 2 varies most at the last step, unit 0 at first."""
    variances = {0: [9.0, 2.0, 1.0], 50: [1.0, 2.0, 3.0]}
    rows = [
        (step, unit, sample, 10 * unit + sample, variance)
        for step, of_units in variances.items()
        for unit, variance in enumerate(of_units)
        for sample in (0, 1)
    ]
    return pd.DataFrame(rows, columns=["step", "unit", "sample", "feature", "unit_variance"])


def test_salient_units_vary_most_at_the_last_step() -> None:
    assert salient_units(features(), 2) == [2, 1]
    assert salient_units(features()) == [2, 1, 0]


def test_values_come_by_unit_in_the_given_order_and_by_sample() -> None:
    rows = features().query("step == 50")
    np.testing.assert_array_equal(unit_by_sample(rows, [2, 0]), [[20, 21], [0, 1]])


def test_equal_samples_have_no_spread_and_opposite_ones_all() -> None:
    column = np.array([[1.0], [2.0], [3.0]])
    assert spread(np.tile(column, 4)) == 0
    assert spread(np.hstack([column, -column])) == pytest.approx(1)


def test_spread_is_the_share_of_energy_outside_the_mean_whatever_the_scale() -> None:
    values = np.array([[1.0, 3.0], [2.0, 2.0]])
    for scale in (1.0, 1e-200):
        assert spread(scale * values) == pytest.approx(2 / 18)  # (1 + 1) / (1 + 9 + 4 + 4)


def test_a_missing_sample_does_not_count_and_dead_units_have_no_spread() -> None:
    values = np.array([[1.0, 3.0, np.nan], [2.0, 2.0, np.nan]])
    assert spread(values) == spread(values[:, :2])
    assert np.isnan(spread(np.zeros((2, 3))))
