"""Targets that depend on a few directions of the input."""

import math

import numpy as np
import pytest
from numpy.polynomial import hermite_e

from tfc_jax import data
from tfc_jax.data import Dataset
from tfc_jax.data.single_index import target
from tfc_jax.draws import directions
from tfc_jax.errors import InputError

COUNTS = list(range(1, 9))


def everything(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    x = np.concatenate([dataset.x_train, dataset.x_test]).astype(np.float64)
    return x, np.concatenate([dataset.y_train, dataset.y_test])[:, 0].astype(np.float64)


def assert_within_error(values: np.ndarray, expected: float) -> None:
    """The mean is `expected` within 4 standard errors."""
    error = values.std() / math.sqrt(len(values))
    assert values.mean() == pytest.approx(expected, abs=4 * error)


def test_the_samples_are_the_same_on_every_machine() -> None:
    expected = "58f045453ec9a6e53d3ebf66b80877df3b924d945cb8c92ebb87494719e27bda"
    assert data.load("single_index").sha256 == expected


@pytest.mark.parametrize("n", COUNTS)
def test_targets_are_the_documented_formula(n: int) -> None:
    dataset = data.load("single_index", difficulty=n)
    x = dataset.x_test.astype(np.float64)
    expected = np.zeros(len(x))
    for u in directions(n, 32):
        z = sum(x[:, i] * u[i] for i in range(32))
        for order in (2, 3):
            he = hermite_e.hermeval(z, [0] * order + [1])
            expected += he / math.sqrt(math.factorial(order)) / math.sqrt(2) / math.sqrt(n)
    # Half of the 6th decimal, and float32's relative rounding.
    np.testing.assert_allclose(dataset.y_test[:, 0], expected, rtol=2**-24, atol=5e-7 + 1e-12)


@pytest.mark.parametrize("n", COUNTS)
def test_targets_have_mean_0_and_variance_1_within_their_standard_errors(n: int) -> None:
    _, y = everything(data.load("single_index", difficulty=n))
    assert_within_error(y, 0)
    assert_within_error(y**2, 1)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_exact_mean_is_0_and_the_exact_variance_1(n: int) -> None:
    # Gauss-Hermite quadrature along one direction is exact; the directions are independent, so
    # n times the variance of one, each weighted by 1/n, is that of all.
    z, weight = hermite_e.hermegauss(8)
    weight /= weight.sum()
    one = target(z[:, None] * directions(1, 32), 1)[:, 0]
    assert weight @ one == pytest.approx(0, abs=1e-14)
    assert weight @ one**2 == pytest.approx(1, rel=1e-13)
    along = target(z[:, None] * directions(n, 32)[-1:], n)[:, 0]
    elsewhere = target(np.zeros((1, 32)), n)[0, 0] * (n - 1) / n
    np.testing.assert_allclose(along, one / math.sqrt(n) + elsewhere, rtol=0, atol=1e-12)


def test_no_direction_is_linearly_correlated_with_the_target() -> None:
    x, y = everything(data.load("single_index", difficulty=3))
    for column in x.T:
        assert_within_error(column * y, 0)


@pytest.mark.parametrize("n", COUNTS)
def test_moving_orthogonally_to_the_directions_changes_nothing(n: int) -> None:
    dataset = data.load("single_index", difficulty=n)
    x = dataset.x_test[:200].astype(np.float64)
    move = np.random.default_rng(5).normal(size=x.shape)
    u = directions(n, 32)
    orthogonal = move - move @ u.T @ u
    # Sums of 32 numbers of order 1 in float64, through a cubic of slope below 100.
    np.testing.assert_allclose(target(x + orthogonal, n), target(x, n), rtol=0, atol=1e-11)
    assert np.abs(target(x + move, n) - target(x, n)).max() > 1


def test_inputs_are_10000_and_2000_standard_normals_the_same_at_every_difficulty() -> None:
    one, eight = (data.load("single_index", difficulty=n) for n in (1, 8))
    assert (one.x_train.shape, one.x_test.shape) == ((10_000, 32), (2000, 32))
    np.testing.assert_array_equal(one.x_train, eight.x_train)
    x, _ = everything(one)
    covariance = x.T @ x / len(x)
    # Standard error 1/sqrt(n) off the diagonal, sqrt(2/n) on it; 528 of them.
    np.testing.assert_allclose(covariance, np.eye(32), rtol=0, atol=5 * math.sqrt(2 / len(x)))


def test_one_direction_is_the_default() -> None:
    default, same = (data.load("single_index", difficulty=n) for n in (None, 1))
    assert default.sha256 == same.sha256


@pytest.mark.parametrize("difficulty", [0, 9, 1.5, -1, math.inf, math.nan])
def test_what_is_no_number_of_directions_is_refused(difficulty: float) -> None:
    with pytest.raises(InputError, match=r"'single_index'\. It is the number of .* from 1 to 8"):
        data.load("single_index", difficulty=difficulty)
