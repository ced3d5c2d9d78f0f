"""Maps hold every run once, in cells that touch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.figures.phase_diagram import cell_values
from analysis.maps import borders, read_maps
from tfc_jax.errors import InputError
from tfc_jax.results import Results, open_results

Write = Callable[..., Results]


@pytest.fixture
def write(tmp_path: Path, write_results: Write, plateau_of: Any) -> Write:
    """Writes one short run per config."""

    def made(configs: list[dict[str, Any]]) -> Results:
        return write_results(tmp_path / "out", configs, lambda run: (plateau_of(100, 400), 100.0))

    return made


GRID = [
    {"depth": depth, "init_scale": scale, "learning_rate": rate, "seed": seed}
    for depth in (3, 5)
    for scale in (0.5, 1.0, 2.0)
    for rate in (0.01, 0.1)
    for seed in (0, 1)
]


def test_a_sweep_without_refine_has_a_cell_per_point_and_a_map_per_other_value(
    write: Write,
) -> None:
    results = write(GRID)
    maps = read_maps(results, results.runs)
    assert [(one.title, one.y, one.x) for one in maps] == [
        ("depth 3", "init_scale", "learning_rate"),
        ("depth 5", "init_scale", "learning_rate"),
    ]
    for one in maps:
        assert one.runs.groupby("cell").size().tolist() == [2] * 6
        inside = one.runs.merge(one.boxes, left_on="cell", right_index=True, suffixes=("", "_"))
        assert inside["init_scale"].between(inside["y_low"], inside["y_high"]).all()
        assert inside["learning_rate"].between(inside["x_low"], inside["x_high"]).all()


def test_other_axes_are_the_numbers_with_most_values(write: Write) -> None:
    runs = [{**run, "momentum": run["learning_rate"], "learning_rate": 0.02} for run in GRID]
    runs += [{**run, "depth": 7} for run in runs if run["depth"] == 5]
    results = write(runs)
    (one, *rest) = read_maps(results, results.runs)
    assert (one.y, one.x, one.title, len(rest)) == ("depth", "init_scale", "momentum 0.01", 1)


def test_one_axis_alone_is_no_map(write: Write) -> None:
    results = write([{"depth": depth} for depth in (3, 5)])
    with pytest.raises(InputError, match=r"needs two keys that are numbers and vary.*: depth\."):
        read_maps(results, results.runs)


def test_cells_of_a_refined_sweep_are_its_leaves_alone(write: Write) -> None:
    results = write(GRID)
    ids = results.runs["run_id"].tolist()
    leaves = pd.DataFrame({"run_id": ids[8:], "cell": 0, "level": 1, "holds": None})
    sizes = {"learning_rate_low": 0.1, "learning_rate_high": 0.2, "init_scale_low": 1.0}
    table = leaves.assign(**sizes, init_scale_high=np.repeat([2.0, 4.0], 8))
    (results.path / "cells").mkdir()
    pq.write_table(pa.Table.from_pandas(table), results.path / "cells" / "leaves.parquet")
    maps = read_maps(open_results(results.path), results.runs)
    assert [(one.y, one.x) for one in maps] == [("learning_rate", "init_scale")] * 2
    assert sorted(run for one in maps for run in one.runs["run_id"]) == sorted(ids[8:])
    assert sum(len(one.boxes) for one in maps) == 3


def test_borders_lie_half_way_and_mirror_at_the_ends() -> None:
    assert borders(np.array([1.0, 2.0, 3.0])).tolist() == [0.5, 1.5, 2.5, 3.5]
    assert borders(np.array([0.0, 0.9])) == pytest.approx([-0.45, 0.45, 1.35])
    assert borders(np.array([0.01, 1.0])) == pytest.approx([0.001, 0.1, 10.0])
    assert borders(np.array([2.0])) == pytest.approx([2**0.5, 8**0.5])
    assert borders(np.array([0.0])).tolist() == [-0.5, 0.5]


@pytest.mark.parametrize(
    ("ended", "censored", "diverged", "disagreement"),
    [
        (4, 0, 0, 0.0),
        (0, 4, 0, 0.0),
        (2, 2, 0, 1.0),
        (3, 0, 1, 0.5),
        (0, 3, 1, 0.0),
        (1, 1, 2, 0.5),
    ],
)
def test_seeds_disagree_where_some_end_phase_one_and_others_do_not(
    write: Write, ended: int, censored: int, diverged: int, disagreement: float
) -> None:
    results = write([{**GRID[0], "seed": seed} for seed in range(4)] + GRID[-1:])
    runs = results.runs.assign(
        phase1_end=[100.0] * ended + [np.nan] * (censored + diverged) + [100.0],
        censored=[False] * ended + [True] * censored + [False] * (diverged + 1),
        diverged=[False] * (ended + censored) + [True] * diverged + [False],
        horizon=400,
    )
    cells = [cell_values(one) for one in read_maps(results, runs)]
    assert cells[0]["disagreement"].to_list() == pytest.approx([disagreement])
    assert cells[0]["censored"].to_list() == [censored / 4]
    assert np.isfinite(cells[0]["median"].iloc[0]) == (ended >= 2)
