"""Cosines in wide random networks: published values, limits, and one wide network."""

import numpy as np
import pytest

from tfc_jax.theory import cosines_by_depth, relu_cosine

DEPTHS = [1, 2, 4, 8, 16, 32]
FROM_ZERO = [0.318310, 0.493731, 0.680954, 0.834416, 0.929456, 0.974720]
FROM_HALF = [0.608998, 0.683906, 0.778895, 0.872239, 0.940295, 0.977101]


@pytest.mark.parametrize(("start", "expected"), [(0.0, FROM_ZERO), (0.5, FROM_HALF)])
def test_iterated_map_has_its_table_values(start: float, expected: list[float]) -> None:
    found = cosines_by_depth(relu_cosine, start, max(DEPTHS))[DEPTHS]
    assert found == pytest.approx(expected, abs=5e-7)  # six digits are given


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
