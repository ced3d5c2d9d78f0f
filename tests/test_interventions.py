"""Interventions, arm by arm: what is removed, from which layers, and that nothing else changes."""

import re
import typing
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import stages

from tests.sweeps import BASE, make_sweep
from tfc_jax.errors import InputError
from tfc_jax.expression import parse
from tfc_jax.functional import Functional, Tree
from tfc_jax.hyper import Hyper
from tfc_jax.interventions import (
    ARMS,
    common_direction,
    intervene,
    random_basis,
    without,
    without_random,
)
from tfc_jax.keys import CONTRADICTIONS, INTERVENTIONS, KINDS, Run
from tfc_jax.models import mlp
from tfc_jax.network import Network
from tfc_jax.plan import make_plan, program_key
from tfc_jax.sampling import REDRAW

EPS = float(np.finfo(np.float32).eps)
D, K, N, DEPTH, WIDTH = 7, 3, 30, 5, 6
MIDDLE = 3
RUN = Run(depth=DEPTH, width=WIDTH, bias=True, norm="layer", intervene_at=4)
NET = Functional(Network(RUN, (D,), K, K))
X = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
SHAPES = [(24, 10), (10, 24), (12, 12)]

remove = jax.jit(lambda w: without(w, common_direction(w).inward))
direction = jax.jit(lambda w: common_direction(w).inward)
remove_random = jax.jit(lambda w, seed: without_random(w, jax.random.key(seed)))


def matrix(shape: tuple[int, int], strength: float, seed: int = 0) -> np.ndarray:
    """Gaussian noise of spectral norm about 1, plus a common direction: a rank-one part."""
    rng = np.random.default_rng(seed)
    u, v = (rng.standard_normal(n) for n in shape)
    common = strength * np.outer(u / np.linalg.norm(u), v / np.linalg.norm(v))
    noise = rng.standard_normal(shape) / (np.sqrt(shape[0]) + np.sqrt(shape[1]))
    return (common + noise).astype(np.float32)


def energy(a: Any) -> float:
    return float(np.sum(np.asarray(a, np.float64) ** 2))


# --- the common direction


@pytest.mark.parametrize("shape", SHAPES)
def test_removing_the_common_direction_is_what_a_singular_value_decomposition_says(
    shape: tuple[int, int],
) -> None:
    w = matrix(shape, 3.0)
    inward, sigma, _ = np.linalg.svd(w.astype(np.float64), full_matrices=False)
    expected = w - np.outer(inward[:, 0], inward[:, 0] @ w.astype(np.float64))
    found = np.asarray(remove(w))
    # Products of sum(shape) terms turn the direction by that many roundings over the gap, on
    # either side of W - v v^T W.
    gap = 1 - (sigma[1] / sigma[0]) ** 2
    assert np.linalg.norm(found - expected) <= 2 * sum(shape) * EPS * sigma[0] / gap
    # The roundings of three sums of squares and of the matrix itself.
    assert abs(energy(w) - energy(found) - sigma[0] ** 2) <= 4 * sum(shape) * EPS * energy(w)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("strength", [0.0, 1.0, 30.0])
def test_nothing_of_the_direction_is_left_whether_or_not_the_iteration_converged(
    shape: tuple[int, int], strength: float
) -> None:
    w = matrix(shape, strength)
    orthogonal = np.linalg.qr(w)[0]  # all singular values are equal: no direction is the top one
    for a in (w, orthogonal.astype(np.float32)):
        left = np.asarray(direction(a), np.float64) @ np.asarray(remove(a), np.float64)
        assert np.linalg.norm(left) <= 4 * (len(a) + 2) * EPS * np.sqrt(energy(a))


def test_a_direction_of_zeros_removes_nothing() -> None:
    w = matrix((10, 4), 1.0)
    assert np.array_equal(without(jnp.asarray(w), jnp.zeros(10)), w)


# --- sham


@pytest.mark.parametrize("strength", [0.0, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_sham_removes_as_much_energy_as_the_common_direction_has(
    shape: tuple[int, int], strength: float
) -> None:
    for seed in range(5):
        w = matrix(shape, strength, seed)
        removed = energy(w) - energy(remove_random(w, seed))
        common = energy(np.asarray(direction(w), np.float64) @ w)
        # Roundings of a basis of min(shape) columns, of projections and of the sums of squares.
        assert abs(removed - common) <= 8 * min(shape) * EPS * energy(w)
        assert common > 0.1 * energy(w) / min(shape)


def test_a_sham_favours_no_direction() -> None:
    """Of an orthogonal matrix it removes one random direction: 1/n of any fixed one, on average."""
    n, n_seeds = 16, 400
    w = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (n, n)))[0]
    keys = jax.vmap(jax.random.key)(jnp.arange(n_seeds))
    after = np.asarray(jax.jit(jax.vmap(lambda key: without_random(w, key)))(keys), np.float64)
    removed = np.sum((np.asarray(w) - after) * np.asarray(w), axis=2)  # of each input: (seeds, n)
    # The squared cosine of two random directions: variance 2 (n-1) / (n^2 (n+2)).
    sd = np.sqrt(2 * (n - 1) / (n + 2)) / n
    assert np.abs(removed.mean(axis=0) - 1 / n).max() < 4 * sd / np.sqrt(n_seeds)
    assert removed.std() == pytest.approx(sd, rel=0.1)  # 6400 squares: 4 sd of it are some 10 %


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sham_removes_one_direction_after_another(shape: tuple[int, int]) -> None:
    """A twin in float64, which reads the same basis and takes its columns in a loop."""
    w = matrix(shape, 2.0)
    rows = w if w.shape[0] <= w.shape[1] else w.T
    key = jax.random.key(0)
    basis = np.asarray(random_basis(min(shape), key, jnp.dtype("float32")), np.float64)
    assert np.allclose(basis.T @ basis, np.eye(min(shape)), atol=8 * min(shape) * EPS)
    left, slack = energy(np.asarray(direction(w), np.float64) @ w), min(shape) * EPS * energy(w)
    twin, tolerance = rows.astype(np.float64), 0.0
    for column in basis.T:
        part = column @ twin
        share = min(left / energy(part), 1.0)
        kept = np.sqrt(1 - share)
        twin = twin - np.outer(column, (1 - kept) * part)
        left -= share * energy(part)
        # As slack is the error of the energy that is left, this is that of the last factor.
        tolerance += 0 if share == 1 else slack / (2 * kept * np.sqrt(energy(part)))
        if left <= slack:
            break
    found = np.asarray(remove_random(w, 0), np.float64)
    found = found if w.shape[0] <= w.shape[1] else found.T
    tolerance += 8 * min(shape) * EPS * np.sqrt(energy(w))
    assert tolerance < 0.01 * np.linalg.norm(rows - twin)
    assert np.linalg.norm(found - twin) <= tolerance


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("power", [-80, 80])
def test_removals_scale_with_the_weights_where_squares_leave_float32(
    shape: tuple[int, int], power: int
) -> None:
    w, scale = matrix(shape, 1.0), np.float32(2.0**power)
    for change in (remove, lambda a: remove_random(a, 3)):
        # A power of two commutes with roundings.
        assert np.array_equal(change(scale * w), scale * np.asarray(change(w)))


def test_other_seeds_have_other_shams() -> None:
    w = matrix((12, 12), 1.0)
    first, again, other = (np.asarray(remove_random(w, seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert np.linalg.norm(first - other) > 0.1 * np.linalg.norm(w)


@pytest.mark.parametrize("change", [remove, lambda w: remove_random(w, 0)])
@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
def test_a_matrix_of_rank_one_loses_everything(change: Callable, shape: tuple[int, int]) -> None:
    w = matrix(shape, 1.0)
    # Energies cancel to so many roundings; the root of what is left comes through a sham.
    assert np.linalg.norm(change(w)) <= np.sqrt(8 * max(shape) * EPS * energy(w))


@pytest.mark.parametrize("change", [remove, lambda w: remove_random(w, 0)])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_matrix_of_zeros_stays(change: Callable, shape: tuple[int, int]) -> None:
    assert not np.any(change(np.zeros(shape, np.float32)))


# --- arms on a network


@cache
def weights(seed: int = 0) -> tuple[Tree, Tree]:
    return jax.jit(NET.init)(Hyper.of(replace(RUN, seed=seed)))


@cache
def in_lanes() -> stages.Wrapped:
    return jax.jit(
        jax.vmap(lambda params, hyper: intervene(NET, params, {}, hyper, jnp.asarray(X)))
    )


@cache
def changing(net: Functional) -> stages.Wrapped:
    return jax.jit(lambda params, hyper, x: intervene(net, params, {}, hyper, x))


def arm(name: str, layer: int | None = None, value: float | None = None, **keys: Any) -> Run:
    where = {"intervene_layer": layer, "intervene_value": value}
    return replace(RUN, intervention=name, **where, **keys)  # type: ignore[arg-type]


def changed(run: Run, params: Tree | None = None, net: Functional = NET) -> tuple[Tree, Tree]:
    """Parameters before and after, as NumPy arrays."""
    before = weights()[0] if params is None else params
    after = changing(net)(before, Hyper.of(run), X)
    return jax.tree.map(np.asarray, before), jax.tree.map(np.asarray, after)


def assert_only(layers: set[int], before: Tree, after: Tree, net: Functional = NET) -> None:
    """The weights of these layers, and nothing else, have other bits."""
    old, new = net.kernels(before), net.kernels(after)
    moved = {i for i, (a, b) in enumerate(zip(old, new, strict=True), 1) if (a != b).any()}
    assert moved == layers
    restored = net.with_kernels(after, old)
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(restored), strict=True)
    assert all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def test_the_arms_are_those_that_a_sweep_may_name() -> None:
    hint = typing.get_type_hints(Run)["intervention"]
    assert typing.get_args(hint) == INTERVENTIONS == tuple(KEYS_OF_ARMS)
    assert set(ARMS) == set(INTERVENTIONS)


# name: (value, layers above the intervened one whose weights change)
KEYS_OF_ARMS: dict[str, tuple[float | None, int | None]] = {
    "none": (None, None),
    "remove_common_direction": (None, 0),
    "remove_feature_mean": (None, 1),
    "rescale": (0.3, 0),
    "reinit_dead": (None, 0),
    "enable_momentum": (0.9, None),
    "sham": (None, 0),
}


@pytest.mark.parametrize("name", INTERVENTIONS)
@pytest.mark.parametrize("layer", [0, 1, DEPTH - 1, None])
def test_an_arm_changes_the_weights_of_its_layers_and_nothing_else(
    name: str, layer: int | None
) -> None:
    value, above = KEYS_OF_ARMS[name]
    run = arm(name, layer, value)
    before, after = changed(run, with_dead_units())
    acted = {1: {1}, 0: set(range(1, DEPTH)), None: {MIDDLE}}.get(layer, {DEPTH - 1})
    assert set(run.intervened_layers) == acted
    assert_only(set() if above is None else {i + above for i in acted}, before, after)


@pytest.mark.parametrize("name", ["remove_common_direction", "sham"])
@pytest.mark.parametrize("layer", [0, 1])
def test_removals_act_on_the_kernels(name: str, layer: int) -> None:
    before, after = changed(arm(name, layer))
    for i, (a, b) in enumerate(zip(NET.kernels(before), NET.kernels(after), strict=True), 1):
        removed = energy(np.asarray(direction(a), np.float64) @ a)
        expected = removed if i == layer or (layer == 0 and i < DEPTH) else 0
        # As above.
        assert abs(energy(a) - energy(b) - expected) <= 8 * max(a.shape) * EPS * energy(a)


def test_layers_and_seeds_have_shams_of_their_own() -> None:
    # Its singular values are equal, so that the common direction is far from holding half.
    kernel = jnp.asarray(np.linalg.qr(matrix((WIDTH, WIDTH), 0.0))[0])
    first, *_, last = NET.kernels(weights()[0])
    params = NET.with_kernels(weights()[0], (first, kernel, kernel, kernel, last))
    lost = []
    for seed in (0, 1):
        before, after = changed(arm("sham", 0, seed=seed), params)
        lost += [b - a for a, b in zip(NET.kernels(before), NET.kernels(after), strict=True)][1:4]
    for i, a in enumerate(lost):
        assert all(np.linalg.norm(a - b) > 0.1 for b in lost[:i])


def test_rescaling_multiplies_exactly() -> None:
    before, after = changed(arm("rescale", None, 0.3))
    expected = np.float32(0.3) * NET.kernels(before)[MIDDLE - 1]
    assert np.array_equal(NET.kernels(after)[MIDDLE - 1], expected)


def features(params: Tree) -> list[np.ndarray]:
    """A twin of the network in float64."""
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    h, found = X.astype(np.float64), []
    for i in range(DEPTH - 1):
        linear, norm = params["layers"][i], params["norms"][i]
        a = h @ linear["kernel"] + linear["bias"]
        centred = a - a.mean(axis=1, keepdims=True)
        a = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-6)
        h = np.maximum(a * norm["scale"] + norm["bias"], 0)
        found.append(h)
    return found


@pytest.mark.parametrize("layer", [0, 1, DEPTH - 1])
def test_the_layer_above_no_longer_reads_the_mean_feature(layer: int) -> None:
    before, after = changed(arm("remove_feature_mean", layer))
    for i, feature in enumerate(features(before), start=1):
        old, new = (NET.kernels(p)[i].astype(np.float64) for p in (before, after))
        mean = feature.mean(axis=0) / np.linalg.norm(feature.mean(axis=0))
        expected = old - np.outer(mean, mean @ old) if layer in (0, i) else old
        # Sums of at most N = 30 terms over 4 layers whose norms may amplify roundings threefold.
        assert np.linalg.norm(new - expected) <= 3**4 * N * EPS * np.linalg.norm(old)
        assert layer not in (0, i) or np.linalg.norm(old - expected) > 0.1 * np.linalg.norm(old)


def test_a_layer_without_any_feature_has_no_mean_to_remove() -> None:
    params = with_bias(-9.0, MIDDLE, range(WIDTH))
    before, after = changed(arm("remove_feature_mean", MIDDLE), params)
    assert_only(set(), before, after)


def with_bias(value: float, layer: int, units: Any) -> Tree:
    """Norms that move these units to the same side for every sample."""
    params = weights()[0]
    norm = params["norms"][layer - 1]
    bias = norm["bias"].at[jnp.array(list(units))].set(value)
    return params | {"norms": params["norms"] | {layer - 1: norm | {"bias": bias}}}


def with_dead_units() -> Tree:
    """Unit 1 of every hidden layer is off: a normalised value of 6 units is below 3."""
    params = weights()[0]
    norms = {i: n | {"bias": n["bias"].at[1].set(-9.0)} for i, n in params["norms"].items()}
    return params | {"norms": norms}


@pytest.mark.parametrize("init_scale", [1.0, 0.25])
def test_dead_units_get_weights_of_the_initial_law_and_others_keep_theirs(
    init_scale: float,
) -> None:
    run = arm("reinit_dead", init_scale=init_scale, seed=3)
    before, after = changed(run, with_bias(-9.0, MIDDLE, [1, 4]))
    hyper = Hyper.of(run)
    first, fresh = (NET.kernels(NET.init(hyper, *p)[0])[MIDDLE - 1] for p in ((), (REDRAW,)))
    is_dead = (features(before)[MIDDLE - 1] == 0).all(axis=0)
    assert is_dead[[1, 4]].all()
    assert not is_dead.all()
    expected = np.where(is_dead, fresh, NET.kernels(before)[MIDDLE - 1])
    # The same draw, compiled alone and within a program: a product may be rounded differently.
    assert np.allclose(NET.kernels(after)[MIDDLE - 1], expected, rtol=4 * EPS, atol=0)
    assert_only({MIDDLE}, before, after)
    assert np.all(np.abs(fresh - first) > 1e-4 * init_scale)
    # Standard deviation of a standard deviation of n draws: 1/sqrt(2n); Xavier: 1/sqrt(width).
    law = init_scale / np.sqrt(WIDTH)
    assert abs(np.std(fresh) / law - 1) < 4 / np.sqrt(2 * fresh.size)


def test_a_unit_that_one_sample_turns_on_is_not_dead() -> None:
    params = weights()[0]
    values = features(params)[MIDDLE - 1]
    top = np.sort(values[:, 0])[::-1]
    assert top[0] > top[1] + 0.01 > 0.01
    for bias, is_dead in ((-(top[0] + top[1]) / 2, False), (-top[0] - 0.01, True)):
        before, after = changed(arm("reinit_dead"), with_bias(float(bias), MIDDLE, [0]))
        moved = NET.kernels(before)[MIDDLE - 1] != NET.kernels(after)[MIDDLE - 1]
        assert moved[:, 0].all() == moved[:, 0].any() == is_dead


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu"])
def test_off_means_never_above_zero_whatever_the_activation(activation: Any) -> None:
    net = Functional(replace(NET.network, run=replace(RUN, activation=activation)))
    before, after = changed(arm("reinit_dead"), with_bias(-9.0, MIDDLE, [2]), net)
    moved = NET.kernels(before)[MIDDLE - 1] != NET.kernels(after)[MIDDLE - 1]
    assert moved[:, 2].all()
    assert not moved.all()


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_weights_that_are_not_finite_come_through_and_touch_no_other_lane(name: str) -> None:
    run = arm(name, 0, KEYS_OF_ARMS[name][0])
    bad = jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), weights()[0])
    good = with_dead_units()
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), bad, good)
    swapped = jax.tree.map(lambda a: jnp.stack([a, jnp.ones_like(a)]), good)
    after, other = (in_lanes()(p, Hyper.stacked([run, run])) for p in (both, swapped))
    assert all(np.isnan(a[0]).all() for a in jax.tree.leaves(after))
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(other), strict=True):
        assert np.array_equal(a[1], b[0])
        assert np.isfinite(a[1]).all()


def test_every_product_is_of_full_precision_whatever_training_asks_for() -> None:
    with jax.default_matmul_precision("bfloat16"):
        lowered = changing(NET).lower(weights()[0], Hyper.of(RUN), X)
    products = [line for line in lowered.as_text().splitlines() if "dot_general" in line]
    assert len(products) > 2 * DEPTH
    assert all(re.search(r"precision = \[HIGHEST, HIGHEST\]", line) for line in products)


@pytest.mark.parametrize("name", ["remove_common_direction", "remove_feature_mean", "sham"])
def test_float64_weights_are_treated_in_float64(name: str) -> None:
    with jax.enable_x64():
        params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), weights()[0])
        hyper = Hyper.of(arm(name, 2), np.float64)
        after = changing(NET)(params, hyper, jnp.asarray(X, jnp.float64))
        old, new = (NET.kernels(p)[1 + (name == "remove_feature_mean")] for p in (params, after))
        assert new.dtype == np.float64
        v = np.asarray(common_direction(old).inward)
        if name == "remove_feature_mean":
            mean = features(params)[1].mean(axis=0)
            v = mean / np.linalg.norm(mean)
        expected = energy(v @ np.asarray(old))
        # Some hundred roundings of 1e-16.
        assert abs(energy(old) - energy(new) - expected) < 1e-13


# --- keys, plans


def test_arms_and_their_control_share_a_program_and_a_run_without_them_does_not() -> None:
    runs = [arm(name, None, value) for name, (value, _) in KEYS_OF_ARMS.items()]
    assert {program_key(run) for run in runs} == {program_key(RUN)}
    assert program_key(replace(RUN, intervene_at=None)) != program_key(RUN)
    assert program_key(replace(RUN, intervene_at=9, intervene_layer=0)) == program_key(RUN)


DENSE_NEEDED = {"remove_feature_mean": (1, 3), "reinit_dead": (2, 4)}


@pytest.mark.parametrize("name", INTERVENTIONS)
@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_an_arm_is_refused_only_where_the_layer_that_it_needs_is_not_dense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, layer: int
) -> None:
    monkeypatch.setattr(mlp, "dense_layers", lambda run: (2, 4))
    keys = {"intervention": name, "intervene_at": 9, "intervene_value": KEYS_OF_ARMS[name][0]}
    if name != "enable_momentum":
        keys["intervene_layer"] = layer
    sweep = make_sweep(tmp_path, base=BASE | {"depth": 4} | keys, grid={})
    if name in DENSE_NEEDED and layer not in DENSE_NEEDED[name]:
        with pytest.raises(InputError, match=f"{name} needs layer . to be fully connected"):
            make_plan(sweep, platform="cpu")
    else:
        assert len(make_plan(sweep, platform="cpu").packs) == 1


@pytest.mark.parametrize("name", DENSE_NEEDED)
def test_layers_that_are_not_dense_are_left_as_they_are(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(mlp, "dense_layers", lambda run: (2, 4))
    net = Functional(replace(NET.network, run=replace(RUN, scaling="none")))  # compiled anew
    before, after = changed(arm(name, 0), with_dead_units(), net)
    assert_only({2, 4}, before, after)


CONTROL: dict[str, Any] = {"intervene_at": 5}
EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    ("give intervene_at", {"intervention": "sham"}),
    ("intervene_at < steps", {"intervene_at": 1000}),
    ("intervene_at < steps", CONTROL | {"steps": 5}),
    ("intervene_layer has no effect", {"intervene_layer": 1}),
    ("intervene_layer has no effect", {"intervene_layer": 0}),
    ("interventions act on hidden layers and depth 1 has none", CONTROL | {"depth": 1}),
    ("intervene_layer < depth", CONTROL | {"intervene_layer": 5}),
    ("give intervene_value", CONTROL | {"intervention": "rescale"}),
    ("give intervene_value", CONTROL | {"intervention": "enable_momentum"}),
    ("leave it at null, or zip", CONTROL | {"intervene_value": 0.5}),
    ("leave it at null, or zip", CONTROL | {"intervention": "sham", "intervene_value": 0.5}),
    (
        "intervene_value < 1",
        CONTROL | {"intervention": "enable_momentum", "intervene_value": 1.0},
    ),
    (
        "optimizer sgd and momentum 0",
        CONTROL | {"intervention": "enable_momentum", "intervene_value": 0.9, "momentum": 0.5},
    ),
    (
        "optimizer sgd and momentum 0",
        CONTROL | {"intervention": "enable_momentum", "intervene_value": 0.9, "optimizer": "adam"},
    ),
    (
        "leave intervene_layer at null",
        CONTROL | {"intervention": "enable_momentum", "intervene_value": 0.9, "intervene_layer": 1},
    ),
]


def met(run: Run) -> list[str]:
    return [
        why
        for when, why in CONTRADICTIONS
        if parse(when, KINDS).matches(lambda name: getattr(run, name))
    ]


@pytest.mark.parametrize(("why", "keys"), EXAMPLES)
def test_a_contradiction_is_met_by_the_run_that_shows_it(why: str, keys: dict) -> None:
    assert [why in w for w in met(Run(**keys))] == [True]


def test_every_contradiction_of_interventions_has_an_example() -> None:
    for when, why in CONTRADICTIONS:
        if "interven" in when and "momentum_dtype" not in when:
            assert any(part in why for part, _ in EXAMPLES), why


@pytest.mark.parametrize(
    "keys",
    [
        CONTROL,
        CONTROL | {"intervene_layer": 0},
        CONTROL | {"intervene_layer": 4, "intervention": "sham", "optimizer": "adam"},
        {"intervene_at": 999, "intervention": "rescale", "intervene_value": 2.0, "momentum": 0.9},
        {"intervene_at": 0, "intervention": "enable_momentum", "intervene_value": 0.9}
        | {"momentum_dtype": "bfloat16"},
    ],
)
def test_sensible_interventions_contradict_nothing(keys: dict) -> None:
    assert met(Run(**keys)) == []
