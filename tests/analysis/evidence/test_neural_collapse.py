"""Classes that contract after the plateau, and classes that do not."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.evidence import Cells, Evidence
from analysis.evidence.neural_collapse import contraction

MakeCells = Callable[..., Cells]
RNG = np.random.default_rng(0)
STEPS = np.arange(0, 400, 50)


def judged(make_cells: MakeCells, falls: float, rows: list[dict[str, Any]]) -> Evidence:
    """nc1 is 8 at 0 and 4 at 50, unknown at 100, 2 at 150, and then falls to `falls` of that."""
    frames = []
    for seed in range(len(rows)):
        nc1 = np.array([8, 4, np.nan, 2, 2, 2, 2 * falls, 2 * falls])
        nc1 = nc1 * np.exp(RNG.normal(0, 0.05, len(STEPS)))
        frames.append(pd.DataFrame({"run_id": f"plain/{seed}", "step": STEPS, "nc1": nc1}))
    return contraction(make_cells({"plain": rows}, probe=pd.concat(frames)), 1.0)


def test_a_contraction_counts_from_the_first_known_look_after_the_plateau(
    make_cells: MakeCells,
) -> None:
    found = judged(make_cells, 0.05, [{"phase1_end": 90.0}] * 16)
    assert found.effect == pytest.approx(0.05, rel=0.1)  # noise of 5 % on either side, 16 seeds
    assert found.p < 1e-3
    assert re.search(r"nc1 goes from (1\.9|2\.0|2)\d* at the plateau", found.detail)


def test_classes_that_stay_as_wide_have_not_collapsed(make_cells: MakeCells) -> None:
    assert judged(make_cells, 1.0, [{"phase1_end": 90.0}] * 16).low > 0.9


def test_a_plateau_that_does_not_end_has_no_collapse_after_it(make_cells: MakeCells) -> None:
    found = judged(make_cells, 0.05, [{"phase1_end": np.nan}] * 4 + [{"phase1_end": 90.0}] * 12)
    assert found.n == 12
    assert "4 of 16 without a value are left out" in found.detail
