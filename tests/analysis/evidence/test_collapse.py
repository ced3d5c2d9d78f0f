"""How far features collapse up to a step that all networks share."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.evidence import Cells
from analysis.evidence.collapse import common_step, difference, rise

MakeCells = Callable[..., Cells]
RNG = np.random.default_rng(1)
STEPS = np.arange(0, 400, 10)
# in one record; a largest mean over windows of five is above the mean by about as much
NOISE = 0.003


def cosines(run_id: str, gain: float, until: float) -> pd.DataFrame:
    """Rises from 0.8 by `gain` up to a step, then stays."""
    cos = 0.8 + gain * np.minimum(STEPS / until, 1) + RNG.normal(0, NOISE, len(STEPS))
    return pd.DataFrame({"run_id": run_id, "step": STEPS, "layer": 3, "cos": cos})


def cells_of(
    make_cells: MakeCells, until: float = 100.0, **cells: tuple[float, Sequence[dict[str, Any]]]
) -> Cells:
    frames = [
        cosines(f"{name}/{i}", gain, until)
        for name, (gain, rows) in cells.items()
        for i in range(len(rows))
    ]
    named = {
        name: [{**row, "run_id": f"{name}/{i}"} for i, row in enumerate(rows)]
        for name, (_, rows) in cells.items()
    }
    return make_cells(named, layers=pd.concat(frames))


def test_a_network_that_ends_at_once_has_the_collapse_that_follows(make_cells: MakeCells) -> None:
    waits, fast = [{"phase1_end": 300.0}] * 16, [{"phase1_end": 15.0}] * 16
    cells = cells_of(make_cells, plain=(0.1, waits), fast=(0.1, fast), cured=(0.0, fast))
    found = rise(cells, "fast", "plain", "cos", 0.02)
    assert found.effect == pytest.approx(0.1, abs=2 * NOISE)
    assert found.low > 0.02
    assert rise(cells, "cured", "plain", "cos", 0.02).high < 0.02
    assert "up to step 300: 0.10" in found.detail


def test_what_comes_after_the_common_step_does_not_count(make_cells: MakeCells) -> None:
    rows = [{"phase1_end": 100.0}] * 16
    cells = cells_of(make_cells, until=390, plain=(0.2, rows), other=(0.2, rows))
    # 100 of 390 steps
    assert rise(cells, "other", "plain", "cos", 0).effect == pytest.approx(0.051, abs=3 * NOISE)


def test_a_reference_that_does_not_end_leaves_the_whole_run(make_cells: MakeCells) -> None:
    rows = [{"phase1_end": np.nan}] * 16
    cells = cells_of(make_cells, until=390, plain=(0.2, rows))
    assert common_step(cells, "plain") == np.inf
    found = rise(cells, "plain", "plain", "cos", 0)
    assert found.effect == pytest.approx(0.2, abs=3 * NOISE)
    assert "up to the last record" in found.detail


def test_two_cells_are_compared_seed_by_seed(make_cells: MakeCells) -> None:
    fast, waits = [{"phase1_end": 15.0}] * 16, [{"phase1_end": 300.0}] * 14
    found = difference(cells_of(make_cells, a=(0.02, fast), b=(0.07, waits)), "a", "b", "cos", 0.0)
    assert found.n == 14
    assert found.effect == pytest.approx(-0.05, abs=0.006)
    assert found.high < -0.03


def test_runs_that_share_a_seed_are_one_pair(make_cells: MakeCells) -> None:
    twice = [{"seed": seed // 2} for seed in range(16)]
    found = difference(cells_of(make_cells, a=(0.02, twice), b=(0.07, twice)), "a", "b", "cos", 0.0)
    assert found.n == 8
