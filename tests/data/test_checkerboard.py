"""The checkerboard."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfc_jax import data
from tfc_jax.data.checkerboard import colour
from tfc_jax.errors import InputError


def test_the_board_is_the_same_on_every_machine() -> None:
    expected = "85c02f3daf3322f3c4f34c9b435ffd934e493b51d88099122c6bdc29076d983b"
    assert data.load("checkerboard").sha256 == expected


def test_points_are_4000_and_2000_spread_evenly_over_the_square() -> None:
    dataset = data.load("checkerboard")
    assert (dataset.x_train.shape, dataset.x_test.shape) == ((4000, 2), (2000, 2))
    x = np.concatenate([dataset.x_train, dataset.x_test])
    assert np.abs(x).max() <= 1
    # Uniform on [-1, 1]: mean 0, variance 1/3; of x^2: mean 1/3, variance 4/45.
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=4 * math.sqrt(1 / 3 / len(x)))
    np.testing.assert_allclose((x**2).mean(axis=0), 1 / 3, atol=4 * math.sqrt(4 / 45 / len(x)))
    assert abs(np.corrcoef(x.T)[0, 1]) < 4 / math.sqrt(len(x))


@pytest.mark.parametrize("k", [2, 3, 4, 8])
def test_every_label_is_the_parity_of_its_cell(k: int) -> None:
    dataset = data.load("checkerboard", difficulty=k)
    edges = np.linspace(-1, 1, k + 1)
    cells = [[sum(edges[1:-1] <= value) for value in point] for point in dataset.x_test]
    np.testing.assert_array_equal(dataset.y_test, [sum(cell) % 2 for cell in cells])
    # Classes share the area as their cells do; the standard error of a share is below 1/2 sqrt(n).
    share = ((k * k) // 2) / (k * k)
    assert np.mean(dataset.y_train) == pytest.approx(share, abs=4 * 0.5 / math.sqrt(4000))


def test_four_cells_have_the_sign_of_the_product() -> None:
    dataset = data.load("checkerboard", difficulty=2)
    np.testing.assert_array_equal(dataset.y_train, dataset.x_train.prod(axis=1) < 0)


@given(k=st.integers(2, 9), i=st.integers(0, 8), j=st.integers(0, 8))
def test_the_middle_of_a_cell_and_its_neighbour_differ(k: int, i: int, j: int) -> None:
    middle = np.array([[i % k + 0.5, j % k + 0.5], [(i + 1) % k + 0.5, j % k + 0.5]])
    ours = colour((2 * middle / k - 1).astype(np.float32), k)
    assert ours[0] == (i % k + j % k) % 2
    if (i + 1) % k:
        assert ours[0] != ours[1]


@pytest.mark.parametrize("k", [2, 3, 1000])
def test_the_rim_belongs_to_the_outermost_cells(k: int) -> None:
    corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], np.float32)
    assert colour(corners, k).tolist() == [0, (k - 1) % 2, (k - 1) % 2, 0]


def test_the_points_are_the_same_at_every_difficulty_and_4_is_the_default() -> None:
    default, same, harder = (data.load("checkerboard", difficulty=k) for k in (None, 4, 6))
    assert default.sha256 == same.sha256
    np.testing.assert_array_equal(harder.x_train, default.x_train)
    assert (harder.y_train != default.y_train).any()


@pytest.mark.parametrize("difficulty", [1, 0, -2, 2.5, 1001, math.inf, math.nan])
def test_what_is_no_number_of_cells_is_refused(difficulty: float) -> None:
    with pytest.raises(InputError, match=r"'checkerboard'\. It is k .* whole number from 2 to"):
        data.load("checkerboard", difficulty=difficulty)
