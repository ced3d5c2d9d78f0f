"""Cosines in wide random networks: published values, limits, and one wide network."""

from inspect import isfunction

import numpy as np
import pytest

from tfc_jax import theory
from tfc_jax.theory import (
    ACTIVATIONS,
    abs_cosine,
    chains,
    cosines,
    cosines_by_depth,
    finite_width,
    gaussian,
    leaky_relu_cosine,
    next_cosine,
    rank_bound,
    relu_cosine,
    residual,
    variances,
)

DEPTHS = [1, 2, 4, 8, 16, 32]
FROM_ZERO = [0.318310, 0.493731, 0.680954, 0.834416, 0.929456, 0.974720]
FROM_HALF = [0.608998, 0.683906, 0.778895, 0.872239, 0.940295, 0.977101]
ABS_FROM_ZERO = {1: 0.636620, 2: 0.770637, 3: 0.837353, 5: 0.903090}
COSINES = np.linspace(-1, 1, 21)


@pytest.mark.parametrize(("start", "expected"), [(0.0, FROM_ZERO), (0.5, FROM_HALF)])
def test_iterated_map_has_its_table_values(start: float, expected: list[float]) -> None:
    found = cosines_by_depth(relu_cosine, start, max(DEPTHS))[DEPTHS]
    assert found == pytest.approx(expected, abs=5e-7)  # six digits are given


def test_iterated_map_of_abs_has_its_table_values() -> None:
    found = cosines_by_depth(abs_cosine, 0.0, 5)[list(ABS_FROM_ZERO)]
    assert found == pytest.approx(list(ABS_FROM_ZERO.values()), abs=5e-7)


def test_leaky_relu_lies_between_relu_identity_and_abs() -> None:
    for slope, limit in ((0, relu_cosine(COSINES)), (1, COSINES), (-1, abs_cosine(COSINES))):
        assert leaky_relu_cosine(COSINES, slope) == pytest.approx(limit, abs=1e-15)


@pytest.mark.parametrize("slope", [0.01, 0.3])
def test_the_map_of_leaky_relu_is_its_formula_and_its_quadrature(slope: float) -> None:
    formula = ((1 - slope) ** 2 * relu_cosine(COSINES) + 2 * slope * COSINES) / (1 + slope**2)
    assert leaky_relu_cosine(COSINES, slope) == pytest.approx(formula, abs=1e-15)
    found = next_cosine(lambda a: np.where(a > 0, a, slope * a), COSINES, variance=0.3)
    assert found == pytest.approx(formula, abs=1e-13)  # rounding of 6144 terms


def test_quadrature_finds_the_closed_maps() -> None:
    for name, closed in (("relu", relu_cosine), ("abs", abs_cosine)):
        found = next_cosine(ACTIVATIONS[name], COSINES, variance=2.0, weight_variance=0.7)
        assert found == pytest.approx(closed(COSINES), abs=1e-13)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("bias_variance", [0.0, 0.2])
def test_a_sample_stays_equal_to_itself(name: str, bias_variance: float) -> None:
    # 1e-12 as `mean_product`.
    assert next_cosine(ACTIVATIONS[name], 1.0, 1.0, 1.5, bias_variance) == pytest.approx(1, 1e-12)


def test_biases_pull_cosines_up_by_what_they_share() -> None:
    found = next_cosine(ACTIVATIONS["identity"], COSINES, 2.0, 1.5, 0.6)
    assert found == pytest.approx((3 * COSINES + 0.6) / 3.6, abs=1e-13)


def test_everything_public_is_exported_and_documented() -> None:
    modules = (chains, cosines, finite_width, gaussian, rank_bound, residual, variances)
    public = {
        name: f
        for module in modules
        for name, f in vars(module).items()
        if isfunction(f) and f.__module__ == module.__name__ and not name.startswith("_")
    }
    assert len(public) > 20
    assert set(public) <= set(theory.__all__)
    assert all(f.__doc__ for f in public.values())


def test_map_has_its_exact_values() -> None:
    assert relu_cosine([-1, 0, 1]) == pytest.approx([0, 1 / np.pi, 1], abs=1e-15)


def test_rounding_beyond_1_is_no_nan() -> None:
    assert relu_cosine(1 + 1e-15) == 1


def test_depth_zero_is_the_input() -> None:
    start = np.array([-0.5, 0.2])
    found = cosines_by_depth(relu_cosine, start, 3)
    assert found.shape == (4, 2)
    np.testing.assert_array_equal(found[0], start)


def test_a_wide_layer_follows_the_map() -> None:
    rng = np.random.default_rng(0)
    width, start = 200_000, 0.5
    inputs = np.array([[1.0, 0.0], [start, np.sqrt(1 - start**2)]])
    one, other = np.maximum(inputs @ rng.standard_normal((2, width)), 0)
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    # 0.72 / sqrt(width) is the standard deviation of this cosine over networks, by simulation.
    assert cosine == pytest.approx(float(relu_cosine(start)), abs=4 * 0.72 / width**0.5)
