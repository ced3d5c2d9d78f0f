"""VAR: planted peaks, correlations and collapses are found, and nulls are not called effects."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.evidence import Cells
from analysis.evidence.trainability import predicts
from analysis.evidence.variability import (
    against,
    apart,
    collapse_depth,
    from_peak,
    with_constancy,
    with_units,
)

MakeCells = Callable[..., Cells]
DEPTHS = (2, 3, 5, 8, 14, 24)
SEEDS = 16
HUMP = {2: 1.0, 3: 1.4, 5: 2.0, 8: 2.2, 14: 1.5, 24: 0.4}


def grid(
    make_cells: MakeCells,
    probe: Callable[[str, int, int], dict[str, float]],
    names: tuple[str, ...] = ("relu",),
    delta: Callable[[int, np.ndarray], np.ndarray] | None = None,
    trained: Callable[[str, int, int], float] = lambda *_: 100.0,
) -> Cells:
    """Cells of all depths and seeds: probe columns at step 0, and when accuracy reaches 1."""
    rows = {
        f"{name}@{depth}": [{"depth": depth, "n_units": 400 if depth == 2 else 30 * depth}] * SEEDS
        for name in names
        for depth in DEPTHS
    }
    looks, layers = [], []
    for cell in rows:
        name, depth = cell.split("@")
        for seed in range(SEEDS):
            run = f"{cell}/{seed}"
            at = trained(name, int(depth), seed)
            step = np.arange(0, 400, 25)
            accuracy = {"step": step, "train_accuracy": np.where(step >= at, 1.0, 0.5)}
            looks.append(pd.DataFrame({"run_id": run, **accuracy, **probe(name, int(depth), seed)}))
            layer = np.arange(1, int(depth) + 1)
            size = delta(int(depth), layer) if delta else np.ones(len(layer))
            cos = 1 - 0.5 ** (1.0 * layer)
            values = {"layer": layer, "delta_norm": size, "feature_cos": cos}
            layers.append(pd.DataFrame({"run_id": run, "step": 0, **values}))
    single = make_cells(rows, probe=pd.concat(looks), layers=pd.concat(layers))
    joined = {
        name: pd.concat([f for c, f in single.runs.items() if c.startswith(f"{name}@")])
        for name in names
    }
    return Cells(single.results, {n: f.reset_index(drop=True) for n, f in joined.items()})


def rng_of(name: str, depth: int, seed: int) -> np.random.Generator:
    return np.random.default_rng([len(name), depth, seed])


def hump(name: str, depth: int, seed: int) -> dict[str, float]:
    wobble = np.exp(0.1 * rng_of(name, depth, seed).standard_normal())
    cv = 3.0 / depth
    return {
        "v3_raw": HUMP[depth] * wobble,
        "v3_std": 1.0 * wobble,
        "output_cv": cv,
        "output_constant": 0.0,
    }


def flat(name: str, depth: int, seed: int) -> dict[str, float]:
    rng = rng_of(name, depth, seed)
    one, other = np.exp(0.3 * rng.standard_normal(2))
    return {"v3_raw": one, "v3_std": one, "output_cv": other, "output_constant": 0.0}


def test_a_peak_is_found_from_both_sides(make_cells: MakeCells) -> None:
    cells = grid(make_cells, hump)
    shallow, deep = from_peak(cells, "shallow"), from_peak(cells, "deep")
    # medians of ratios whose logarithm has deviation 0.14, over 16 seeds: 3 times 1.25 * 0.14 / 4
    assert shallow.effect == pytest.approx(1 / 2.2, rel=0.13)
    assert deep.effect == pytest.approx(0.4 / 2.2, rel=0.13)
    assert max(shallow.high, deep.high) < 0.7
    assert max(shallow.p, deep.p) < 1e-3
    assert "peaks at depth 8" in shallow.detail


def test_no_peak_is_chosen_from_noise(make_cells: MakeCells) -> None:
    found = from_peak(grid(make_cells, flat), "shallow")
    assert found.low < 1 < found.high


def test_a_function_that_only_falls_does_not_rise(make_cells: MakeCells) -> None:
    def falling(name: str, depth: int, seed: int) -> dict[str, float]:
        return {"v3_raw": 1 / depth * (1 + 0.01 * seed)}

    assert from_peak(grid(make_cells, falling), "shallow").effect == 1


def test_units_are_followed_up_to_the_peak_only(make_cells: MakeCells) -> None:
    found = with_units(grid(make_cells, hump))
    # depths 2, 3, 5, 8 have 400, 90, 150, 240 units: ranks 4123 of variabilities 1234
    assert found.effect == pytest.approx(-0.2, abs=0.21)  # one exchange of neighbours by noise
    assert "without depth 2 the median is 1.00" in found.detail


def test_constancy_is_a_negative_correlation_only_where_it_is(make_cells: MakeCells) -> None:
    def planted(name: str, depth: int, seed: int) -> dict[str, float]:
        return flat(name, depth, seed) | {"output_cv": 2 * flat(name, depth, seed)["v3_raw"]}

    found = with_constancy(grid(make_cells, planted))
    assert found.effect == pytest.approx(-1)
    null = with_constancy(grid(make_cells, flat))
    assert null.low < 0 < null.high


def test_outputs_of_zeros_are_the_most_constant(make_cells: MakeCells) -> None:
    def dead(name: str, depth: int, seed: int) -> dict[str, float]:
        values = {"v3_raw": 1.0 / depth, "v3_std": 1.0, "output_constant": 0.0}
        return values | {"output_cv": np.nan if depth == 24 else 1.0 / depth}

    assert with_constancy(grid(make_cells, dead)).effect == pytest.approx(-1)


@pytest.mark.parametrize(("fall", "apart_share"), [(0.05, 1.0), (0.2, 0.0)])
def test_constant_networks_are_told_by_their_gradients(
    make_cells: MakeCells, fall: float, apart_share: float
) -> None:
    def constant(name: str, depth: int, seed: int) -> dict[str, float]:
        return {"output_constant": float(depth == 24)}

    cells = grid(make_cells, constant, delta=lambda depth, layer: 10.0 ** (fall * layer))
    found = apart(cells, "constant")
    assert (found.effect, found.n) == (apart_share, SEEDS)
    # depth 2 has one hidden layer, over which nothing can fall
    assert apart(cells, "vanishing").n == (0 if fall < 0.1 else SEEDS * (len(DEPTHS) - 1))


def test_a_gradient_of_zero_has_vanished(make_cells: MakeCells) -> None:
    cells = grid(
        make_cells,
        lambda *_: {"output_constant": 1.0},
        delta=lambda depth, layer: np.where(layer == 1, 0.0, 1.0),
    )
    # the line through a fall of 37 decades in the first of 23 layers
    assert apart(cells, "constant").effect == 0


def test_the_layer_of_the_outputs_does_not_tell_of_hidden_ones(make_cells: MakeCells) -> None:
    cells = grid(
        make_cells,
        lambda *_: {"output_constant": 1.0},
        delta=lambda depth, layer: np.where(layer == depth, 1e9, 1.0),
    )
    assert apart(cells, "constant").effect == 1


def test_a_network_without_records_is_no_case(make_cells: MakeCells) -> None:
    cells = grid(make_cells, lambda *_: {"output_constant": 1.0})
    cells.results._tables["layers"] = cells.results.layers("depth == 24")  # type: ignore[attr-defined]
    assert apart(cells, "constant").n == SEEDS


@pytest.mark.parametrize("outcome", ["reached", "steps"])
def test_what_depth_cannot_know_is_credited_to_variability(
    make_cells: MakeCells, outcome: str
) -> None:
    """Half of the runs of every depth vary little and never train."""

    def two_kinds(name: str, depth: int, seed: int) -> dict[str, float]:
        return {"v3_raw": 1.0 + rng_of(name, depth, seed).integers(2) + 0.01 * seed}

    def trained(name: str, depth: int, seed: int) -> float:
        return 100.0 if two_kinds(name, depth, seed)["v3_raw"] >= 2 else np.inf

    found = predicts(grid(make_cells, two_kinds, trained=trained), outcome)  # type: ignore[arg-type]
    assert found.low > 0.2
    assert found.p < 0.01

    def infinite(name: str, depth: int, seed: int) -> dict[str, float]:
        known = two_kinds(name, depth, seed)
        return known if known["v3_raw"] >= 2 else {"v3_raw": np.inf}

    # What is not finite does not vary: those that never train are still told from the others.
    again = predicts(grid(make_cells, infinite, trained=trained), outcome)  # type: ignore[arg-type]
    assert again.low > 0.2


@pytest.mark.parametrize("outcome", ["reached", "steps"])
def test_where_depth_decides_all_a_random_variability_is_worse(
    make_cells: MakeCells, outcome: str
) -> None:
    cells = grid(make_cells, flat, trained=lambda _, depth, seed: 10 * depth if depth < 9 else 1e9)
    found = predicts(cells, outcome)  # type: ignore[arg-type]
    assert found.high < -0.2
    assert "depth 1.000" in found.detail


def test_a_planted_ratio_of_two_activations_is_found_at_every_depth(make_cells: MakeCells) -> None:
    def planted(name: str, depth: int, seed: int) -> dict[str, float]:
        return {"v3_raw": hump(name, depth, seed)["v3_raw"] * (1.5 if name == "abs" else 1)}

    found = against(grid(make_cells, planted, ("abs", "relu")))
    assert found.effect == pytest.approx(1.5, rel=0.1)  # a median of 16 medians of 6 with sd 0.14
    assert found.p < 1e-3
    null = against(grid(make_cells, flat, ("abs", "relu")))
    assert null.low < 1 < null.high


def test_depths_of_collapse_are_interpolated_and_compared(make_cells: MakeCells) -> None:
    def decaying(name: str, depth: int, seed: int) -> dict[str, float]:
        return {"output_cv": 10 ** (-depth / (10 if name == "abs" else 5))}

    found = collapse_depth(grid(make_cells, decaying, ("abs", "relu")), "spread")
    assert found.effect == pytest.approx(2.0)  # 1e-2 is passed at depths 20 and 10
    assert "abs: depth 20; relu: depth 10" in found.detail


def test_the_cosine_is_read_at_the_last_hidden_layer(make_cells: MakeCells) -> None:
    found = collapse_depth(grid(make_cells, hump, ("abs", "relu")), "cosine")
    assert found.effect == 1
    assert "abs: depth 7.64" in found.detail  # 1 - cos = 2^-(L-1) passes 1e-2 at L - 1 = 6.64


def test_networks_that_never_collapse_count_as_the_deepest(make_cells: MakeCells) -> None:
    def one_sided(name: str, depth: int, seed: int) -> dict[str, float]:
        return {"output_cv": 1.0 if name == "abs" else 10 ** (-depth / 4)}

    found = collapse_depth(grid(make_cells, one_sided, ("abs", "relu")), "spread")
    assert found.effect == pytest.approx(24 / 8)
    assert "abs: depth inf" in found.detail


def test_where_neither_collapses_nothing_is_known(make_cells: MakeCells) -> None:
    cells = grid(make_cells, lambda *_: {"output_cv": 1.0}, ("abs", "relu"))
    assert collapse_depth(cells, "spread").n == 0


def test_a_function_of_zeros_varies_infinitely_less(make_cells: MakeCells) -> None:
    def dead(name: str, depth: int, seed: int) -> dict[str, float]:
        return {"v3_raw": 0.0 if name == "relu" and depth > 4 else 1.0}

    assert against(grid(make_cells, dead, ("abs", "relu"))).effect == np.inf
    assert from_peak(grid(make_cells, dead), "deep").effect == 0


def test_seeds_are_paired_also_where_one_is_missing(make_cells: MakeCells) -> None:
    def gaps(name: str, depth: int, seed: int) -> dict[str, float]:
        factor = 1 + seed / 10
        at = depth / (10 if name == "abs" else 5) * factor
        return {"output_cv": 10**-at, "v3_raw": np.nan if (name, seed) == ("abs", 0) else factor}

    cells = grid(make_cells, gaps, ("abs", "relu"))
    absent = {n: f[(f["seed"] > 0) | (n == "relu")] for n, f in cells.runs.items()}
    found = collapse_depth(Cells(cells.results, absent), "spread")
    # 1e-2 is passed at depths 20 / factor and 10 / factor; beyond depth 5 from 2 on interpolation
    # of the logarithm is exact, so that every pair of one seed has the ratio 2
    assert (found.low, found.high) == pytest.approx((2, 2))
    assert found.n == SEEDS - 1
    assert against(cells).n == SEEDS - 1


def test_one_seed_has_no_others_to_choose_its_peak(make_cells: MakeCells) -> None:
    cells = grid(make_cells, hump)
    one = {"relu": cells.runs["relu"].query("seed == 0")}
    assert np.isnan(from_peak(Cells(cells.results, one), "shallow").effect)
    assert np.isnan(with_units(Cells(cells.results, one)).effect)
