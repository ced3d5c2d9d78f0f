"""Expectations over Gaussians: closed forms, and slow quadratures that know nothing of kinks."""

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss

from tfc_jax.theory import (
    ACTIVATIONS,
    Activation,
    abs_cosine,
    leaky_relu_cosine,
    mean,
    mean_product,
    relu_cosine,
)
from tfc_jax.theory import gaussian as quadrature

COSINES = np.array([-1, -0.9, -0.3, 0, 1e-8, 0.5, 0.99, 1 - 1e-9, 1])


def hermite_product(function: Activation, cosine: float, variance: float, other: float) -> float:
    """Gauss-Hermite on a square grid: for smooth functions only."""
    z, weight = hermegauss(100)
    u = np.sqrt(variance) * z[:, None]
    v = np.sqrt(other) * (cosine * z[:, None] + np.sqrt(1 - cosine**2) * z)
    return float(weight @ (function(u) * function(v)) @ weight / (2 * np.pi))


@pytest.mark.parametrize("variance", [0.01, 1.0, 100.0])
def test_products_of_homogeneous_activations_have_their_closed_forms(variance: float) -> None:
    other = 3 * variance
    scale = np.sqrt(variance * other)
    closed = {
        "relu": relu_cosine(COSINES) / 2,
        "leaky_relu": (1 + 0.01**2) / 2 * leaky_relu_cosine(COSINES),
        "abs": abs_cosine(COSINES),
        "identity": COSINES,
    }
    for name, expected in closed.items():
        found = mean_product(ACTIVATIONS[name], COSINES, variance, other)
        # 6144 terms of quadrature that is exact but for rounding.
        assert np.abs(found / scale - expected).max() < 1e-13


@pytest.mark.parametrize("name", ["tanh", "gelu"])
@pytest.mark.parametrize(("variance", "tolerance"), [(0.1, 1e-13), (1.0, 1e-12)])
def test_products_of_smooth_activations_are_those_of_gauss_hermite(
    name: str, variance: float, tolerance: float
) -> None:
    for cosine in COSINES:
        found = mean_product(ACTIVATIONS[name], cosine, variance, variance / 2)
        twin = hermite_product(ACTIVATIONS[name], cosine, variance, variance / 2)
        assert abs(found - twin) < tolerance * variance


@pytest.mark.parametrize("name", ["tanh", "gelu"])
@pytest.mark.parametrize(("variance", "tolerance"), [(4.0, 1e-10), (100.0, 1e-7)])
def test_sharper_bends_cost_the_digits_that_are_said(
    name: str, variance: float, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = mean_product(ACTIVATIONS[name], COSINES, variance)
    monkeypatch.setattr(quadrature, "N_RADII", 300)
    monkeypatch.setattr(quadrature, "N_ANGLES", 100)
    finer = mean_product(ACTIVATIONS[name], COSINES, variance)
    assert np.abs(found - finer).max() < tolerance * variance


@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_means_keep_their_digits_longer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variances = np.array([1.0, 4.0, 25.0])
    found = mean(lambda a: ACTIVATIONS[name](a) ** 2, variances)
    monkeypatch.setattr(quadrature, "N_RADII", 300)
    finer = mean(lambda a: ACTIVATIONS[name](a) ** 2, variances)
    assert np.abs((found - finer) / variances).max() < 1e-12


def test_gauss_hermite_does_not_get_as_far_with_a_kink() -> None:
    found = hermite_product(ACTIVATIONS["relu"], 0.5, 1.0, 1.0)
    assert 1e-4 < abs(found / (float(relu_cosine(0.5)) / 2) - 1) < 1e-2


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("variance", [0.1, 1.0, 4.0, 25.0])
def test_a_square_is_the_product_with_itself(name: str, variance: float) -> None:
    square = mean(lambda a: ACTIVATIONS[name](a) ** 2, variance)
    tolerance = 1e-12 if variance <= 1 or name not in ("tanh", "gelu") else 1e-8
    assert abs(mean_product(ACTIVATIONS[name], 1.0, variance) - square) < tolerance * variance


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_uncorrelated_gaussians_have_the_product_of_their_means(name: str) -> None:
    expected = mean(ACTIVATIONS[name], 0.7) * mean(ACTIVATIONS[name], 2.0)
    # 6144 terms, each rounded; tanh and gelu at variance 2 as the docstring says.
    assert mean_product(ACTIVATIONS[name], 0.0, 0.7, 2.0) == pytest.approx(expected, abs=2e-10)


def test_moments_of_a_gaussian_are_its_moments() -> None:
    for power, moment in ((0, 1), (1, 0), (2, 1), (3, 0), (4, 3), (6, 15), (8, 105)):
        found = mean(lambda a, p=power: a**p, [1.0, 4.0])  # type: ignore[misc]
        expected = moment * np.array([1.0, 4.0]) ** (power / 2)
        assert found == pytest.approx(expected, rel=1e-13, abs=1e-13)  # rounding of 128 terms


def test_arguments_broadcast() -> None:
    found = mean_product(np.tanh, [[0.1], [0.6]], [0.5, 1.0, 2.0], 1.5)
    assert found.shape == (2, 3)
    assert found[1, 2] == mean_product(np.tanh, 0.6, 2.0, 1.5)


def test_rounding_of_a_cosine_beyond_1_is_no_nan() -> None:
    assert mean_product(np.tanh, 1 + 1e-15) == mean_product(np.tanh, 1.0)
