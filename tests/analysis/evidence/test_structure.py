"""Differences over layers and between cells."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.evidence import Cells
from analysis.evidence.structure import between_cells, over_layers, spread

MakeCells = Callable[..., Cells]
RNG = np.random.default_rng(0)
STEPS = np.arange(0, 400, 10)


def table(cell: str, gains: dict[int, float]) -> pd.DataFrame:
    frames = [
        pd.DataFrame(
            {
                "run_id": f"{cell}/{seed}",
                "step": STEPS,
                "layer": layer,
                "feature_cos": 0.8 + gain * np.minimum(STEPS / 50, 1) + RNG.normal(0, 0.002, 40),
            }
        )
        for seed in range(16)
        for layer, gain in gains.items()
    ]
    return pd.concat(frames)


def test_layers_that_differ_are_found(make_cells: MakeCells) -> None:
    gains = {1: 0.0, 2: 0.02, 3: 0.1, 4: 0.05}
    cells = make_cells({"plain": [{}] * 16}, layers=table("plain", gains))
    found = over_layers(cells, "feature_cos")
    assert found.effect == pytest.approx(0.1, abs=0.005)  # 0.002 in a record, five in a window
    assert found.low > 0.09
    assert found.p < 1e-6
    assert "3: 0.1" in found.detail


def test_cells_that_differ_are_found(make_cells: MakeCells) -> None:
    tables = pd.concat([table("a", {3: 0.0}), table("b", {3: 0.06}), table("c", {3: 0.03})])
    cells = make_cells({name: [{}] * 16 for name in "abc"}, layers=tables)
    assert between_cells(cells, "a", "feature_cos").effect == pytest.approx(0.06, abs=0.005)


def test_cells_that_end_at_once_do_not_differ_by_that(make_cells: MakeCells) -> None:
    tables = pd.concat([table("slow", {3: 0.06}), table("fast", {3: 0.06})])
    cells = make_cells({"slow": [{}] * 16, "fast": [{"phase1_end": 3.0}] * 16}, layers=tables)
    assert abs(between_cells(cells, "slow", "feature_cos").effect) < 0.005


@pytest.mark.slow
def test_equal_conditions_rarely_differ() -> None:
    p_values = [
        spread({name: pd.Series(RNG.normal(0, 1, 16)) for name in "abcd"}, "").p for _ in range(200)
    ]
    assert np.mean(np.array(p_values) < 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


@pytest.mark.parametrize("shape", [np.linspace(0, 0.015, 8), np.r_[np.zeros(7), 0.015]])
def test_the_interval_lies_above_the_true_spread_no_more_often_than_it_says(
    shape: np.ndarray,
) -> None:
    """Eight conditions that differ by less than the noise of a seed, 16 seeds."""
    rng = np.random.default_rng(5)
    above = []
    for _ in range(200):
        values = shape + rng.normal(0, 0.02, (16, 8))
        above.append(spread({str(c): pd.Series(values[:, c]) for c in range(8)}, "").low > 0.015)
    # 2.5 %, but the percentile interval of a median of 16 may miss 4 % on one side (test_stats.py)
    assert np.mean(above) <= 0.04 + 3 * np.sqrt(0.04 * 0.96 / 200)


def test_seeds_that_a_condition_lacks_are_left_out() -> None:
    found = spread({"a": pd.Series([1.0, 2, 3]), "b": pd.Series([2.0, 4, np.nan])}, "")
    assert (found.n, found.effect) == (2, 1.5)


def test_identical_conditions_do_not_differ() -> None:
    same = pd.Series(RNG.normal(0, 1, 16))
    found = spread({"a": same, "b": same, "c": same}, "")
    assert (found.effect, found.p) == (0, 1)
