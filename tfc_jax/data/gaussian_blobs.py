"""Ten Gaussian classes around centres that are all equally far apart."""

import numpy as np

from tfc_jax.data._dataset import Dataset
from tfc_jax.data._difficulty import within
from tfc_jax.draws import directions, normal

NAMES = ("gaussian_blobs",)
DIFFICULTY = (
    "It is the standard deviation of a class over the distance between two class centres: a number "
    "from 0.001 to 1000; default 0.2."
)
N_CLASSES = 10
_DIMENSION = 16
_DEFAULT = 0.2
_SEED = 2
_N_TRAIN, _N_TEST = 5000, 2000


def load_raw(name: str, difficulty: float | None) -> Dataset:
    """Returns 5000 training and 2000 test points, float32 (N, 16); the classes take turns.

    A point is its class's centre plus `difficulty` times standard normal noise. The noise is the
    same at every difficulty, and the distance between two centres is always 1.

    Args:
      difficulty: standard deviation over distance; None is 0.2.
    Raises:
      InputError: it is outside 0.001 to 1000.
    """
    spread = within(name, _DEFAULT if difficulty is None else difficulty, 1e-3, 1e3, DIFFICULTY)
    n = _N_TRAIN + _N_TEST
    y = np.arange(n, dtype=np.int32) % N_CLASSES
    x = (centres()[y] + spread * normal(_SEED, (n, _DIMENSION))).astype(np.float32)
    return Dataset(
        name=name,
        x_train=x[:_N_TRAIN],
        y_train=y[:_N_TRAIN],
        x_test=x[_N_TRAIN:],
        y_test=y[_N_TRAIN:],
        class_names=tuple(str(label) for label in range(N_CLASSES)),
        max_value=1,
    )


def centres() -> np.ndarray:
    """Returns one centre per class, (10, 16) float64: orthogonal, any two at distance 1."""
    return directions(N_CLASSES, _DIMENSION) / np.sqrt(2)
