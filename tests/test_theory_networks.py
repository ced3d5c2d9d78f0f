"""Our own networks at step 0 against the laws of wide networks.

Unless said otherwise a mean over R networks of width n is tested to 4 sd / sqrt(R) + 0.4 / n, sd
their spread.
"""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from tfc_jax.functional import Functional
from tfc_jax.hyper import Hyper
from tfc_jax.initializers import KERNELS
from tfc_jax.keys import Run
from tfc_jax.models import _layers
from tfc_jax.network import Network
from tfc_jax.theory import (
    ACTIVATIONS,
    WEIGHT_VARIANCES,
    angle_drift,
    angle_log_variance,
    batch_norm_relu_cosine,
    fixed_variance,
    log_norm_mean,
    log_norm_variance,
    next_cosine,
    next_covariance,
    relu_growth,
    tanh_critical_weight_variance,
    variances_by_depth,
)

N, R, HIDDEN = 256, 64, 6


def features_at_step_0(
    run: Run, x_BxD: np.ndarray, n_runs: int, bias_variance: float | None = None
) -> np.ndarray:
    """Features of the hidden layers of networks of seeds 0, 1, ...: (R, L-1, B, H).

    Args:
      bias_variance: biases are drawn anew, Gaussian; None: they are as initialised.
    """
    net, hyper = Functional(Network(run, x_BxD.shape[1:], 1, 1)), Hyper.of(run)

    def forward(seed: Array) -> Array:
        found: dict[str, Array] = {}

        def tap(name: str, value: Array) -> Array:
            found[name] = value
            return value

        params, state = net.init(replace(hyper, seed=seed))
        x = jnp.asarray(x_BxD, jnp.float32)
        if bias_variance is not None:
            params = with_biases(params, jax.random.key(seed), bias_variance)
        net.apply(params, state, x, train=True, tap=tap)
        return jnp.stack([found[f"feature_{layer}"] for layer in range(1, run.depth)])

    # One network after the other, so that its weights fit into the cache.
    seeds = jnp.arange(n_runs, dtype=jnp.uint32)
    return np.asarray(jax.jit(partial(jax.lax.map, forward))(seeds), np.float64)


def with_biases(params: dict, key: Array, variance: float) -> dict:
    layers = {
        i: layer | {"bias": variance**0.5 * jax.random.normal(key, layer["bias"].shape)}
        for (i, layer), key in zip(
            params["layers"].items(), jax.random.split(key, len(params["layers"])), strict=True
        )
    }
    return params | {"layers": layers}


def two_inputs(n: int, cosine: float) -> np.ndarray:
    """Two inputs of squared norm n."""
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((n, 2)))
    return np.sqrt(n) * np.stack([q[:, 0], cosine * q[:, 0] + np.sqrt(1 - cosine**2) * q[:, 1]])


def gram(features: np.ndarray) -> np.ndarray:
    return features @ features.swapaxes(-1, -2) / features.shape[-1]


def cosine_of(gram: np.ndarray) -> np.ndarray:
    return gram[..., 0, 1] / np.sqrt(gram[..., 0, 0] * gram[..., 1, 1])


def assert_mean(found_R: np.ndarray, expected: np.ndarray, bias: float) -> None:
    error = found_R.std(axis=0, ddof=1) / np.sqrt(len(found_R))
    assert np.all(np.abs(found_R.mean(axis=0) - expected) < 4 * error + bias)


def test_the_theory_knows_every_activation_and_scheme_of_our_networks() -> None:
    assert set(ACTIVATIONS) == set(_layers.ACTIVATIONS)
    assert set(WEIGHT_VARIANCES) == set(KERNELS)
    a = np.linspace(-3, 3, 61)
    for name, ours in _layers.ACTIVATIONS.items():
        # Some roundings of float32 numbers of at most 3.
        assert np.abs(ACTIVATIONS[name](a) - ours(jnp.asarray(a, jnp.float32))).max() < 2e-6, name


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("init", "scale"), [("he_normal", 1.0), ("xavier_normal", 0.8)])
def test_wide_networks_follow_the_covariances_of_quadrature(
    activation: Any, init: Any, scale: float
) -> None:
    run = Run(depth=HIDDEN + 1, width=N, activation=activation, init=init, init_scale=scale)
    found = gram(features_at_step_0(run, two_inputs(N, 0.5), R))
    weight_variance = WEIGHT_VARIANCES[init] * scale**2
    product, products = np.array([[1.0, 0.5], [0.5, 1.0]]), []
    for _ in range(HIDDEN):
        product = next_covariance(ACTIVATIONS[activation], weight_variance * product, 1.0)
        products.append(product)
    expected = np.stack(products)
    assert_mean(cosine_of(found), cosine_of(expected), 0.4 / N)
    scales = expected[:, 0, 0]
    assert_mean(found[..., 0, 0] / scales, np.ones(HIDDEN), 0.4 / N)


@pytest.mark.parametrize(
    ("activation", "weight_variance"),
    [("tanh", tanh_critical_weight_variance(0.05)), ("gelu", 1.5), ("relu", 1.2)],
)
def test_wide_networks_with_biases_follow_covariances_and_cosines(
    activation: Any, weight_variance: float
) -> None:
    bias_variance = 0.05
    scale = weight_variance**0.5
    run = Run(
        depth=HIDDEN + 1,
        width=N,
        activation=activation,
        bias=True,
        init="lecun_normal",
        init_scale=scale,
    )
    found = gram(features_at_step_0(run, two_inputs(N, 0.2), R, bias_variance))
    found = weight_variance * found + bias_variance
    covariance = weight_variance * np.array([[1.0, 0.2], [0.2, 1.0]]) + bias_variance
    for layer in range(HIDDEN):
        variance, cosine = covariance[0, 0], cosine_of(covariance)
        covariance = next_covariance(
            ACTIVATIONS[activation], covariance, weight_variance, bias_variance
        )
        assert_mean(found[:, layer, 0, 0] / covariance[0, 0], np.array(1.0), 0.4 / N)
        cosine = next_cosine(
            ACTIVATIONS[activation], cosine, variance, weight_variance, bias_variance
        )
        assert_mean(cosine_of(found[:, layer]), cosine, 0.4 / N)
    if activation == "tanh":
        # Near the fixed variance, which attracts by about a half a layer.
        q = fixed_variance(np.tanh, weight_variance, bias_variance)
        assert covariance[0, 0] == pytest.approx(q, rel=0.03)


@pytest.mark.parametrize(
    ("init", "bias", "factor"),
    [
        ("he_normal", False, 1.0),
        ("xavier_normal", False, 1 / 2),
        ("xavier_uniform", False, 1 / 2),
        ("lecun_normal", False, 1 / 2),
        ("orthogonal", False, 1 / 2),
        ("torch_default", False, 1 / 6),
        ("torch_default", True, 1 / 6),
    ],
)
def test_squared_norms_follow_their_recursion(init: Any, bias: bool, factor: float) -> None:
    n = 64
    run = Run(depth=HIDDEN + 1, width=n, init=init, bias=bias)
    found = gram(features_at_step_0(run, two_inputs(n, 0.0)[:1], 4 * R))[..., 0, 0]
    weight_variance = WEIGHT_VARIANCES[init]
    bias_variance = 1 / (3 * n) if bias else 0.0
    pre = variances_by_depth(
        ACTIVATIONS["relu"], weight_variance + bias_variance, HIDDEN, weight_variance, bias_variance
    )
    expected = pre[:-1] / 2
    assert relu_growth(weight_variance) == pytest.approx(factor, rel=1e-15)
    if bias:
        # Without its biases the network would be far off at the last layers.
        assert expected[-1] > 5 * factor**HIDDEN
    else:
        assert expected == pytest.approx(factor ** np.arange(1, HIDDEN + 1), rel=1e-12)
    # Exact at every width, so that nothing but the spread is allowed.
    assert_mean(found / expected, np.ones(HIDDEN), 0.0)


WIDTH, DEPTH, RUNS = 64, 8, 2000


@cache
def narrow() -> np.ndarray:
    """Gram matrices of He networks, two samples 0.1 radians apart: (RUNS, DEPTH, 2, 2)."""
    run = Run(depth=DEPTH + 1, width=WIDTH, init="he_normal")
    return gram(features_at_step_0(run, two_inputs(WIDTH, np.cos(0.1)), RUNS))


def test_log_norms_spread_by_five_over_the_width_a_layer() -> None:
    logs = np.log(narrow()[..., 0, 0])
    for layer in range(1, DEPTH + 1):
        variance = log_norm_variance(layer, WIDTH)
        share = np.var(logs[:, layer - 1], ddof=1) / variance
        # A sample's variance is off by sqrt(2/R), the law by less than 4/n (test_theory_widths).
        assert abs(share - 1) < 4 * np.sqrt(2 / RUNS) + 4 / WIDTH
        error = np.sqrt(variance / RUNS)
        shift = np.mean(logs[:, layer - 1]) - log_norm_mean(layer, WIDTH)
        assert abs(shift) < 4 * error + 4 / WIDTH * abs(log_norm_mean(layer, WIDTH))


def test_angles_of_our_networks_drift_and_spread_as_the_law_says() -> None:
    # 1 - cos^2 of float32 features is off by some 1e-7, against 1e-3 and more here.
    sine_squared = 1 - cosine_of(narrow()) ** 2
    before = np.column_stack([np.full(RUNS, np.sin(0.1) ** 2), sine_squared[:, :-1]])
    angle = np.arcsin(np.sqrt(before))
    change = np.log(sine_squared / before)
    # Given the angle before, what is left has mean 0: its sum over layers is a martingale.
    left = np.mean(change - angle_drift(angle, WIDTH))
    error = np.sqrt(angle_log_variance(WIDTH) / (RUNS * DEPTH))
    assert np.mean(angle_drift(angle, WIDTH)) < -5 * error  # there is a drift to be seen
    assert abs(left) < 4 * error + 0.05 * 0.1**2 + 15 / WIDTH**2
    spread = np.var(change) / angle_log_variance(WIDTH) - 1
    assert abs(spread) < 4 * np.sqrt(2 / (RUNS * DEPTH)) + 0.5 * 0.1 + 5 / WIDTH


def test_batch_norm_keeps_cosines_of_our_networks_at_every_depth() -> None:
    n_samples = 50
    x = np.random.default_rng(0).standard_normal((n_samples, N))
    run = Run(depth=HIDDEN + 1, width=N, norm="batch", init_scale=0.8)
    features = features_at_step_0(run, x, 8)
    unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
    total = np.sum(np.sum(unit, axis=-2) ** 2, axis=-1)
    cosine = (total - n_samples) / (n_samples * (n_samples - 1))
    # Pairs differ at finite width: 0.7 / n (test_theory_batch_norm).
    assert_mean(cosine - 0.7 / N, np.full(HIDDEN, batch_norm_relu_cosine(n_samples)), 0.4 / N)
