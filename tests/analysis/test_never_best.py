"""Wherever runs are compared, one that diverged comes last, whatever its last loss is.

That loss may be NaN, infinite, or finite again: `first_bad_step` says that it diverged.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.evidence.variability import _by_depth, _peaks
from analysis.generalization import _crossing
from analysis.looks import first_look
from analysis.phases import analyse
from analysis.report.conditions import conditions_table
from analysis.report.tables import Cell, runs_table
from analysis.survival import cliffs_delta, kaplan_meier
from analysis.timeline import whole_runs
from tests.sweeps import make_sweep, train
from tfc_jax.expression import parse
from tfc_jax.layout import Folder
from tfc_jax.refine import NAMES
from tfc_jax.results import open_results
from tfc_jax.rounds import _with_worst_ends
from tfc_jax.show import list_runs
from tfc_jax.status import read_status

ENDS = (float("nan"), float("inf"), 1e-9)  # of a run that diverged
GOOD = (
    "final_loss < 2.2",
    "not final_loss > 2.2",
    "final_accuracy > 0.5",
    "not final_accuracy <= 0.5",
    "final_loss < 2.2 and final_accuracy >= 0.1",
)
BAD = ("final_loss > 2.2", "not final_loss < 2.2", "final_accuracy < 0.5", "status == 'diverged'")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that learn, and two that leave float32 at once; cells of a sweep that refines."""
    folder = tmp_path_factory.mktemp("never-best")
    grid = {"learning_rate": {"logspace": [0.1, 1e20, 2]}, "init_scale": [0.8, 1.0]}
    refine = {"axes": ["learning_rate"], "boundary": "not final_loss > 100", "halvings": 0}
    counts = train(make_sweep(folder, grid=grid, refine=refine), folder / "out", width=4)
    assert counts == {"done": 2, "diverged": 2}
    return folder / "out"


@pytest.mark.parametrize("end", ENDS)
def test_a_boundary_has_a_diverged_run_on_its_worse_side(end: float) -> None:
    runs = pd.DataFrame(
        {
            "status": ["done", "diverged"],
            "final_loss": pd.array([0.1, end], "Float64"),
            "final_accuracy": pd.array([0.9, 1.0], "Float64"),
        }
    )
    for text in (*GOOD, *BAD):
        found = parse(text, NAMES).mask(_with_worst_ends(runs))
        assert list(found) == [text in GOOD, text in BAD], text


def test_the_cells_of_a_trained_sweep_have_its_diverged_runs_on_the_worse_side(
    trained: Path,
) -> None:
    cells = open_results(trained).table("cells", config=["learning_rate", "status"])
    assert (cells["holds"].astype(bool) == (cells["status"] == "done")).all()
    assert sorted(cells["status"]) == ["diverged", "diverged", "done", "done"]


def test_a_filter_by_loss_lists_no_diverged_run_and_the_plateau_counts_none(trained: Path) -> None:
    results = open_results(trained)
    assert list_runs(results, "final_loss < 1e30", None)["status"].to_pylist() == ["done"] * 2
    assert "diverged" in list_runs(results, None, None)["status"].to_pylist()
    state = read_status(Folder(trained))
    assert state.plateaued.keys() == {"running", "done"}
    assert sum(state.plateaued.values()) <= 2
    assert all(np.isfinite(value) for curve in state.curves for value in curve.values)


def test_a_diverged_run_never_ends_its_phase_and_is_in_no_median_of_lengths(trained: Path) -> None:
    results = open_results(trained)
    phases = results.runs.merge(analyse(results), on="run_id", suffixes=("_old", ""))
    diverged = phases["status"] == "diverged"
    assert phases.loc[diverged, "diverged"].all()
    assert phases.loc[diverged, "phase1_end"].isna().all()
    assert phases.loc[diverged, "middle_cos_between_peak"].isna().all()
    assert not np.isfinite(kaplan_meier(phases[diverged]).median)
    ended = phases[~diverged].assign(phase1_end=pd.array([5, 9], "Int64"), censored=False)
    assert cliffs_delta(phases[diverged], ended) == 1
    assert set(whole_runs(results)[0]["status"]) == {"done"}


def order(cell: Cell) -> float | None:
    """What the page's tables sort a cell of numbers by; None comes last (static/tables.js)."""
    try:
        value = float(cell.key or cell.text)
    except ValueError:
        return None
    return None if np.isnan(value) or np.isinf(value) else value


@pytest.mark.parametrize("end", ENDS)
def test_tables_of_the_report_sort_diverged_runs_last(
    tmp_path: Path, write_results: Any, plateau_of: Any, end: float
) -> None:
    bad = {"status": "diverged", "first_bad_step": 3, "final_loss": end, "final_accuracy": 1.0}
    good = {"status": "done", "final_loss": 0.5, "final_accuracy": 0.5}
    configs = [{"seed": seed, "depth": 3, **good} for seed in range(3)]
    configs += [{"seed": seed, "depth": 5, **(bad if seed else good)} for seed in range(3)]
    results = write_results(tmp_path, configs, lambda run: (plateau_of(100, 400), 100.0))
    runs = results.runs
    phases = runs.merge(analyse(results), on="run_id", suffixes=("_old", ""))
    names = {"x": runs.set_index("run_id")["depth"].astype(str)}
    table, _ = runs_table({"x": phases}, names)
    for row, diverged in zip(table.rows, runs["status"] == "diverged", strict=True):
        assert [order(cell) is None for cell in row[-2:]] == [diverged] * 2
        assert (order(row[4]) is None) == diverged
    groups = {"x": {str(depth): group for depth, group in runs.groupby("depth")}}
    whole, broken = conditions_table(groups, {"x": phases}).rows
    assert [order(cell) for cell in whole[-2:]] == [0.5, 0.5]
    assert [cell.text for cell in broken[-2:]] == ["-", "-"]


def test_nothing_is_reached_by_what_is_not_a_number() -> None:
    nan, inf = np.nan, np.inf
    loss_RxM = np.array([[2.0, nan, nan], [2.0, inf, 0.1], [2.0, 1.5, 0.1]])
    assert first_look(np.arange(3.0), loss_RxM[:1] <= 1).tolist() == [inf]
    for row in ([2.0, nan, 0.1], [nan, 0.1, 0.1], [inf, 0.1, 0.1], [nan, nan, nan]):
        assert np.isnan(_crossing(np.array(row), np.ones(3), 1.0))
    runs = pd.DataFrame({"seed": [0, 0, 1, 1, 2, 2], "depth": [2, 3] * 3})
    runs["v3_raw"] = [2.0, 1.0, 2.0, 1.0, inf, 9.0]
    table = _by_depth(runs, "v3_raw")
    assert table.index.tolist() == [0, 1]
    assert _peaks(table).tolist() == [2, 2]
