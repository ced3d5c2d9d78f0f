"""The sum of three sines."""

import math

import numpy as np
import pytest

from tfc_jax import data
from tfc_jax.data.sine_mixture import f


def test_the_sines_are_the_same_on_every_machine() -> None:
    expected = "b2d1c2eafa39239f8881b5c9baed7dcad94144b143453e7b585cb9e5c0a78a61"
    assert data.load("sine_mixture").sha256 == expected


def test_training_inputs_are_a_shuffled_grid_with_both_ends() -> None:
    x = data.load("sine_mixture").x_train
    assert x.shape == (1000, 1)
    # Rounding of numbers up to 1 to float32.
    np.testing.assert_allclose(np.sort(x[:, 0]), np.linspace(-1, 1, 1000), rtol=0, atol=2**-24)
    assert abs(np.corrcoef(x[:, 0], np.arange(1000))[0, 1]) < 4 / math.sqrt(999)


def test_test_inputs_are_the_midpoints_in_order() -> None:
    dataset = data.load("sine_mixture")
    grid = np.sort(dataset.x_train[:, 0].astype(np.float64))
    middle = (grid[:-1] + grid[1:]) / 2
    np.testing.assert_allclose(dataset.x_test[:, 0], middle, rtol=0, atol=2**-23)


def test_every_target_is_the_formula_to_6_decimals() -> None:
    dataset = data.load("sine_mixture")
    x = np.concatenate([dataset.x_train, dataset.x_test])[:, 0].tolist()
    y = np.concatenate([dataset.y_train, dataset.y_test])[:, 0]
    expected = [
        math.sin(math.pi * v) + 0.5 * math.sin(4 * math.pi * v) + 0.25 * math.sin(9 * math.pi * v)
        for v in x
    ]
    # Half of the 6th decimal, and the rounding to float32 of values below 2.
    np.testing.assert_allclose(y, expected, rtol=0, atol=5e-7 + 2**-24)


def test_each_sine_has_its_weight() -> None:
    # Over one period, equidistant points integrate products of such sines exactly.
    x = (np.arange(64) / 32 - 1)[:, None]
    weights = [2 * float(np.mean(f(x) * np.sin(n * np.pi * x))) for n in range(1, 12)]
    expected = {1: 1, 4: 1 / 2, 9: 1 / 4}
    assert weights == pytest.approx([expected.get(n, 0) for n in range(1, 12)], abs=1e-14)


def test_the_function_is_odd_and_so_is_the_data_set() -> None:
    dataset = data.load("sine_mixture")
    np.testing.assert_array_equal(dataset.y_test, -dataset.y_test[::-1])
