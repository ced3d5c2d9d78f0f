"""Regression of a sum of three sines of one number."""

import numpy as np

from tfc_jax.data._dataset import Dataset
from tfc_jax.draws import order, rounded

NAMES = ("sine_mixture",)
_SEED = 3
_N_TRAIN = 1000


def load_raw(name: str) -> Dataset:
    """Returns f on a grid of [-1, 1], float32 (N, 1), with f(x) for targets, float32 (N, 1).

    Training set: 1000 equidistant points, both ends included, in a fixed shuffled order. Test set:
    the 999 points in the middle between two of them, from left to right.
    """
    # A quotient of whole numbers is the float64 nearest to the point on every machine.
    steps = np.arange(1 - _N_TRAIN, _N_TRAIN)
    grid = (steps / (_N_TRAIN - 1)).astype(np.float32)[:, None]
    x_train, x_test = grid[::2][order(_SEED, _N_TRAIN)], grid[1::2]
    return Dataset(
        name=name,
        x_train=x_train,
        y_train=_float32(f(x_train)),
        x_test=x_test,
        y_test=_float32(f(x_test)),
        class_names=(),
        max_value=1,
    )


def f(x: np.ndarray) -> np.ndarray:
    """Returns sin(pi x) + sin(4 pi x) / 2 + sin(9 pi x) / 4 in float64."""
    turn = np.pi * x.astype(np.float64)
    return np.sin(turn) + np.sin(4 * turn) / 2 + np.sin(9 * turn) / 4


def _float32(values: np.ndarray) -> np.ndarray:
    return rounded(values).astype(np.float32)
