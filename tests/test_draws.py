"""Draws that every machine and every version of NumPy must reproduce."""

import math

import numpy as np
import pytest

from tfc_jax import draws

N = 200_000


def test_uniforms_are_the_upper_53_bits_of_each_raw_output() -> None:
    raw = np.random.PCG64(7).random_raw(6).tolist()
    expected = [[(raw[2 * i + j] // 2**11) / 2**53 for j in range(2)] for i in range(3)]
    assert draws.uniform(7, (3, 2)).tolist() == expected


def test_uniforms_fill_the_unit_interval_evenly() -> None:
    u = draws.uniform(8, (N,))
    assert (u >= 0).all()
    assert (u < 1).all()
    distance = np.abs(np.sort(u) - (np.arange(N) + 0.5) / N).max()
    assert distance < 1.95 / math.sqrt(N)  # Kolmogorov: exceeded with probability 0.001


def test_normals_are_box_and_mullers_to_6_decimals() -> None:
    u = draws.uniform(9, (2, 4)).tolist()
    expected = [
        math.sqrt(-2 * math.log(1 - a)) * math.cos(2 * math.pi * b) for a, b in zip(*u, strict=True)
    ]
    # Rounding to 6 decimals moves by at most 5e-7; math and NumPy differ by some 1e-16.
    np.testing.assert_allclose(draws.normal(9, (4,)), expected, rtol=0, atol=5e-7 + 1e-12)


def test_normals_have_the_distribution_function_and_moments_of_the_normal() -> None:
    z = np.sort(draws.normal(10, (N,)))
    cdf = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z])
    assert np.abs(cdf - (np.arange(N) + 0.5) / N).max() < 1.95 / math.sqrt(N)
    # Standard errors of the mean of z, z^2, z^3, z^4: their variances are 1, 2, 15, 96.
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert np.mean(z**power) == pytest.approx(mean, abs=4 * math.sqrt(variance / N))


def test_normals_of_one_draw_are_uncorrelated() -> None:
    z = draws.normal(11, (N // 10, 10))
    correlation = np.corrcoef(z, rowvar=False)[np.triu_indices(10, 1)]
    assert np.abs(correlation).max() < 4.5 / math.sqrt(N // 10)  # standard error 1/sqrt(n)


def test_no_draw_or_rounded_value_is_a_negative_zero() -> None:
    assert not np.signbit(draws.rounded(np.array([-1e-9, -0.0, 0.0, 1e-9]))).any()
    assert draws.rounded(np.array([0.12345649, -0.12345651])).tolist() == [0.123456, -0.123457]


def test_an_order_has_every_place_once_and_is_shuffled() -> None:
    order = draws.order(12, 1000)
    assert sorted(order.tolist()) == list(range(1000))
    # The rank correlation of a random order has standard error 1/sqrt(n - 1).
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 4 / math.sqrt(999)


@pytest.mark.parametrize(("n", "dimension"), [(1, 2), (8, 32), (10, 16), (15, 16)])
def test_directions_are_orthonormal_and_dense(n: int, dimension: int) -> None:
    u = draws.directions(n, dimension)
    # A few roundings of float64 at 1/sqrt(dimension).
    np.testing.assert_allclose(u @ u.T, np.eye(n), rtol=0, atol=1e-15)
    np.testing.assert_allclose(np.abs(u), dimension**-0.5, rtol=1e-15)


def test_fewer_directions_are_the_first_of_more() -> None:
    np.testing.assert_array_equal(draws.directions(8, 32)[:3], draws.directions(3, 32))
