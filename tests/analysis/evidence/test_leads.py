"""Which curve moves first, over the plateau's length."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.evidence import Cells
from analysis.evidence.leads import lead

MakeCells = Callable[..., Cells]
STEPS = np.arange(0, 1200, 10)


def cells(make_cells: MakeCells, shift: float, ends: float = 500.0) -> Cells:
    """`late` does what `early` does, `shift` steps later; a little noise of its own in each."""
    rng = np.random.default_rng(0)
    frames = []
    for seed in range(16):
        middle = 450 + 5 * seed
        early, late = (1 / (1 + np.exp(-(STEPS - at) / 60)) for at in (middle, middle + shift))
        noise = rng.normal(0, 1e-3, (2, len(STEPS)))
        columns = {"early": early + noise[0], "late": late + noise[1]}
        row = pd.DataFrame({"run_id": f"plain/{seed}", "step": STEPS, "layer": 3, **columns})
        frames.append(row)
    runs = [{"phase1_end": ends, "horizon": 1200.0}] * 16
    return make_cells({"plain": runs}, layers=pd.concat(frames))


@pytest.mark.parametrize("shift", [100, -100])
def test_a_planted_lead_is_found(make_cells: MakeCells, shift: float) -> None:
    found = lead(cells(make_cells, shift), "early", "late", 0.0)
    # exact to a record of 10 steps, of 500
    assert found.effect == pytest.approx(shift / 500, abs=10 / 500)
    assert found.p == pytest.approx(2 / 2**16)  # all 16 on one side
    assert (np.sign(found.low), np.sign(found.high)) == (np.sign(shift), np.sign(shift))


def test_curves_that_move_together_have_no_lead(make_cells: MakeCells) -> None:
    found = lead(cells(make_cells, 0.0), "early", "late", 0.0)
    assert found.effect == pytest.approx(0, abs=10 / 500)
    assert found.p > 0.05 or np.isnan(found.p)


def test_plateaus_that_never_end_have_no_lead(make_cells: MakeCells) -> None:
    found = lead(cells(make_cells, 100, ends=np.nan), "early", "late", 0.0)
    assert np.isnan(found.effect)
    assert found.detail == "no run ended its plateau within T"
