"""Rises over the plateau: planted ones are found, flat ones are not."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.evidence import Cells
from analysis.evidence.samples import equivalence_p
from analysis.evidence.similarity import fall, level, peak_against_end, rise

MakeCells = Callable[..., Cells]
RNG = np.random.default_rng(1)
STEPS = np.arange(0, 400, 10)


def layers(run_id: str, values: np.ndarray, layer: int = 3) -> pd.DataFrame:
    return pd.DataFrame({"run_id": run_id, "step": STEPS, "layer": layer, "feature_cos": values})


def ramp(gain: float, end: float = 100.0) -> np.ndarray:
    """Rises from 0.8 by `gain` until `end`, then stays; noise of one batch."""
    return 0.8 + gain * np.minimum(STEPS / end, 1) + RNG.normal(0, 0.003, len(STEPS))


def test_a_planted_rise_of_the_middle_layer_is_found(make_cells: MakeCells) -> None:
    frames = [layers(f"plain/{seed}", ramp(0.05)) for seed in range(16)]
    frames += [layers(f"plain/{seed}", ramp(-0.2), layer=2) for seed in range(16)]
    found = rise(make_cells({"plain": [{}] * 16}, layers=pd.concat(frames)), "feature_cos")
    # The window at the bend averages half of it: 0.05 less 1/8 of a window's rise.
    assert found.effect == pytest.approx(0.05, abs=0.006)
    assert found.low > 0.04
    assert found.p < 1e-4
    assert "from 0.8" in found.detail


@pytest.mark.slow
def test_flat_curves_are_rarely_called_rises(make_cells: MakeCells) -> None:
    false = 0
    for _ in range(200):
        frames = [layers(f"plain/{seed}", ramp(0)) for seed in range(16)]
        found = rise(make_cells({"plain": [{}] * 16}, layers=pd.concat(frames)), "feature_cos")
        false += found.p < 0.05
    assert false / 200 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_a_plateau_that_ends_at_once_has_no_rise(make_cells: MakeCells) -> None:
    runs = [{"phase1_end": 3.0}] * 4
    frames = [layers(f"plain/{seed}", ramp(0.1)) for seed in range(4)]
    assert rise(make_cells({"plain": runs}, layers=pd.concat(frames)), "feature_cos").effect == 0


def test_a_censored_run_is_read_at_its_last_record(make_cells: MakeCells) -> None:
    runs = [{"phase1_end": np.nan}] * 4
    frames = [layers(f"plain/{seed}", ramp(0.1, end=390)) for seed in range(4)]
    found = rise(make_cells({"plain": runs}, layers=pd.concat(frames)), "feature_cos")
    assert found.effect == pytest.approx(0.1, abs=0.015)
    assert "4 of 4 runs did not end it within T" in found.detail


def test_what_follows_divergence_does_not_count(make_cells: MakeCells) -> None:
    runs = [{"phase1_end": np.nan, "diverged_at": 200.0}] * 4
    values = np.where(STEPS < 200, 0.8, 5.0)
    frames = [layers(f"plain/{seed}", values) for seed in range(4)]
    found = rise(make_cells({"plain": runs}, layers=pd.concat(frames)), "feature_cos")
    assert found.effect == pytest.approx(0, abs=1e-12)  # means of equal numbers, rounded
    assert "4 of them diverged" in found.detail


def test_several_runs_of_a_seed_are_one_unit(make_cells: MakeCells) -> None:
    rows = [{"seed": i // 2, "run_id": f"plain/{i}"} for i in range(16)]
    frames = [layers(f"plain/{i}", ramp(0.05)) for i in range(16)]
    cells = make_cells({"plain": rows}, layers=pd.concat(frames))
    assert rise(cells, "feature_cos").n == 8
    assert level(cells, "feature_cos", 0.5).n == 8


def test_a_run_that_never_ends_has_no_peak_to_compare(make_cells: MakeCells) -> None:
    runs = [{"phase1_end_95": 150.0}] * 12 + [{"phase1_end_95": np.nan}] * 4
    frames = [layers(f"plain/{s}", ramp(0.1)) for s in range(16)]
    found = peak_against_end(
        make_cells({"plain": runs}, layers=pd.concat(frames)),
        "feature_cos",
        no_effect=1.0,
        threshold=1.5,
        end="phase1_end_95",
    )
    assert found.n == 12
    assert "4 of 16 runs never come to phase1_end_95" in found.detail


def test_the_level_is_read_at_the_end(make_cells: MakeCells) -> None:
    frames = [layers(f"plain/{seed}", ramp(0.1)) for seed in range(16)]
    found = level(make_cells({"plain": [{}] * 16}, layers=pd.concat(frames)), "feature_cos", 0.95)
    assert found.effect == pytest.approx(0.9, abs=0.015)  # the window at the bend: 1/8 of a rise
    assert found.p < 1e-3


def test_a_fall_after_the_plateau_is_found(make_cells: MakeCells) -> None:
    values = np.where(STEPS < 150, 0.9, 0.7)
    frames = [layers(f"plain/{seed}", values) for seed in range(16)]
    found = fall(make_cells({"plain": [{}] * 16}, layers=pd.concat(frames)), "feature_cos", 0.0)
    assert found.effect == pytest.approx(-0.2)


@pytest.mark.parametrize(("end", "ratio"), [(150.0, 1.0), (300.0, 0.5)])
def test_the_peak_is_compared_with_the_end(make_cells: MakeCells, end: float, ratio: float) -> None:
    hump = 0.8 + 0.1 * np.exp(-(((STEPS - 150) / 60) ** 2))
    frames = [layers(f"plain/{s}", hump + RNG.normal(0, 1e-3, len(STEPS))) for s in range(16)]
    runs = [{"phase1_end_95": end}] * 16
    found = peak_against_end(
        make_cells({"plain": runs}, layers=pd.concat(frames)),
        "feature_cos",
        no_effect=1.0,
        threshold=1.5,
        end="phase1_end_95",
    )
    assert found.effect == pytest.approx(ratio, rel=0.1)  # a record or two of 150 steps
    assert (found.p < 0.01) == (end == 150)


def test_equivalence_is_seldom_found_at_the_threshold_itself() -> None:
    p_values = [equivalence_p(RNG.normal(0.4, 1, 16), -0.4, 0.4) for _ in range(400)]
    assert np.mean(np.array(p_values) < 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
