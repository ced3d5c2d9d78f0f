"""The ten Gaussian classes: geometry, and the error that no classifier can undercut."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from tfc_jax import data
from tfc_jax.data import Dataset
from tfc_jax.data.gaussian_blobs import centres
from tfc_jax.errors import InputError

DIFFICULTIES = [0.15, 0.2, 0.5, 1.0, 4.0]


def everything(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    x = np.concatenate([dataset.x_train, dataset.x_test]).astype(np.float64)
    return x, np.concatenate([dataset.y_train, dataset.y_test])


def nearest_centre_error(dataset: Dataset) -> tuple[float, int]:
    x, y = everything(dataset)
    places = centres()[: dataset.n_classes]
    distance = ((x[:, None, :] - places[None, :, :]) ** 2).sum(axis=2)
    return float(np.mean(distance.argmin(axis=1) != y)), len(y)


def bayes_error(spread: float, n_classes: int) -> float:
    """Error of the nearest of orthogonal centres at distance 1.

    Along the unit vectors of the centres, the scores are independent normals of deviation `spread`,
    that of the true class higher by 1/sqrt(2); it is right when it is the largest.
    """
    gap = 1 / (math.sqrt(2) * spread)

    def right(z: float) -> float:
        return float(stats.norm.pdf(z) * stats.norm.cdf(z + gap) ** (n_classes - 1))

    return 1 - integrate.quad(right, -10, 10)[0]


def test_the_blobs_are_the_same_on_every_machine() -> None:
    expected = "b6755f457e0b7821f0d1dae369d84a6a26c52aa156d8e66b3c2df135a9e55ee6"
    assert data.load("gaussian_blobs").sha256 == expected


def test_any_two_centres_are_at_distance_1() -> None:
    differences = centres()[:, None] - centres()[None, :]
    distances = np.linalg.norm(differences, axis=2)
    # A few roundings of float64.
    np.testing.assert_allclose(distances, 1 - np.eye(10), rtol=0, atol=1e-15)


def test_classes_take_turns_so_that_any_start_is_balanced() -> None:
    dataset = data.load("gaussian_blobs")
    assert (dataset.x_train.shape, dataset.x_test.shape) == ((5000, 16), (2000, 16))
    assert dataset.y_train[:20].tolist() == [*range(10), *range(10)]
    np.testing.assert_array_equal(np.bincount(dataset.y_test), 200)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_measured_distance_over_spread_is_the_inverse_of_the_difficulty(difficulty: float) -> None:
    x, y = everything(data.load("gaussian_blobs", difficulty=difficulty))
    noise = x - centres()[y]
    # n values of deviation s: their root mean square has standard error s / sqrt(2 n).
    spread = math.sqrt(np.mean(noise**2))
    assert spread == pytest.approx(difficulty, rel=4 / math.sqrt(2 * noise.size))
    means = np.stack([x[y == label].mean(axis=0) for label in range(10)])
    difference = means[3] - means[8]
    # Squared distance of two means of 700 samples: its expectation is 1 + 16 v with v the variance
    # 2 s^2 / 700 of a difference, its variance 4 v + 32 v^2 (noncentral chi-square of 16 numbers).
    v = 2 * difficulty**2 / 700
    expected, error = 1 + 16 * v, math.sqrt(4 * v + 32 * v**2)
    assert difference @ difference == pytest.approx(expected, abs=4 * error)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_the_nearest_centre_errs_as_often_as_bayes_does(difficulty: float) -> None:
    error, n = nearest_centre_error(data.load("gaussian_blobs", difficulty=difficulty))
    expected = bayes_error(difficulty, 10)
    # Standard error of a share.
    assert error == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / n))


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_two_classes_err_as_the_normal_tail_beyond_half_the_distance(difficulty: float) -> None:
    dataset = data.load("gaussian_blobs", difficulty=difficulty, classes=2)
    error, n = nearest_centre_error(dataset)
    expected = float(stats.norm.sf(1 / (2 * difficulty)))
    assert bayes_error(difficulty, 2) == pytest.approx(expected, abs=1e-8)  # of the quadrature
    # Standard error of a share, and one sample more for shares near 0.
    tolerance = 4 * math.sqrt(expected * (1 - expected) / n) + 1 / n
    assert error == pytest.approx(expected, abs=tolerance)


def test_noise_is_paired_over_difficulties_and_02_is_the_default() -> None:
    default, same, harder = (data.load("gaussian_blobs", difficulty=d) for d in (None, 0.2, 0.8))
    assert default.sha256 == same.sha256
    np.testing.assert_array_equal(harder.y_train, default.y_train)
    middle = centres()[default.y_train]
    # Float32 rounds values below 5 by at most 2**-23 * 2; the first is scaled up by 4.
    np.testing.assert_allclose(
        harder.x_train - middle, 4 * (default.x_train - middle), rtol=0, atol=2e-6
    )


@pytest.mark.parametrize("difficulty", [0, -0.2, 1e-4, 1001, math.inf, math.nan])
def test_what_is_no_spread_is_refused(difficulty: float) -> None:
    with pytest.raises(InputError, match=r"'gaussian_blobs'\. It is the standard dev.* 0\.001 to"):
        data.load("gaussian_blobs", difficulty=difficulty)
