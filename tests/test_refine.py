"""A refined sweep closes in on the true boundary, whatever order its outcomes come in."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps import write_sweep
from tfc_jax.cells import on_boundary
from tfc_jax.config import Sweep, load_sweep
from tfc_jax.keys import Run
from tfc_jax.record import Record
from tfc_jax.refine import NAMES, Expansion, Leaf, Refine, expand
from tfc_jax.schema import run_columns

GRID = {
    "depth": [3, 4],
    "init_scale": {"logspace": [0.5, 2.0, 5]},
    "learning_rate": {"logspace": [0.001, 1.0, 6]},
}
REFINE = {"axes": ["init_scale", "learning_rate"], "boundary": "final_loss < 2", "halvings": 2}


def make(
    folder: Path, *, where: str | None = None, limit: int | None = None, **sections: Any
) -> Sweep:
    given: dict[str, Any] = {"grid": GRID, "refine": REFINE, "seeds": 3, **sections}
    return load_sweep(write_sweep(folder, **given), where=where, limit=limit)


def the_refine(sweep: Sweep) -> Refine:
    assert sweep.refine
    return sweep.refine


def grown(sweep: Sweep, vote: Callable[[Run], bool | None]) -> Expansion:
    """What a refinement comes to when every run ends as `vote` says."""
    expansion = expand(the_refine(sweep), sweep.first, {})
    for _ in range(50):
        votes = {run.run_id: vote(run) for run in expansion.runs}
        expansion = expand(the_refine(sweep), sweep.first, votes)
        if not expansion.more:
            return expansion
    raise AssertionError("the refinement does not end")


def above(run: Run) -> float:
    """log10 of the learning rate over a line that is straight in the map and moves with depth."""
    line = -1.5 - 2 * math.log10(run.init_scale) + 0.4 * (run.depth - 3)
    return math.log10(run.learning_rate) - line


def is_above(run: Run) -> bool:
    return above(run) > 0


def on_the_boundary(sweep: Sweep, leaves: tuple[Leaf, ...]) -> list[Leaf]:
    at = on_boundary([e.cell for e in leaves], [e.holds for e in leaves], the_refine(sweep).shape)
    return [leaf for leaf, is_on in zip(leaves, at, strict=True) if is_on]


def test_every_cell_on_the_boundary_ends_at_the_stated_size_beside_the_true_curve(
    tmp_path: Path,
) -> None:
    sweep = make(tmp_path)
    rate = 3 / 5 / 4  # decades of learning rate that a cell of level 2 is high
    expansion = grown(sweep, is_above)
    assert len(expansion.maps) == 2
    for leaves in expansion.maps:
        found = on_the_boundary(sweep, leaves)
        assert {leaf.cell.level for leaf in found} == {2}
        assert len(found) > 20
        # Its neighbour, one cell away along an axis, lies beyond the curve, and is a cell of the
        # same size: the curve crosses between them. Along init_scale it rises by twice the log.
        scale = 2 * math.log10(4) / 4 / 4
        assert max(abs(above(leaf.runs[0])) for leaf in found) < max(rate, scale)
        assert {leaf.cell.level for leaf in leaves} == {0, 1, 2}


def test_cells_fill_the_map_once(tmp_path: Path) -> None:
    for leaves in grown(make(tmp_path), is_above).maps:
        assert sum(4.0**-leaf.cell.level for leaf in leaves) == 5 * 6


def test_runs_are_those_of_the_first_round_and_then_of_every_finer_cell(tmp_path: Path) -> None:
    sweep = make(tmp_path)
    expansion = grown(sweep, is_above)
    assert expansion.runs[: len(sweep.runs)] == sweep.runs
    ids = [run.run_id for run in expansion.runs]
    assert len(set(ids)) == len(ids)
    leaf_ids = {run.run_id for leaves in expansion.maps for leaf in leaves for run in leaf.runs}
    assert leaf_ids < set(ids)
    assert {len(leaf.runs) for leaves in expansion.maps for leaf in leaves} == {3}
    first = expansion.runs[len(sweep.runs)]
    assert [run.seed for run in expansion.runs[len(sweep.runs) :][:4]] == [0, 1, 2, 0]
    assert first.init_scale == float(f"{first.init_scale:.6g}")


def test_the_runs_known_grow_with_the_outcomes_in_whatever_order_they_come(tmp_path: Path) -> None:
    sweep = make(tmp_path)
    whole = grown(sweep, is_above)
    order, votes = list(whole.runs), dict[str, bool | None]()
    random.Random(0).shuffle(order)
    known = len(sweep.runs)
    for start in range(0, len(order), 40):
        votes |= {run.run_id: is_above(run) for run in order[start : start + 40]}
        expansion = expand(the_refine(sweep), sweep.first, votes)
        assert len(expansion.runs) >= known
        assert expansion.runs == whole.runs[: len(expansion.runs)]
        assert len(expansion.runs) + expansion.more >= len(whole.runs)
        known = len(expansion.runs)
    assert expansion == whole


def test_nothing_is_refined_where_all_cells_are_on_one_side(tmp_path: Path) -> None:
    sweep = make(tmp_path)
    assert grown(sweep, lambda run: True).runs == sweep.runs
    one_map = grown(sweep, lambda run: run.depth == 3 or is_above(run))
    assert {leaf.cell.level for leaf in one_map.maps[0]} == {0}
    assert {leaf.cell.level for leaf in one_map.maps[1]} == {0, 1, 2}


def test_a_coarse_cell_beside_a_fine_one_on_the_other_side_is_halved_too(tmp_path: Path) -> None:
    grid = {"init_scale": [0.5, 0.6, 0.7, 0.8, 0.9]}
    sweep = make(tmp_path, grid=grid, seeds=1, refine=REFINE | {"axes": ["init_scale"]})
    # The first round puts the boundary right of 0.7; its halves move it to the left of them, so
    # that the cell of 0.6, coarse until then, lies beside it.
    expansion = grown(sweep, lambda run: run.init_scale < 0.651 or run.init_scale == 0.7)
    assert [leaf.cell.level for leaf in expansion.maps[0]].count(2) == 4
    assert {leaf.cell.level for leaf in on_the_boundary(sweep, expansion.maps[0])} == {2}
    assert expansion.round == 3


def test_half_of_the_runs_put_a_cell_on_the_side_and_failed_ones_have_no_vote(
    tmp_path: Path,
) -> None:
    sweep = make(tmp_path, grid={"init_scale": [0.5, 1.0]}, seeds=4,
                 refine=REFINE | {"axes": ["init_scale"], "halvings": 0})  # fmt: skip

    def sides(*by_seed: bool | None) -> list[bool | None]:
        expansion = grown(sweep, lambda run: by_seed[run.seed] if run.init_scale < 0.7 else False)
        return [leaf.holds for leaf in expansion.maps[0]]

    assert sides(True, True, False, False) == [True, False]
    assert sides(True, False, False, False) == [False, False]
    assert sides(True, None, None, False) == [True, False]
    assert sides(None, None, None, None) == [None, False]


def test_a_cell_whose_runs_all_failed_has_no_boundary(tmp_path: Path) -> None:
    sweep = make(tmp_path)

    def vote(run: Run) -> bool | None:
        return None if is_above(run) else False

    assert grown(sweep, vote).runs == sweep.runs


def test_exclude_and_filter_choose_among_later_runs_too(tmp_path: Path) -> None:
    excluded = make(tmp_path, exclude=["learning_rate > 0.02 and seed == 1"])
    assert not [r for r in grown(excluded, is_above).runs if r.learning_rate > 0.02 and r.seed == 1]
    filtered = grown(make(tmp_path, where="seed < 2 and init_scale < 0.75"), is_above)
    assert {run.seed for run in filtered.runs} == {0, 1}
    assert max(run.init_scale for run in filtered.runs) < 0.75
    assert filtered.round > 0


@pytest.mark.parametrize("limit", [50, 5 * 6 * 2 * 3, 200])
def test_a_limit_counts_the_runs_of_all_rounds(tmp_path: Path, limit: int) -> None:
    whole = grown(make(tmp_path), is_above).runs
    assert limit < len(whole)
    limited = grown(make(tmp_path, limit=limit), is_above)
    assert limited.runs == whole[:limit]
    assert limited.round == int(limit > 5 * 6 * 2 * 3)
    assert {r for leaves in limited.maps for leaf in leaves for r in leaf.runs} <= set(limited.runs)


def test_no_halvings_mean_that_nothing_follows(tmp_path: Path) -> None:
    sweep = make(tmp_path, refine=REFINE | {"halvings": 0})
    assert (sweep.round, sweep.more) == (0, 0)
    assert grown(sweep, is_above).runs == sweep.runs


def test_a_sweep_says_how_many_runs_can_follow(tmp_path: Path) -> None:
    assert make(tmp_path).more == len(make(tmp_path).runs) * (4 + 16)


def test_a_boundary_may_name_what_the_runs_table_holds() -> None:
    assert set(NAMES) <= {column.name for column in run_columns(Record(metrics=(), probes=()))}
