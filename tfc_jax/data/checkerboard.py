"""Points of a square, whose class is the colour of the board's cell they are in."""

import numpy as np

from tfc_jax.data._dataset import Dataset
from tfc_jax.data._difficulty import whole_within
from tfc_jax.draws import rounded, uniform

NAMES = ("checkerboard",)
DIFFICULTY = "It is k of a board of k x k cells: a whole number from 2 to 1000; default 4."
_DEFAULT = 4
_SEED = 1
_N_TRAIN, _N_TEST = 4000, 2000


def load_raw(name: str, difficulty: float | None) -> Dataset:
    """Returns 4000 training and 2000 test points, uniform on [-1, 1]^2, float32 (N, 2).

    The points are the same at every difficulty; only the labels differ.

    Args:
      difficulty: k of the k x k cells; None is 4.
    Raises:
      InputError: k is not a whole number from 2 to 1000.
    """
    asked = _DEFAULT if difficulty is None else difficulty
    n_cells = whole_within(name, asked, 2, 1000, DIFFICULTY)
    x = rounded(2 * uniform(_SEED, (_N_TRAIN + _N_TEST, 2)) - 1).astype(np.float32)
    y = colour(x, n_cells)
    return Dataset(
        name=name,
        x_train=x[:_N_TRAIN],
        y_train=y[:_N_TRAIN],
        x_test=x[_N_TRAIN:],
        y_test=y[_N_TRAIN:],
        class_names=("even", "odd"),
        max_value=1,
    )


def colour(x_Nx2: np.ndarray, n_cells: int) -> np.ndarray:
    """Returns the parity of column plus row of each point's cell: (N,) int32, 0 or 1.

    A point on the line between two cells belongs to the upper one, at +1 to the last.
    """
    cell_Nx2 = np.floor((x_Nx2.astype(np.float64) + 1) * (n_cells / 2))
    return (np.minimum(cell_Nx2, n_cells - 1).sum(axis=1) % 2).astype(np.int32)
