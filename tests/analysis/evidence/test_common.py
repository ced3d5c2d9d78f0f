"""The common direction: what it starts as, and its share of the way of the updates."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pytest

from analysis.evidence import Cells
from analysis.evidence.common import alignment_with_mean_feature, update_dominance

MakeCells = Callable[..., Cells]
Columns = dict[str, np.ndarray | float]
STEPS = np.arange(0, 400, 10)


def cells(make_cells: MakeCells, columns: Mapping[str, np.ndarray | float], n: int = 16) -> Cells:
    frames = [
        pd.DataFrame({"run_id": f"plain/{seed}", "step": STEPS, "layer": 3, **columns})
        for seed in range(n)
    ]
    return make_cells({"plain": [{"phase1_end": 200.0}] * n}, layers=pd.concat(frames))


def test_alignment_is_read_at_a_share_of_the_plateau(make_cells: MakeCells) -> None:
    found = cells(make_cells, {"common_feature_alignment": STEPS / 400})
    assert alignment_with_mean_feature(found, 0.0, 0.1).effect == 0
    # a symmetric window leaves a straight line as it is, but for the record at its open end
    half = alignment_with_mean_feature(found, 0.5, 0.1)
    assert half.effect == pytest.approx(100 / 400, abs=10 / 400)
    assert "after 50% of the plateau" in half.detail


def test_the_common_part_of_updates_is_weighed_by_their_size(make_cells: MakeCells) -> None:
    # share 0.8 of the square: the way is sqrt(0.8) against sqrt(0.2), twice as far
    columns = {"common_strength_dw": 0.8, "update_ratio": 1e-3, "weight_norm": 5.0}
    assert update_dominance(cells(make_cells, columns), 1.0).effect == pytest.approx(2)


def test_updates_after_the_plateau_do_not_count(make_cells: MakeCells) -> None:
    late: Columns = {"common_strength_dw": 0.2, "update_ratio": np.where(STEPS > 230, 1.0, 1e-3)}
    found = update_dominance(cells(make_cells, {**late, "weight_norm": 5.0}), 1.0)
    assert found.effect == pytest.approx(0.5)
    assert found.p < 1e-3
