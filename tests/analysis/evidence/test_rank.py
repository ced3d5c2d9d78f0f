"""RANK: planted staircases, bounds and orders are found, and nulls are not called effects."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.evidence import Cells
from analysis.evidence.rank import (
    aligned,
    below_bound,
    deeper,
    low_with_low_rank,
    rank_then_loss,
    rise,
    sooner,
    starts_higher,
    up_steps,
)

MakeCells = Callable[..., Cells]
LOOKS = 120
SEEDS = 16
STEP = 50 * np.arange(LOOKS)
PRIOR = 0.6
Run = dict[str, np.ndarray]


def cells_of(make_cells: MakeCells, runs: Callable[[str, int], Run], *names: str) -> Cells:
    """One run per cell and seed: its rank (last hidden), first (layer 1), loss, and probe columns.

    Depth 3: layers 1 and 2 are hidden, layer 3 holds the outputs.
    """
    rows = {name: [{"depth": 3, "prior_loss": PRIOR}] * SEEDS for name in names or ("plain",)}
    probe, layers = [], []
    for name in rows:
        for seed in range(SEEDS):
            run = runs(name, seed)
            ranks = (run.pop("first", run["rank"]), run.pop("rank"), np.ones(LOOKS))
            key = {"run_id": f"{name}/{seed}", "step": STEP}
            probe.append(pd.DataFrame({**key, "train_loss": run.pop("loss"), **run}))
            for layer, rank in enumerate(ranks, start=1):
                layers.append(pd.DataFrame({**key, "layer": layer, "eps_rank_abs_1em4": rank}))
    return make_cells(rows, probe=pd.concat(probe), probe_layers=pd.concat(layers))


def stairs(seed: int, shift: int = 0) -> Run:
    """A rank that gains 2 at eight random looks, and a loss that falls `shift` looks later."""
    rng = np.random.default_rng(seed)
    jumps = np.zeros(LOOKS)
    jumps[rng.choice(np.arange(5, LOOKS - 25), 8, replace=False)] = 1
    fall = np.roll(jumps, shift) + 0.02 * rng.random(LOOKS)
    return {"rank": 2 + 2 * np.cumsum(jumps), "loss": PRIOR * np.exp(-np.cumsum(fall) / 2)}


def wandering(seed: int) -> Run:
    """A rank without direction: 10 plus or minus a slow wave; a loss that knows nothing of it."""
    rng = np.random.default_rng(seed)
    rank = 10 + np.round(3 * np.sin(np.arange(LOOKS) / 6 + rng.uniform(0, 7)))
    return {"rank": rank, "loss": PRIOR * np.exp(-np.cumsum(0.02 * rng.random(LOOKS)))}


def test_a_planted_staircase_rises_by_its_steps(make_cells: MakeCells) -> None:
    found = rise(cells_of(make_cells, lambda _, seed: stairs(seed)))
    assert (found.effect, found.low, found.high) == (16, 16, 16)
    assert found.detail == "from 2 to 18 (medians)"


def test_a_staircase_has_no_down_steps_and_a_wave_as_many(make_cells: MakeCells) -> None:
    assert up_steps(cells_of(make_cells, lambda _, seed: stairs(seed))).effect == 1
    wave = up_steps(cells_of(make_cells, lambda _, seed: wandering(seed)))
    assert wave.low <= 0.5 <= wave.high
    assert wave.high < 0.75


def test_flutter_beside_a_threshold_is_no_step(make_cells: MakeCells) -> None:
    def fluttering(_: str, seed: int) -> Run:
        run = stairs(seed)
        run["rank"] = run["rank"] + (np.arange(LOOKS) % 5 == seed % 5)
        return run

    assert up_steps(cells_of(make_cells, fluttering)).effect > 0.75


def test_drops_at_rank_steps_are_aligned(make_cells: MakeCells) -> None:
    found = aligned(cells_of(make_cells, lambda _, seed: stairs(seed)))
    assert found.low > 0.8
    assert found.p < 1e-6
    assert "16 of 16 seeds" in found.detail


def test_drops_ten_looks_later_are_not_aligned(make_cells: MakeCells) -> None:
    found = aligned(cells_of(make_cells, lambda _, seed: stairs(seed, shift=10)))
    assert found.high < 0.1


def test_a_loss_that_knows_nothing_of_the_rank_is_seldom_called_aligned(
    make_cells: MakeCells,
) -> None:
    found = [
        aligned(cells_of(make_cells, lambda _, seed, k=k: wandering(100 * k + seed)))  # type: ignore[misc]
        for k in range(12)
    ]
    assert sum(one.p < 0.05 for one in found) <= 3  # of 12: more has probability 0.002


def bounded(seed: int, margin: float) -> Run:
    rmse = np.sqrt(stairs(seed)["loss"])
    bound = np.where(np.arange(LOOKS) < 60, rmse - margin, -0.1)
    bounds = {f"rank_bound_1em{k}": bound - 0.01 * k for k in (4, 6, 8)}
    return stairs(seed) | {"output_rmse": rmse, "rank_bound_1em2": bound, **bounds}


def test_a_bound_that_holds_is_never_broken(make_cells: MakeCells) -> None:
    found = below_bound(cells_of(make_cells, lambda _, seed: bounded(seed, 0.01)))
    assert (found.effect, found.low, found.n) == (0, 0, SEEDS)
    assert f"at {60 * SEEDS} of {LOOKS * SEEDS} looks" in found.detail


def test_one_look_below_its_bound_is_seen(make_cells: MakeCells) -> None:
    def broken(_: str, seed: int) -> Run:
        run = bounded(seed, 0.01)
        if seed == 3:
            run["rank_bound_1em2"][7] = run["output_rmse"][7] + 1e-3
        return run

    found = below_bound(cells_of(make_cells, broken))
    assert found.effect == 1 / SEEDS
    assert found.detail.endswith("below it at 1")


def test_a_bound_that_says_nothing_cannot_be_broken(make_cells: MakeCells) -> None:
    found = below_bound(cells_of(make_cells, lambda _, seed: bounded(seed, 5.0)))
    assert found.n == 0
    assert np.isnan(found.effect)


def test_a_low_loss_with_a_low_rank_is_counted(make_cells: MakeCells) -> None:
    def runs(_: str, seed: int) -> Run:
        run = stairs(seed)
        return run | {"rank": np.full(LOOKS, 3.0)} if seed < 4 else run

    found = low_with_low_rank(cells_of(make_cells, runs), loss_share=0.05, rank=4)
    assert (found.effect, found.n) == (4 / SEEDS, SEEDS)
    assert "16 of 16 runs reach it; the smallest rank there is 3" in found.detail


def test_runs_that_never_get_low_are_no_cases(make_cells: MakeCells) -> None:
    cells = cells_of(make_cells, lambda _, seed: {"rank": np.ones(LOOKS), "loss": np.ones(LOOKS)})
    assert low_with_low_rank(cells, loss_share=0.05, rank=4).n == 0


def test_the_last_hidden_layer_is_compared_with_the_first(make_cells: MakeCells) -> None:
    def runs(_: str, seed: int) -> Run:
        return stairs(seed) | {"first": np.full(LOOKS, 5.0)}

    assert deeper(cells_of(make_cells, runs)).effect == 13
    assert deeper(cells_of(make_cells, lambda _, seed: stairs(seed))).p == 1


def test_a_higher_start_and_a_sooner_end_are_paired_by_seed(make_cells: MakeCells) -> None:
    def runs(name: str, seed: int) -> Run:
        run = stairs(seed)
        if name == "plain":
            return run
        half = run["loss"][np.minimum(2 * np.arange(LOOKS), LOOKS - 1)]
        return {"rank": run["rank"] + 7, "loss": half}

    cells = cells_of(make_cells, runs, "structured", "plain")
    assert starts_higher(cells).effect == 7
    found = sooner(cells, loss_share=0.3)
    assert found.effect == pytest.approx(0.5, abs=0.02)  # looks halve to whole looks
    assert found.p < 1e-3


def test_who_never_gets_there_is_later_and_two_such_say_nothing(make_cells: MakeCells) -> None:
    def runs(name: str, seed: int) -> Run:
        never = {"rank": np.ones(LOOKS), "loss": np.full(LOOKS, PRIOR)}
        return never if name == "plain" or seed < 6 else stairs(seed)

    found = sooner(cells_of(make_cells, runs, "structured", "plain"), loss_share=0.3)
    assert (found.effect, found.n) == (0, SEEDS - 6)
    assert "6 of 16 without a value" in found.detail


def test_methods_are_ordered_alike_only_if_they_are(make_cells: MakeCells) -> None:
    speed = {"slow": 1, "middle": 2, "fast": 4}

    def quick(run: Run, factor: int) -> Run:
        at = np.minimum(factor * np.arange(LOOKS), LOOKS - 1)
        return {name: values[at] for name, values in run.items()}

    def alike(name: str, seed: int) -> Run:
        return quick(stairs(seed), speed[name])

    def opposed(name: str, seed: int) -> Run:
        slow_loss = quick(stairs(seed), 5 - speed[name])["loss"]
        return alike(name, seed) | {"loss": slow_loss}

    names = tuple(speed)
    assert rank_then_loss(cells_of(make_cells, alike, *names), 10, 0.3).effect == 1
    assert rank_then_loss(cells_of(make_cells, opposed, *names), 10, 0.3).effect == -1
