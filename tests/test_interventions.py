"""Interventions, arm by arm: what is removed, from which layers, and that nothing else changes."""

import re
import typing
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
from tfc_jax import registry
from tfc_jax.errors import InputError
from tfc_jax.functional import Functional, Tree
from tfc_jax.hyper import Hyper
from tfc_jax.interventions import (
    ARMS,
    Moment,
    common_direction,
    intervene,
    remove_common_direction,
    rescale,
)
from tfc_jax.keys import INTERVENTIONS, Run
from tfc_jax.models import mlp
from tfc_jax.network import Network
from tfc_jax.pack import program_key
from tfc_jax.plan import make_plan
from tfc_jax.sampling import REDRAW

EPS = float(np.finfo(np.float32).eps)
D, K, N, DEPTH, WIDTH = 7, 3, 30, 5, 6
MIDDLE = 3
RUN = Run(depth=DEPTH, width=WIDTH, bias=True, norm="layer", intervene_at=4)
NET = Functional(Network(RUN, (D,), K, K))
X = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)

direction = jax.jit(lambda w: common_direction(w).inward)


def energy(a: Any) -> float:
    return float(np.sum(np.asarray(a, np.float64) ** 2))


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
    draw = jax.random.normal(jax.random.key(0), (WIDTH, WIDTH))
    kernel = jnp.linalg.qr(draw)[0]
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


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("models"))
def test_the_weights_of_a_layer_of_every_architecture_can_be_changed(name: str) -> None:
    example = registry.module("models", name).EXAMPLE
    run = arm("rescale", layer=2, value=0.5, **{"norm": "none", "bias": False} | example)
    run = replace(run, architecture=name)
    net = Functional(Network(run, (8, 8, 1), K, K))
    params, state = jax.jit(net.init)(Hyper.of(run))
    moment = Moment(net, params, state, Hyper.of(run), jnp.asarray(X))
    for removal in (rescale, remove_common_direction):
        after = net.with_kernels(params, removal(moment))
        pairs = zip(net.kernels(params), net.kernels(after), strict=True)
        for layer, (old, new) in enumerate(pairs, start=1):
            assert np.array_equal(old, new) == (layer != 2)
        assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, after)
        leaves = zip(jax.tree.leaves(params), jax.tree.leaves(after), strict=True)
        assert sum(not np.array_equal(old, new) for old, new in leaves) == 1
