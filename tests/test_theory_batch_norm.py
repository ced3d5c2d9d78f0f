"""Batch norm before ReLU, simulated in NumPy: cosines that stay, gradients that grow."""

from functools import cache

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tfc_jax.theory import BATCH_NORM_GRADIENT_GROWTH, batch_norm_relu_cosine

DEPTH = 8


def mean_cosine(h_BxH: np.ndarray) -> float:
    unit = h_BxH / np.linalg.norm(h_BxH, axis=1, keepdims=True)
    n = len(unit)
    return float((np.sum(unit.sum(axis=0) ** 2) - n) / (n * (n - 1)))


@cache
def simulated(batch: int, width: int, n_runs: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean cosines (R, DEPTH), and ln of the squared gradient's growth per layer (R, DEPTH - 1)."""
    rng = np.random.default_rng(0)
    cosines, growths = np.empty((n_runs, DEPTH)), np.empty((n_runs, DEPTH - 1))
    for run in range(n_runs):
        h, layers = rng.standard_normal((batch, width)), []
        for depth in range(DEPTH):
            w = rng.standard_normal((width, width)) / np.sqrt(width)
            a = h @ w
            deviation = a.std(axis=0)
            y = (a - a.mean(axis=0)) / deviation
            h = np.maximum(y, 0)
            layers.append((w, deviation, y))
            cosines[run, depth] = mean_cosine(h)
        grad, squares = rng.standard_normal((batch, width)), []
        for w, deviation, y in layers[::-1]:
            grad = grad * (y > 0)
            grad = (grad - grad.mean(axis=0) - y * np.mean(grad * y, axis=0)) / deviation
            grad = grad @ w.T
            squares.append(np.sum(grad**2))
        growths[run] = np.diff(np.log(squares))
    return cosines, growths


@pytest.mark.parametrize(
    ("batch", "expected"), [(2, 0.0), (3, 0.109), (100, 0.3133), (10**9, 1 / np.pi)]
)
def test_the_cosine_is_that_of_centred_rows(batch: int, expected: float) -> None:
    assert batch_norm_relu_cosine(batch) == pytest.approx(expected, abs=5e-5)  # digits given


@pytest.mark.parametrize(("batch", "width"), [(20, 256), (100, 256)])
def test_cosines_stay_where_they_are_at_every_depth(batch: int, width: int) -> None:
    cosines, _ = simulated(batch, width, 8)
    error = cosines.std(axis=0, ddof=1) / np.sqrt(len(cosines))
    # Pairs differ at finite width, which adds about 0.7 / n: 0.0028 at 256.
    excess = cosines.mean(axis=0) - batch_norm_relu_cosine(batch)
    assert np.all(np.abs(excess - 0.7 / width) < 4 * error + 0.4 / width)


@pytest.mark.parametrize("width", [64, 256])
def test_finite_width_adds_about_seven_tenths_of_its_inverse(width: int) -> None:
    cosines, _ = simulated(100, width, 8)
    excess = cosines[:, 2:].mean() - batch_norm_relu_cosine(100)
    error = cosines[:, 2:].mean(axis=1).std(ddof=1) / np.sqrt(len(cosines))
    assert abs(excess - 0.7 / width) < 4 * error + 0.1 / width


def test_data_of_few_directions_add_more_at_layer_1() -> None:
    """The published deviation: digits, a batch of 100, .3245 instead of .3133."""
    rng, width = np.random.default_rng(0), 1024
    x = load_digits().data / 16
    found = []
    for _ in range(32):
        a = rng.permutation(x)[:100] @ rng.standard_normal((x.shape[1], width))
        found.append(mean_cosine(np.maximum((a - a.mean(axis=0)) / a.std(axis=0), 0)))
    # The spread over batches, and four digits.
    assert np.mean(found) == pytest.approx(0.3245, abs=4 * np.std(found) / np.sqrt(32) + 5e-5)
    assert batch_norm_relu_cosine(100) < np.mean(found) - 0.008


def test_squared_gradients_grow_by_pi_over_pi_minus_1_a_layer_backwards() -> None:
    assert BATCH_NORM_GRADIENT_GROWTH == pytest.approx(1.466942, abs=5e-7)
    batch, width = 100, 256
    _, growths = simulated(batch, width, 8)
    # Without that of layer 1, whose inputs are no features.
    per_layer_R = growths[:, :-1].mean(axis=1)
    error = per_layer_R.std(ddof=1) / np.sqrt(len(per_layer_R))
    # A finite batch adds about 1.3 / B: the deviation of a unit is that of few samples.
    expected = np.log(BATCH_NORM_GRADIENT_GROWTH * (1 + 1.3 / batch))
    assert abs(per_layer_R.mean() - expected) < 4 * error + 0.4 / width
