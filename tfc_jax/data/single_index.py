"""Regression in 32 dimensions on what a few directions of the input say."""

import numpy as np

from tfc_jax.data._dataset import Dataset
from tfc_jax.data._difficulty import whole_within
from tfc_jax.draws import directions, normal, rounded

NAMES = ("single_index",)
DIFFICULTY = (
    "It is the number of directions that the target depends on: a whole number from 1 to 8; "
    "default 1."
)
_DEFAULT = 1
_DIMENSION = 32
_SEED = 4
_N_TRAIN, _N_TEST = 10_000, 2000


def load_raw(name: str, difficulty: float | None) -> Dataset:
    """Returns 10000 training and 2000 test samples: x standard normal, float32 (N, 32).

    The targets are `target(x, difficulty)`, float32 (N, 1). The inputs are the same at every
    difficulty.

    Args:
      difficulty: how many directions; None is 1.
    Raises:
      InputError: it is not a whole number from 1 to 8.
    """
    asked = _DEFAULT if difficulty is None else difficulty
    n_directions = whole_within(name, asked, 1, 8, DIFFICULTY)
    x = normal(_SEED, (_N_TRAIN + _N_TEST, _DIMENSION)).astype(np.float32)
    y = rounded(target(x, n_directions)).astype(np.float32)
    return Dataset(
        name=name,
        x_train=x[:_N_TRAIN],
        y_train=y[:_N_TRAIN],
        x_test=x[_N_TRAIN:],
        y_test=y[_N_TRAIN:],
        class_names=(),
        max_value=1,
    )


def target(x_NxD: np.ndarray, n_directions: int) -> np.ndarray:
    """Returns y = n^(-1/2) sum_j g(u_j . x), float64 (N, 1), for n orthonormal directions u_j.

    g(z) = (He2(z) / sqrt(2!) + He3(z) / sqrt(3!)) / sqrt(2), with the Hermite polynomials
    He2(z) = z^2 - 1 and He3(z) = z^3 - 3 z. For standard normal x these have mean 0, variances 2!
    and 3!, and are uncorrelated, so y has mean 0 and variance 1 for every n. No linear function of
    x is correlated with y.
    """
    z_Nxn = x_NxD.astype(np.float64) @ directions(n_directions, x_NxD.shape[1]).T
    he2_Nxn, he3_Nxn = z_Nxn**2 - 1, z_Nxn**3 - 3 * z_Nxn
    g_Nxn = he2_Nxn / 2 + he3_Nxn / np.sqrt(12)
    return g_Nxn.sum(axis=1, keepdims=True) / np.sqrt(n_directions)
