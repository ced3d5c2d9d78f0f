"""Variances from layer to layer: closed forms, fixed points, the critical line of tanh."""

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss

from tfc_jax.theory import (
    ACTIVATIONS,
    WEIGHT_VARIANCES,
    Activation,
    decades_per_layer,
    depth_scale,
    fixed_variance,
    next_cosine,
    next_covariance,
    next_variance,
    relu_growth,
    susceptibility,
    tanh_critical_weight_variance,
    trainable_depth,
    variances_by_depth,
)

CRITICAL = {0.01: 1.42421, 0.05: 1.76095, 0.1: 1.98607}
FACTORS = {"he_normal": 1.0, "xavier_normal": 1 / 2, "torch_default": 1 / 6}


def tanh_slope(a: np.ndarray) -> np.ndarray:
    return 1 - np.tanh(a) ** 2


@pytest.mark.parametrize("init", FACTORS)
def test_relu_halves_the_variance_of_the_weights(init: str) -> None:
    weight_variance = WEIGHT_VARIANCES[init]
    assert relu_growth(weight_variance) == pytest.approx(FACTORS[init], rel=1e-15)
    found = variances_by_depth(ACTIVATIONS["relu"], 3.0, 4, weight_variance)
    # The quadrature of a ReLU is exact but for rounding.
    assert found == pytest.approx(3 * FACTORS[init] ** np.arange(5), rel=1e-12)


def test_biases_add_their_variance_in_every_layer() -> None:
    found = variances_by_depth(ACTIVATIONS["relu"], [0.0, 1.0], 3, 1 / 3, 0.5)
    assert found.shape == (4, 2)
    expected = [[0, 1], [1 / 2, 2 / 3], [7 / 12, 11 / 18], [43 / 72, 65 / 108]]  # q/6 + 1/2
    assert found == pytest.approx(np.array(expected), rel=1e-13)


def test_a_covariance_has_the_variances_and_cosines_of_its_pairs() -> None:
    rows = np.array([[1.0, 0.0], [0.6, 0.8], [-0.8, 0.6]])
    for name, activation in ACTIVATIONS.items():
        found = next_covariance(activation, rows @ rows.T, 1.3, 0.2)
        variance = float(next_variance(activation, 1.0, 1.3, 0.2))
        cosine = next_cosine(activation, rows @ rows.T, 1.0, 1.3, 0.2)
        assert np.abs(found - variance * cosine).max() < 1e-12, name  # as `mean_product`


def test_a_covariance_may_hold_samples_of_any_norm() -> None:
    covariance = np.array([[4.0, 1.0], [1.0, 0.5]])
    found = next_covariance(ACTIVATIONS["identity"], covariance, 1.5, 0.1)
    assert found == pytest.approx(1.5 * covariance + 0.1, rel=1e-12)


@pytest.mark.parametrize(
    ("activation", "weight_variance", "bias_variance"),
    [(np.tanh, 2.0, 0.0), (np.tanh, 0.5, 0.3), (ACTIVATIONS["gelu"], 1.5, 0.4)],
)
def test_a_fixed_variance_is_kept_and_reached(
    activation: Activation, weight_variance: float, bias_variance: float
) -> None:
    q = fixed_variance(activation, weight_variance, bias_variance)
    assert q > 0.01
    assert next_variance(activation, q, weight_variance, bias_variance) == pytest.approx(q, 1e-12)
    reached = variances_by_depth(activation, 0.01, 300, weight_variance, bias_variance)[-1]
    assert reached == pytest.approx(q, rel=1e-9)  # contracts by a tenth a layer or more


def test_relu_with_biases_keeps_what_a_geometric_series_sums_to() -> None:
    assert fixed_variance(ACTIVATIONS["relu"], 1.0, 0.1) == pytest.approx(0.2, rel=1e-12)
    assert fixed_variance(ACTIVATIONS["relu"], 2.0, 0.1) == np.inf


@pytest.mark.parametrize(("name", "weight_variance"), [("tanh", 0.9), ("relu", 1.9), ("relu", 2)])
def test_variances_that_vanish_or_are_all_kept_have_fixed_point_0(
    name: str, weight_variance: float
) -> None:
    assert fixed_variance(ACTIVATIONS[name], weight_variance) == 0


@pytest.mark.parametrize(("bias_variance", "expected"), CRITICAL.items())
def test_the_critical_line_of_tanh_has_its_published_points(
    bias_variance: float, expected: float
) -> None:
    found = tanh_critical_weight_variance(bias_variance)
    assert found == pytest.approx(expected, abs=5e-6)  # five digits are given
    q = fixed_variance(np.tanh, found, bias_variance)
    z, weight = hermegauss(100)  # an independent quadrature, good to some 1e-11 here
    chi = found * weight @ tanh_slope(np.sqrt(q) * z) ** 2 / np.sqrt(2 * np.pi)
    assert chi == pytest.approx(1, abs=1e-9)


def test_without_biases_tanh_is_critical_at_1() -> None:
    assert tanh_critical_weight_variance(0.0) == pytest.approx(1, abs=1e-13)


def test_susceptibility_is_the_slope_of_the_cosine_map_at_1() -> None:
    weight_variance, bias_variance, gap = 1.4, 0.05, 1e-5
    q = fixed_variance(np.tanh, weight_variance, bias_variance)
    chi = susceptibility(tanh_slope, q, weight_variance)
    fallen = 1 - next_cosine(np.tanh, 1 - gap, q, weight_variance, bias_variance)
    # The second derivative is of order 1, so the quotient is off by some gaps.
    assert fallen / gap == pytest.approx(chi, abs=10 * gap)


def test_differences_fall_by_e_within_a_depth_scale() -> None:
    weight_variance, bias_variance = 1.4, 0.05
    q = fixed_variance(np.tanh, weight_variance, bias_variance)
    chi = float(susceptibility(tanh_slope, q, weight_variance))
    scale = float(depth_scale(chi))
    assert 3 < scale < 30
    cosine = np.array(1 - 1e-4)
    for _ in range(round(3 * scale)):
        cosine = next_cosine(np.tanh, cosine, q, weight_variance, bias_variance)
    # Whole layers; 1 - cosine of 1e-4 bends the map by as much, per layer.
    expected = 1e-4 * np.exp(-round(3 * scale) / scale)
    assert 1 - float(cosine) == pytest.approx(expected, rel=0.01)
    assert trainable_depth(chi) == pytest.approx(6 * scale, rel=1e-15)


def test_at_the_critical_point_gradients_neither_vanish_nor_explode() -> None:
    """A chain of tanh layers at its fixed variance, with a random gradient at its end."""
    rng, width, depth, n_runs = np.random.default_rng(0), 200, 10, 40
    weight_variance = tanh_critical_weight_variance(0.05)
    q = fixed_variance(np.tanh, weight_variance, 0.05)
    logs = []
    for _ in range(n_runs):
        weights, slopes = [], []
        a = np.sqrt(q) * rng.standard_normal(width)
        for _ in range(depth):
            weights.append(rng.standard_normal((width, width)) * np.sqrt(weight_variance / width))
            slopes.append(tanh_slope(a))
            a = weights[-1] @ np.tanh(a) + np.sqrt(0.05) * rng.standard_normal(width)
        grad = rng.standard_normal(width)
        start = grad @ grad
        for w, slope in zip(weights[::-1], slopes[::-1], strict=True):
            grad = slope * (w.T @ grad)
        logs.append(np.log(grad @ grad / start))
    sd = np.std(logs)
    # ln of a mean of `width` terms has mean -variance/2: its variance is sd^2.
    assert abs(np.mean(logs) + sd**2 / 2) < 4 * sd / np.sqrt(n_runs) + depth * 0.4 / width


@pytest.mark.parametrize(("scale", "decades"), [(1.0, 0.1505), (0.8, 0.2474), (2**0.5, 0.0)])
def test_the_hypothesis_names_its_decades(scale: float, decades: float) -> None:
    assert decades_per_layer(scale) == pytest.approx(decades, abs=5e-5)  # four digits
    assert decades_per_layer(1.0, weight_variance=scale**2) == pytest.approx(decades, abs=5e-5)


@pytest.mark.parametrize("scale", [0.8, 1.0])
def test_gradients_of_xavier_relu_networks_fall_by_these_decades(scale: float) -> None:
    rng, width, depth, n_runs = np.random.default_rng(0), 100, 6, 400
    falls = []
    for _ in range(n_runs):
        weights = scale * rng.standard_normal((depth, width, width)) / np.sqrt(width)
        pre = [rng.standard_normal(width)]
        for w in weights:
            pre.append(w @ np.maximum(pre[-1], 0))
        grad = rng.standard_normal(width)
        start = np.log10(grad @ grad)
        for w, a in zip(weights[::-1], pre[-2::-1], strict=True):
            grad = np.where(a > 0, w.T @ grad, 0)
        falls.append((start - np.log10(grad @ grad)) / 2)
    # ln |grad|^2 has variance 5 depth/n as ln |h|^2 has, and mean -variance/2.
    variance = 5 * depth / width / (2 * np.log(10)) ** 2
    shift = 5 * depth / width / 2 / (2 * np.log(10))
    found = (np.mean(falls) - shift) / depth
    tolerance = (4 * np.sqrt(variance / n_runs) + 0.4 / width) / depth
    assert abs(found - decades_per_layer(scale)) < tolerance
