"""Handwritten digits, 8x8, embedded in scikit-learn: nothing to download."""

import zlib
from typing import Any

import numpy as np

from tfc_jax.data._dataset import Dataset
from tfc_jax.data._state import State
from tfc_jax.draws import order
from tfc_jax.errors import InputError

NAMES = ("digits",)
_MAX_VALUE = 16
_SEED = 0
_N_TRAIN = 1437
# Of the arrays as they are returned.
_SHA256 = "6483391d1ef7c34ccd81f444db7b7a792af307269ccde5c9716af404ef8676ac"


def load_raw(name: str) -> Dataset:
    """Returns 1437 training and 360 test images, uint8 0..16 of shape (8, 8, 1).

    scikit-learn's order is that of collection (writers one after another), so the 1797 samples
    are permuted once: by the sort order of the first 1797 raw 64-bit outputs of NumPy's PCG64
    seeded with 0. A bit generator's raw stream is fixed for ever, `Generator.permutation` is not.

    Raises:
      InputError: scikit-learn's file is damaged or altered.
    """
    bunch = _bunch()
    shuffled = order(_SEED, len(bunch.target))
    x = bunch.images[shuffled, :, :, None].astype(np.uint8)
    y = bunch.target[shuffled].astype(np.int32)
    dataset = Dataset(
        name=name,
        x_train=x[:_N_TRAIN],
        y_train=y[:_N_TRAIN],
        x_test=x[_N_TRAIN:],
        y_test=y[_N_TRAIN:],
        class_names=tuple(str(digit) for digit in bunch.target_names),
        max_value=_MAX_VALUE,
    )
    if dataset.sha256 != _SHA256:
        raise _damaged(f"SHA-256 {dataset.sha256[:12]} instead of {_SHA256[:12]}")
    return dataset


def _bunch() -> Any:
    from sklearn.datasets import load_digits

    try:
        return load_digits()
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise _damaged(str(error)) from error


def _damaged(what: str) -> InputError:
    return InputError(
        f"dataset 'digits': scikit-learn's copy is not the original ({what}). Reinstall it: pip "
        "install --force-reinstall --no-deps scikit-learn"
    )


def state(name: str) -> State:
    """Always available: the images are part of scikit-learn."""
    return State(name, available=True, where="embedded in scikit-learn")
