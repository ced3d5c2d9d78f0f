"""Accuracy at equal training loss, and correlations between seeds alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.figures.generalization import correlation
from analysis.generalization import accuracy_at_loss, within


@pytest.fixture
def accuracy(write_results: Any, plateau_of: Any, tmp_path: Path) -> Any:
    """Test accuracy of one run at a training loss, from its probes: (train_loss, test_accuracy)."""

    def at(level: float, *probes: tuple[float, float]) -> float:
        results = write_results(tmp_path, [{}], lambda run: (plateau_of(100, 300), 100.0))
        loss, test = zip(*probes, strict=True)
        frame = pd.DataFrame({"run_id": "0" * 12, "step": np.arange(len(probes)) * 50})
        frame = frame.assign(train_loss=loss, test_accuracy=test)
        (tmp_path / "probe").mkdir(exist_ok=True)
        path = tmp_path / "probe" / ("0" * 12 + "-000000000-000000300.parquet")
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
        return float(accuracy_at_loss(results, results.runs, level).iloc[0])

    return at


def test_accuracy_is_interpolated_in_the_logarithm_of_the_loss(accuracy: Any) -> None:
    # from 1 to 1/4 the logarithm is half way at 1/2
    assert accuracy(0.5, (2.0, 0.1), (1.0, 0.6), (0.25, 0.8)) == pytest.approx(0.7)


def test_the_first_time_counts(accuracy: Any) -> None:
    probes = [(1.0, 0.5), (0.5, 0.6), (1.0, 0.7), (0.5, 0.9)]
    assert accuracy(0.50001, *probes) == pytest.approx(0.6, abs=1e-4)


@pytest.mark.parametrize(
    "probes",
    [
        [(2.0, 0.1), (1.0, 0.6)],  # never there
        [(2.0, 0.1), (0.1, 0.9)],  # e^3 between the two
        [(0.4, 0.8), (0.3, 0.9)],  # there before the first probe
        [(2.0, 0.1), (np.nan, 0.1), (0.4, 0.2)],
    ],
)
def test_where_the_loss_is_not_resolved_there_is_no_accuracy(accuracy: Any, probes: Any) -> None:
    assert np.isnan(accuracy(0.5, *probes))


def test_without_probes_there_is_no_accuracy(
    write_results: Any, plateau_of: Any, tmp_path: Path
) -> None:
    results = write_results(tmp_path, [{}] * 2, lambda run: (plateau_of(100, 300), 100.0))
    assert accuracy_at_loss(results, results.runs, 0.5).isna().tolist() == [True, True]


def test_deviations_are_from_the_mean_of_the_own_condition() -> None:
    values = pd.Series([1.0, 3.0, 10.0, 30.0])
    assert within(values, pd.Series(list("aabb"))).tolist() == [-1, 1, -10, 10]


def test_a_correlation_given_the_condition_does_not_see_differences_between_conditions() -> None:
    rng = np.random.default_rng(0)
    condition = pd.Series(np.repeat(np.arange(10), 40))
    shared = rng.normal(size=400)
    x = pd.Series(shared + 50 * condition)
    y = pd.Series(-shared + rng.normal(size=400) + 50 * condition)
    x, y = within(x, condition), within(y, condition)
    r, low, high = correlation(x.to_numpy(), y.to_numpy(), np.tile(np.arange(40.0), 10))
    # -1/sqrt(2) but for a standard error of (1 - r^2) / sqrt(400) = 0.025
    assert r == pytest.approx(-np.sqrt(0.5), abs=0.1)
    assert -1 <= low < r < high < -0.5


def test_a_correlation_of_what_does_not_vary_is_not_a_number() -> None:
    assert np.isnan(correlation(np.zeros(6), np.arange(6.0), np.arange(6.0))).all()
