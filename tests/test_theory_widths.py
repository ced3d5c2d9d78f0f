"""Fluctuations at finite width: He ReLU layers, in NumPy and in our own networks."""

import numpy as np
import pytest
from scipy.special import polygamma, psi
from scipy.stats import binom

from tfc_jax.theory import (
    angle_drift,
    angle_log_variance,
    log_norm_mean,
    log_norm_variance,
    relu_cosine,
    relu_cosine_variance,
)


def exact_log_moments(width: int) -> tuple[float, float]:
    """Mean and variance of ln(|relu(W x)|^2 / |x|^2): chi squared of Binomial(n, 1/2) freedoms.

    Given that not all units are off.
    """
    alive = np.arange(1, width + 1)
    share = binom.pmf(alive, width, 0.5) / (1 - 0.5**width)
    mean = psi(alive / 2) + np.log(2) + np.log(2 / width)
    first = float(share @ mean)
    return first, float(share @ (polygamma(1, alive / 2) + (mean - first) ** 2))


@pytest.mark.parametrize("width", [32, 64, 128, 512])
def test_log_norms_vary_by_five_over_the_width_a_layer(width: int) -> None:
    mean, variance = exact_log_moments(width)
    assert log_norm_variance(1, width) == pytest.approx(5 / width, rel=1e-15)
    assert log_norm_variance(1, width) == pytest.approx(variance, rel=4 / width)
    assert log_norm_mean(1, width) == pytest.approx(mean, rel=4 / width)


def test_the_variance_of_log_norms_is_that_of_independent_layers() -> None:
    assert log_norm_variance(7, 100) == pytest.approx(7 * log_norm_variance(1, 100), rel=1e-15)
    assert log_norm_mean(7, 100) == pytest.approx(7 * log_norm_mean(1, 100), rel=1e-15)


@pytest.mark.parametrize(("width", "angle"), [(64, 0.03), (64, 0.1), (128, 0.1)])
def test_one_layer_changes_small_angles_as_the_law_says(width: int, angle: float) -> None:
    """One layer needs only the pre-activations of two samples: pairs of correlated Gaussians."""
    rng, n_runs = np.random.default_rng(0), 60_000
    u, v = rng.standard_normal((2, n_runs, width))
    one, other = np.maximum(u, 0), np.maximum(np.cos(angle) * u + np.sin(angle) * v, 0)
    squares = np.sum(one**2, axis=1) * np.sum(other**2, axis=1)
    sine_squared = 1 - np.sum(one * other, axis=1) ** 2 / squares
    change = np.log(sine_squared / np.sin(angle) ** 2)
    # The law, and its next orders as the docstring gives them.
    error = np.sqrt(angle_log_variance(width) / n_runs)
    tolerance = 4 * error + 0.05 * angle**2 + 15 / width**2
    assert abs(np.mean(change) - angle_drift(angle, width)) < tolerance
    # A sample's variance is off by sqrt(2/R); the law by 0.5 per radian and by some 1/n.
    share = np.var(change) / angle_log_variance(width) - 1
    assert abs(share) < 4 * np.sqrt(2 / n_runs) + 0.5 * angle + 5 / width


@pytest.mark.parametrize("width", [64, 256])
@pytest.mark.parametrize("cosine", [-0.5, 0.0, 0.5, 0.9])
def test_cosines_vary_over_networks_as_the_first_order_says(cosine: float, width: int) -> None:
    rng, n_runs = np.random.default_rng(1), 10_000
    u, v = rng.standard_normal((2, n_runs, width))
    one, other = np.maximum(u, 0), np.maximum(cosine * u + np.sqrt(1 - cosine**2) * v, 0)
    products = np.sum(one * other, axis=1)
    cosines = products / np.sqrt(np.sum(one**2, axis=1) * np.sum(other**2, axis=1))
    share = np.var(cosines) / relu_cosine_variance(cosine, width)
    # A sample's variance is off by sqrt(2/R) for a Gaussian; the law as its docstring says.
    assert abs(share - 1) < 4 * np.sqrt(2 / n_runs) + 12 / width


@pytest.mark.parametrize("angle", [0.02, 0.1])
def test_at_small_angles_cosines_vary_as_the_logarithm_of_the_sine(angle: float) -> None:
    after = relu_cosine(np.cos(angle))
    slope = (1 - after**2) / (2 * after)  # of the cosine in ln sin^2
    variance = relu_cosine_variance(np.cos(angle), 100)
    # next order of the law: 0.5 per radian, as its docstring says
    assert variance == pytest.approx(slope**2 * angle_log_variance(100), rel=0.6 * angle)
