"""Scaling of raw inputs, as the two numbers per channel that the training step applies."""

from typing import Literal

import numpy as np

from tfc_jax.data._dataset import Dataset

Scaling = Literal["unit", "standard", "none"]
_VALUES_AT_ONCE = 1 << 20


def affine(dataset: Dataset, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
    """Returns (offset, multiplier): the network sees (raw - offset) * multiplier.

    `unit` divides by `max_value`; `none` changes nothing; `standard` gives the training set mean
    0 and standard deviation 1 per channel of an image, or per feature of a flat input. A constant
    channel has no deviation to divide by and is only centred (multiplier 1).

    Returns:
      Two float32 arrays of shape (), or (C,) / (D,) for `standard`: they broadcast over the last
      axis of the raw inputs.
    """
    if scaling == "standard":
        return _standard(dataset.x_train)
    multiplier = 1.0 / dataset.max_value if scaling == "unit" else 1.0
    return np.zeros((), np.float32), np.asarray(multiplier, np.float32)


def _standard(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values_NxC = x.reshape(-1, x.shape[-1])
    mean_C = values_NxC.mean(axis=0, dtype=np.float64)
    deviation_C = np.sqrt(_squared_deviations(values_NxC, mean_C) / len(values_NxC))
    # Exactly 0 for a constant: float64 sums 2**29 equal float32 values without rounding.
    multiplier_C = 1.0 / np.where(deviation_C == 0, 1.0, deviation_C)
    return mean_C.astype(np.float32), multiplier_C.astype(np.float32)


def _squared_deviations(values_NxC: np.ndarray, mean_C: np.ndarray) -> np.ndarray:
    # In blocks: a float64 copy of all pixels would be eight times the data set.
    n_rows = max(1, _VALUES_AT_ONCE // len(mean_C))
    blocks = (values_NxC[i : i + n_rows] - mean_C for i in range(0, len(values_NxC), n_rows))
    return sum((np.square(block).sum(axis=0) for block in blocks), np.zeros_like(mean_C))
