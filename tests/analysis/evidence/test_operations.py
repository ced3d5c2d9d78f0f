"""Removing the collapse and removing the waiting, operation by operation."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from analysis.evidence import Cells, Evidence
from analysis.evidence.operations import removal_of_both

MakeCells = Callable[..., Cells]
STEPS = np.arange(0, 400, 10)


def judged(
    make_cells: MakeCells, cells: Mapping[str, tuple[float, float]], risen: float = 50
) -> Evidence:
    """Cells of 16 seeds by their rise, which is over at step `risen`, and their length."""
    rng = np.random.default_rng(0)
    frames = []
    for cell, (rise, _) in cells.items():
        cos = 0.8 + rise * np.minimum(STEPS / risen, 1)
        for seed in range(16):
            row = {"run_id": f"{cell}/{seed}", "step": STEPS, "layer": 3, "cos": cos}
            frames.append(pd.DataFrame(row))
    runs = {
        cell: [{"phase1_end": length * np.exp(rng.normal(0, 0.1))} for _ in range(16)]
        for cell, (_, length) in cells.items()
    }
    made = make_cells(runs, layers=pd.concat(frames))
    return removal_of_both(made, reference="plain", column="cos", removed_below=0.02)


def test_the_operation_that_shortens_least_decides(make_cells: MakeCells) -> None:
    cells = {"plain": (0.1, 300.0), "cure": (0.0, 60.0), "half": (0.0, 299.0), "no": (0.1, 350.0)}
    found = judged(make_cells, cells)
    assert found.detail.startswith("least: half; plain: rise 0.1")
    assert abs(found.effect) < 0.5
    assert "no leaves the collapse" in found.detail


def test_operations_that_leave_the_collapse_do_not_count(make_cells: MakeCells) -> None:
    found = judged(make_cells, {"plain": (0.1, 300.0), "cure": (0.0, 60.0), "no": (0.1, 350.0)})
    assert found.effect == -1
    assert found.p < 1e-3


def test_without_a_removed_collapse_nothing_is_known(make_cells: MakeCells) -> None:
    found = judged(make_cells, {"plain": (0.1, 300.0), "no": (0.1, 60.0)})
    assert np.isnan(found.effect)
    assert found.detail.startswith("no operation removes it")


def test_a_phase_shorter_than_the_rise_does_not_remove_the_collapse(make_cells: MakeCells) -> None:
    """Cosines that rise by 0.1 up to step 100 have collapsed, also where phase one ends at 15."""
    found = judged(make_cells, {"plain": (0.1, 300.0), "fast": (0.1, 15.0)}, risen=100)
    assert found.detail.startswith("no operation removes it")
    assert "fast leaves the collapse (rise 0.1" in found.detail
