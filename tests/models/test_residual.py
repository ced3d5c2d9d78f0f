"""Residual perceptrons, with and without V: against a hand-written one, and against their laws."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from tfc_jax.functional import Functional
from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.network import Network
from tfc_jax.theory import cosines_by_depth, relu_cosine

D, K, B = 6, 3, 7
BLOCKS = ["residual", "residual_simple"]
X = np.random.default_rng(0).standard_normal((B, D))


def functional(run: Run, n_inputs: int = D) -> Functional:
    return Functional(Network(run, (n_inputs,), K, K))


def spread(tree: dict) -> dict:
    """Moves biases, norm scales and statistics off 0 and 1, where they could hide."""
    rng = np.random.default_rng(1)

    def moved(leaf: Array) -> Array:
        a = np.asarray(leaf, np.float64)
        return jnp.asarray(
            a * rng.uniform(0.5, 2, a.shape) + rng.uniform(0, 1) if a.ndim == 1 else a
        )

    return jax.tree.map(moved, tree)


def twin(run: Run, params: dict, state: dict, train: bool) -> list[np.ndarray]:
    """Features and logits in NumPy; normalisations with flax's epsilons."""
    found: list[np.ndarray] = []
    h = X
    for i in range(run.depth - 1):
        a = affine(params["layers"][i], h)
        if run.norm != "none":
            stats = {} if train or run.norm == "layer" else state["norms"][i]
            axis, epsilon = {"batch": (0, 1e-5), "layer": (1, 1e-6)}[run.norm]
            mean = stats.get("mean", a.mean(axis, keepdims=True))
            var = stats.get("var", a.var(axis, keepdims=True))
            norm = params["norms"][i]
            a = (a - mean) / np.sqrt(var + epsilon) * norm["scale"] + norm["bias"]
        u = np.tanh(a)
        if i > 0 and run.architecture == "residual":
            u = affine(params["mixers"][i - 1], u)
        h = u if i == 0 else h + run.residual_alpha * u
        found.append(h)
    return [*found, affine(params["layers"][run.depth - 1], h)]


def affine(linear: dict, h: np.ndarray) -> np.ndarray:
    return h @ np.asarray(linear["kernel"]) + np.asarray(linear.get("bias", 0.0))


@pytest.mark.parametrize("architecture", BLOCKS)
@pytest.mark.parametrize(("norm", "bias"), [("none", False), ("batch", True), ("layer", True)])
def test_the_network_is_the_hand_written_one(architecture: Any, norm: Any, bias: bool) -> None:
    run = Run(architecture=architecture, depth=5, width=8, residual_alpha=0.7)
    run = replace(run, norm=norm, bias=bias, activation="tanh")
    net, seen = functional(run), dict[str, Array]()

    def tap(name: str, value: Array) -> Array:
        seen[name] = value
        return value

    with jax.enable_x64():
        params, state = map(spread, net.init(Hyper.of(run, np.float64)))
        for train in (True, False):
            z, _ = net.apply(params, state, jnp.asarray(X), train=train, tap=tap)
            p, s = (jax.tree.map(np.asarray, tree) for tree in (params, state))
            expected = twin(run, p, s, train)
            ours = [*(seen[f"feature_{layer}"] for layer in range(1, 5)), z]
            for mine, theirs in zip(ours, expected, strict=True):
                # Nine sums of at most 8 products in float64; norms divide by some 0.1.
                assert np.abs(mine - theirs).max() < 1e-13 * np.abs(theirs).max() * 10


@pytest.mark.parametrize("architecture", BLOCKS)
def test_blocks_are_the_identity_at_alpha_0(architecture: Any) -> None:
    run = Run(architecture=architecture, depth=6, width=8, residual_alpha=0.0)
    net = functional(run)
    first, *others, _ = net.features(*net.init(Hyper.of(run)), jnp.asarray(X, jnp.float32))
    assert np.abs(first).max() > 0
    for feature in others:
        assert np.array_equal(first, feature)


@pytest.mark.parametrize("architecture", BLOCKS)
def test_alpha_is_a_state_that_training_leaves_alone(architecture: Any) -> None:
    run = Run(architecture=architecture, depth=4, width=8, residual_alpha=0.3)
    net = functional(run)
    params, state = net.init(Hyper.of(run))
    _, after = net.apply(params, state, jnp.asarray(X, jnp.float32), train=True)
    assert jax.tree.leaves(state) == jax.tree.leaves(after) == [np.float32(0.3)]
    assert "alpha" not in params


R, N, N_BLOCKS = 32, 256, 6


def two_inputs(n: int, rho: float) -> Array:
    """Two inputs of squared norm n at cosine rho."""
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((n, 2)))
    rows = np.stack([q[:, 0], rho * q[:, 0] + np.sqrt(1 - rho**2) * q[:, 1]])
    return jnp.asarray(np.sqrt(n) * rows, jnp.float32)


def over_seeds(run: Run, measure: Callable[[Array], Array], rho: float) -> np.ndarray:
    """Returns `measure` of the hidden features of a pair of inputs, of R networks: (R, L - 1)."""
    net, x = functional(run, N), two_inputs(N, rho)

    def one(seed: Array) -> Array:
        params, state = net.init(replace(Hyper.of(run), seed=seed))
        return jnp.stack([measure(h) for h in net.features(params, state, x)[:-1]])

    return np.asarray(jax.jit(lambda s: jax.lax.map(one, s))(jnp.arange(R, dtype=jnp.uint32)))


def cosine(pair_2xH: Array) -> Array:
    norms = jnp.linalg.norm(pair_2xH, axis=1)
    return jnp.sum(pair_2xH[0] * pair_2xH[1]) / jnp.prod(norms)


def wide(architecture: str, alpha: float = 1.0) -> Run:
    depth = N_BLOCKS + 2
    return Run(
        architecture=architecture, depth=depth, width=N, init="he_normal", residual_alpha=alpha
    )


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_cosines_of_wide_residual_networks_follow_the_map(alpha: float) -> None:
    rho = 0.1

    def block(cosine: np.ndarray) -> np.ndarray:
        return (cosine + alpha**2 * relu_cosine(cosine)) / (1 + alpha**2)

    found = over_seeds(wide("residual", alpha), cosine, rho)
    expected = cosines_by_depth(block, relu_cosine(rho), N_BLOCKS)
    # The standard error of R networks, and the bias of finite width.
    tolerance = 4 * found.std(axis=0) / np.sqrt(R) + 0.4 / N
    assert np.all(np.abs(found.mean(axis=0) - expected) < tolerance)
    assert tolerance.max() < 0.06


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_squared_norms_of_residual_networks_grow_by_1_plus_alpha_squared(alpha: float) -> None:
    found = over_seeds(wide("residual", alpha), lambda pair: jnp.sum(pair[0] ** 2) / N, 0.1)
    ratio = found / (1 + alpha**2) ** np.arange(N_BLOCKS + 1)
    # E|V relu(W h)|^2 = |h|^2 exactly, at every width: only the standard error is left.
    tolerance = 4 * ratio.std(axis=0) / np.sqrt(R)
    assert np.all(np.abs(ratio.mean(axis=0) - 1) < tolerance)
    assert tolerance.max() < 0.4


def test_without_a_second_matrix_features_collapse_faster_than_in_a_plain_network() -> None:
    simple, plain, mixed = (
        over_seeds(replace(wide(name), width=N), cosine, 0.1).mean(axis=0)
        for name in ("residual_simple", "mlp", "residual")
    )
    # Layer 1 is the same in all; the differences below are 5 standard errors and more.
    assert np.allclose(simple[0], plain[0], atol=1e-6)
    assert np.all(simple[1:] > plain[1:] + 0.01)
    assert np.all(mixed[1:] < plain[1:] - 0.01)


@pytest.mark.parametrize("architecture", BLOCKS)
def test_a_network_without_blocks_is_refused(architecture: Any) -> None:
    net = functional(Run(architecture=architecture, depth=2))
    (found,) = net.network.architecture.misfits(net.network.run, (D,))
    assert found == (
        f"depth: 2 came, but {architecture} has a residual block between its first layer and its "
        f"last. Use a depth of at least 3."
    )
