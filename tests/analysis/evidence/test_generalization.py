"""Collapse and test accuracy at the same training loss, within seeds."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.evidence import Cells
from analysis.evidence.generalization import collapse_and_accuracy

MakeCells = Callable[..., Cells]


def cells(make_cells: MakeCells, slope: float, floor: float = 0.001) -> Cells:
    """Four conditions of rising collapse, 16 seeds that differ more than conditions do."""
    rng = np.random.default_rng(0)
    runs, frames = {}, []
    for at in range(4):
        name = f"condition {at}"
        runs[name] = [{"prior_loss": 1.0, "middle_cos_between_peak": 0.8 + 0.05 * at}] * 16
        for seed in range(16):
            loss = np.maximum(0.5 ** np.arange(12), floor)
            accuracy = 0.8 + 0.01 * seed + slope * at + rng.normal(0, 1e-4)
            frames.append(
                pd.DataFrame(
                    {
                        "run_id": f"{name}/{seed}",
                        "step": np.arange(12) * 100,
                        "train_loss": loss,
                        "test_accuracy": accuracy,
                    }
                )
            )
    return make_cells(runs, probe=pd.concat(frames))


@pytest.mark.parametrize(("slope", "expected"), [(-0.002, -1), (0.002, 1)])
def test_a_planted_relation_is_found_within_seeds(
    make_cells: MakeCells, slope: float, expected: float
) -> None:
    found = collapse_and_accuracy(cells(make_cells, slope), 0.05, 0.0)
    assert (found.effect, found.n) == (expected, 16)
    assert found.p < 1e-3
    assert "64 of 64 runs reach a training loss of 0.05" in found.detail


def test_without_a_relation_the_correlation_is_open(make_cells: MakeCells) -> None:
    found = collapse_and_accuracy(cells(make_cells, 0.0), 0.05, 0.0)
    assert found.low < 0 < found.high
    assert found.p > 0.05


def test_runs_that_never_get_there_are_left_out(make_cells: MakeCells) -> None:
    found = collapse_and_accuracy(cells(make_cells, -0.002, floor=0.1), 0.05, 0.0)
    assert np.isnan(found.effect)
    assert "0 of 64 runs reach" in found.detail
