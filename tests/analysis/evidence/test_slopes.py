"""Lengths along a covariate: planted slopes, censoring, and fits that have no answer."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lifelines import LogNormalAFTFitter
from lifelines.exceptions import ConvergenceWarning

from analysis.evidence import Cells
from analysis.evidence.slopes import fitted, slope, weighted_slopes
from analysis.ordering import trend_p

MakeCells = Callable[..., Cells]
DEPTHS = np.repeat([3.0, 5, 7, 9], 16)
SEEDS = np.tile(np.arange(16), 4)


def sample(
    rng: np.random.Generator, decades: float, horizon: float = 3000.0, shared: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """Log-normal lengths with spread in seeds and in runs; and whether they end by the horizon."""
    seeds = rng.normal(0, shared, 16)[SEEDS]
    time = 10 ** (1 + decades * (DEPTHS - 3) + seeds + rng.normal(0, 0.1, 64))
    return np.minimum(time, horizon), time < horizon


def cells_of(make_cells: MakeCells, time: np.ndarray, ended: np.ndarray) -> Cells:
    runs: dict[str, list[dict[str, Any]]] = {}
    for t, e, depth, seed in zip(time, ended, DEPTHS, SEEDS, strict=True):
        row = {
            "phase1_end": t if e else np.nan,
            "horizon": t if not e else 3000.0,
            "depth": int(depth),
        }
        runs.setdefault(f"{depth:g}", []).append({**row, "seed": int(seed)})
    return make_cells(runs)


def test_a_planted_slope_is_found_under_censoring(make_cells: MakeCells) -> None:
    time, ended = sample(np.random.default_rng(0), 0.4, horizon=1000.0)
    assert 0.1 < 1 - ended.mean() < 0.5
    found = slope(cells_of(make_cells, time, ended), "depth")
    # the spread in a run is 0.1 over depths 3 to 9: a standard error of 0.1 / (2.2 * 8), doubled
    assert found.effect == pytest.approx(0.4, abs=0.05)
    assert found.low < 0.4 < found.high
    assert found.p < 1e-6
    assert found.n == 16
    assert "9: " in found.detail


def test_resamples_are_fitted_as_lifelines_fits(make_cells: MakeCells) -> None:
    time, ended = sample(np.random.default_rng(1), 0.4)
    ours = weighted_slopes(time, ended, DEPTHS, np.ones((1, 64)))[0]
    # lifelines stops its optimiser at about six digits
    assert ours == pytest.approx(fitted(time, ended, DEPTHS), rel=1e-4)


def test_a_weight_is_that_many_runs() -> None:
    time, ended = sample(np.random.default_rng(2), 0.3)
    twice = np.concatenate([time, time[:10]]), np.concatenate([ended, ended[:10]])
    weight = np.ones((1, 64))
    weight[0, :10] = 2
    expected = fitted(*twice, np.concatenate([DEPTHS, DEPTHS[:10]]))
    assert weighted_slopes(time, ended, DEPTHS, weight)[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("category", "known"), [(DeprecationWarning, True), (ConvergenceWarning, False)]
)
def test_only_what_lifelines_warns_of_leaves_no_estimate(
    monkeypatch: pytest.MonkeyPatch, category: type[Warning], known: bool
) -> None:
    fit = LogNormalAFTFitter.fit

    def warning(self: LogNormalAFTFitter, *args: Any) -> Any:
        warnings.warn("a library's own business", category, stacklevel=1)
        return fit(self, *args)

    monkeypatch.setattr(LogNormalAFTFitter, "fit", warning)
    time, ended = sample(np.random.default_rng(1), 0.4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isfinite(fitted(time, ended, DEPTHS)) == known


@pytest.mark.slow
def test_no_slope_is_rarely_called_one(make_cells: MakeCells) -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(200):
        time, ended = sample(rng, 0.0, horizon=20.0)
        found.append(_trend(time, ended))
    assert np.mean(np.array(found) < 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def _trend(time: np.ndarray, ended: np.ndarray) -> float:
    return trend_p(time, ended, DEPTHS, SEEDS)[1]


def test_ends_at_one_depth_alone_leave_the_slope_open(make_cells: MakeCells) -> None:
    ended = DEPTHS == 3
    time = np.where(ended, 20.0, 3000.0)
    found = slope(cells_of(make_cells, time, ended), "depth")
    assert np.isnan([found.effect, found.low, found.high]).all()
    assert found.p < 1e-6  # deeper ones are longer all the same
    assert "resamples have no estimate" in found.detail


def test_nothing_ended_is_no_evidence(make_cells: MakeCells) -> None:
    found = slope(cells_of(make_cells, np.full(64, 3000.0), np.zeros(64, bool)), "depth")
    assert np.isnan(found.effect)
    assert found.p == 1
