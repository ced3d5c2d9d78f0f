"""The multilayer perceptron: against a hand-written one, and against the laws of wide networks."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array
from scipy.special import erf

from tfc_jax.functional import Functional
from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.models import mlp
from tfc_jax.models._layers import ACTIVATIONS, HOMOGENEOUS, apply_norm
from tfc_jax.models._layers import norm as norm_of
from tfc_jax.network import Network

EPS = 2.0**-23
D, H, K, B = 6, 5, 3, 7
NUMPY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda a: np.maximum(a, 0),
    "leaky_relu": lambda a: np.where(a > 0, a, 0.01 * a),
    "tanh": np.tanh,
    "gelu": lambda a: a * (1 + erf(a / np.sqrt(2))) / 2,
    "abs": np.abs,
    "identity": lambda a: a,
}


def functional(run: Run, n_inputs: int = D, n_outputs: int = K) -> Functional:
    return Functional(Network(run, (n_inputs,), n_outputs, n_outputs))


def inputs(n: int = B, d: int = D) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)


def spread(tree: dict) -> dict:
    """Moves biases, norm scales and statistics off 0 and 1, where they could hide."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda a: a if a.ndim == 2 else a * rng.uniform(0.5, 2, a.shape) + rng.uniform(0, 1), tree
    )


def forward(run: Run, params: dict, state: dict, x: np.ndarray, train: bool) -> np.ndarray:
    """The network in NumPy, float64; normalisations with flax's epsilons."""
    h = x.astype(np.float64)
    for layer in range(run.depth):
        linear = {k: np.asarray(v, np.float64) for k, v in params["layers"][layer].items()}
        h = h @ linear["kernel"] + linear.get("bias", 0.0)
        if layer == run.depth - 1:
            return h
        if run.norm != "none":
            axis = 0 if run.norm == "batch" else 1
            mean, var = h.mean(axis, keepdims=True), h.var(axis, keepdims=True)
            if run.norm == "batch" and not train:
                mean, var = (np.asarray(state["norms"][layer][k]) for k in ("mean", "var"))
            epsilon = 1e-5 if run.norm == "batch" else 1e-6
            affine = {k: np.asarray(v) for k, v in params["norms"][layer].items()}
            h = (h - mean) / np.sqrt(var + epsilon) * affine["scale"] + affine["bias"]
        h = NUMPY[run.activation](h)
    raise AssertionError


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_network_is_the_hand_written_one(activation: Any, norm: Any, bias: bool) -> None:
    run = Run(depth=3, width=H, activation=activation, norm=norm, bias=bias)
    net = functional(run)
    params, state = map(spread, net.init(Hyper.of(run)))
    for train in (True, False):
        z, _ = net.apply(params, state, jnp.asarray(inputs()), train=train)
        expected = forward(run, params, state, inputs(), train)
        # Three layers of sums of at most 7 terms; a norm divides by a deviation of a few units.
        assert np.abs(z - expected).max() < 100 * EPS * np.abs(expected).max()


def test_a_network_of_one_layer_is_linear() -> None:
    run = Run(depth=1)
    net = functional(run)
    params, state = net.init(Hyper.of(run))
    z, _ = net.apply(params, state, jnp.asarray(inputs()), train=True)
    (w,) = net.kernels(params)
    assert np.allclose(z, inputs().astype(np.float64) @ w, rtol=0, atol=10 * EPS)


def test_running_statistics_forget_a_tenth_a_step() -> None:
    run = Run(depth=2, width=H, norm="batch")
    net = functional(run)
    params, state = net.init(Hyper.of(run))
    _, state = net.apply(params, state, jnp.asarray(inputs()), train=True)
    a = inputs().astype(np.float64) @ net.kernels(params)[0]
    assert np.allclose(state["norms"][0]["mean"], 0.1 * a.mean(axis=0), rtol=0, atol=10 * EPS)
    assert np.allclose(state["norms"][0]["var"], 0.9 + 0.1 * a.var(axis=0), rtol=10 * EPS, atol=0)


@pytest.mark.parametrize("gamma", [None, 3.0])
def test_structured_first_layers_place_kinks_evenly(gamma: float | None) -> None:
    run = Run(depth=3, width=H, bias=True, init="structured", structured_gamma=gamma)
    params, _ = functional(run, n_inputs=1).init(Hyper.of(run))
    x = np.linspace(-2, 2, 9, dtype=np.float32)[:, None]
    a = x @ params["layers"][0]["kernel"] + params["layers"][0]["bias"][None, :]
    slope, sign = gamma or H / 4, (-1.0) ** np.arange(H)
    expected = slope * sign * (x - np.linspace(-1, 1, H))
    assert np.allclose(a, expected, rtol=0, atol=4 * slope * EPS)
    assert not params["layers"][1]["bias"].any()


def features(run: Run, hyper: Hyper, x: Array) -> list[Array]:
    """Features of the hidden layers at step 0, batch norm by the batch."""
    found: dict[str, Array] = {}

    def tap(name: str, value: Array) -> Array:
        found[name] = value
        return value

    net = functional(run, x.shape[1])
    net.apply(*net.init(hyper), x, train=True, tap=tap)
    return [found[f"feature_{layer}"] for layer in range(1, run.depth)]


def mean_cosine(h: Array) -> Array:
    """Mean cosine over pairs of rows; a row is divided by its largest entry against underflow."""
    h = h / jnp.max(jnp.abs(h), axis=1, keepdims=True)
    unit = h / jnp.linalg.norm(h, axis=1, keepdims=True)
    return (jnp.sum(jnp.sum(unit, axis=0) ** 2) - len(h)) / (len(h) * (len(h) - 1))


@pytest.mark.parametrize("activation", sorted(HOMOGENEOUS))
def test_cosines_at_step_0_do_not_depend_on_the_scale(activation: Any) -> None:
    run = Run(depth=9, width=32, activation=activation)

    @jax.jit
    def cosines(scale: Array) -> Array:
        pair = features(run, replace(Hyper.of(run), init_scale=scale), jnp.asarray(inputs(2)))
        return jnp.stack([mean_cosine(h) for h in pair])

    reference = cosines(jnp.float32(1.0))
    assert not np.allclose(reference, 1, atol=0.01)
    for scale in (0.01, 0.5, 0.8, 1.7, 30.0):
        # Eight layers of roundings, of the scaled weights and of products.
        assert np.abs(cosines(jnp.float32(scale)) - reference).max() < 1e-5


def relu_map(rho: float) -> float:
    return (np.sqrt(1 - rho**2) + rho * (np.pi - np.arccos(rho))) / np.pi


def two_inputs(n: int, rho: float) -> Array:
    """Two inputs of squared norm n at cosine rho."""
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((n, 2)))
    rows = np.stack([q[:, 0], rho * q[:, 0] + np.sqrt(1 - rho**2) * q[:, 1]])
    return jnp.asarray(np.sqrt(n) * rows, jnp.float32)


R, N = 64, 256


def over_seeds(
    run: Run, measure: Callable[[list[Array]], Array], x: Array, n_seeds: int = R
) -> np.ndarray:
    """Returns `measure(features)` of R networks, as (R, ...)."""

    def one(seed: Array) -> Array:
        return measure(features(run, replace(Hyper.of(run), seed=seed), x))

    # One after the other, so that a network's weights fit into the cache.
    return np.asarray(jax.jit(partial(jax.lax.map, one))(jnp.arange(n_seeds, dtype=jnp.uint32)))


def test_cosines_of_wide_relu_networks_follow_the_map() -> None:
    depth, rho = 8, 0.5
    run = Run(depth=depth + 1, width=N, init="he_normal")
    found = over_seeds(
        run, lambda h: jnp.stack([mean_cosine(pair) for pair in h]), two_inputs(N, rho)
    ).mean(axis=0)
    for layer in range(1, depth + 1):
        rho = relu_map(rho)
        # ln sin^2 has variance 8/n a layer, and d rho = sin^2/(2 rho) d ln sin^2.
        sd = (1 - rho**2) / (2 * rho) * np.sqrt(8 * layer / N)
        assert abs(found[layer - 1] - rho) < 4 * sd / np.sqrt(R) + 0.4 / N


@pytest.mark.parametrize(
    ("init", "scale", "factor"),
    [("he_normal", 1.0, 1.0), ("xavier_normal", 1.2, 0.72), ("torch_default", 1.0, 1 / 6)],
)
def test_squared_norms_change_by_half_the_weight_variance_a_layer(
    init: Any, scale: float, factor: float
) -> None:
    depth = 4
    run = Run(depth=depth + 1, width=N, init=init, init_scale=scale)
    x = two_inputs(N, 0.0)[:1]
    squares = over_seeds(run, lambda h: jnp.stack([jnp.sum(a**2) for a in h]), x).mean(axis=0)
    for layer in range(1, depth + 1):
        # ln |h|^2 has variance 5/n a layer: that of |h|^2/E|h|^2, to first order.
        sd = np.sqrt(5 * layer / N)
        assert abs(squares[layer - 1] / N / factor**layer - 1) < 4 * sd / np.sqrt(R)


def test_batch_norm_removes_the_rise_of_cosines_with_depth() -> None:
    n_samples = 100
    x = jnp.asarray(np.abs(inputs(n_samples, 64)))
    plain, normed = (
        over_seeds(
            Run(depth=9, width=N, norm=norm), lambda h: jnp.stack(list(map(mean_cosine, h))), x, 8
        ).mean(axis=0)
        for norm in ("none", "batch")
    )
    assert np.all(np.diff(plain) > 0.005)
    # Centred units have cosine -1/(B-1). Finite width leaves a few per cent, about 0.7/n.
    assert np.abs(normed / relu_map(-1 / (n_samples - 1)) - 1).max() < 0.03


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_norms_keep_their_digits_where_the_mean_is_far_above_the_spread(kind: str) -> None:
    x = 1000 + np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    norm = norm_of(kind, 64, nnx.Rngs(0))
    axis = 0 if kind == "batch" else 1
    exact = np.asarray(x, np.float64)
    exact = (exact - exact.mean(axis, keepdims=True)) / exact.std(axis, keepdims=True)
    # The mean is rounded at 1000 eps = 6e-5; the one-pass variance would be off by 0.06 and more.
    assert np.abs(apply_norm(norm, jnp.asarray(x), True) - exact).max() < 5e-4


def test_a_structured_layer_reads_one_number_and_not_its_fourier_features() -> None:
    run = Run(init="structured", bias=True, dataset="sine_mixture")
    assert mlp.misfits(run, (1,)) == []
    (flat,) = mlp.misfits(run, (8,))
    assert flat.startswith("init: structured needs one-dimensional inputs, but sine_mixture has ")
    (lifted,) = mlp.misfits(replace(run, fourier_features=8), (16,))
    assert lifted.endswith("Leave fourier_features at null, or use another init.")
