"""A data set: four arrays, what they mean, and the checks that hold for every one of them."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfc_jax.errors import InputError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_FLAT_NDIM = 2
_IMAGE_NDIM = 4


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test set in memory (or memory-mapped), raw: nothing is scaled.

    Attributes:
      name: what a sweep calls it.
      x_train: (N, H, W, C) images or (N, D) flat inputs; uint8, or float32 and finite.
      y_train: (N,) int32 labels in 0..K-1, or (N, O) float32 regression targets.
      x_test: like `x_train`, of the same input shape and dtype.
      y_test: like `y_train`, of the same kind.
      class_names: K names; empty for regression.
      max_value: what `unit` scaling divides by (digits 16, images 255, float data 1).

    Raises:
      InputError: the arrays do not fit together; every problem is listed.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    max_value: float

    def __post_init__(self) -> None:
        problems = [*_input_problems(self), *_target_problems(self)]
        if not self.max_value > 0:
            problems.append(f"max_value is {self.max_value}; it must be above 0.")
        if problems:
            raise InputError([f"dataset '{self.name}': {problem}" for problem in problems])

    @property
    def n_classes(self) -> int:
        """K; 0 for regression."""
        return len(self.class_names)

    @property
    def n_outputs(self) -> int:
        """Outputs a network needs: K logits, or O regression outputs."""
        return self.n_classes or self.y_train.shape[1]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(H, W, C) or (D,)."""
        return self.x_train.shape[1:]

    @property
    def n_inputs(self) -> int:
        """Input values of one sample, flattened."""
        return math.prod(self.input_shape)

    @property
    def label_prior_K(self) -> np.ndarray:  # noqa: N802
        """Share of each class among the training labels: (K,) float64, sums to 1."""
        return np.bincount(self.y_train, minlength=self.n_classes) / len(self.y_train)

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of the four arrays: their types, shapes and values; 64 hex digits."""
        digest = hashlib.sha256()
        for name in ARRAYS:
            array = getattr(self, name)
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def _input_problems(dataset: Dataset) -> list[str]:
    train, test = dataset.x_train, dataset.x_test
    problems = [p for name in ("x_train", "x_test") for p in _x_problems(name, dataset)]
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        problems.append(
            f"x_train holds {train.shape[1:]} {train.dtype}, x_test {test.shape[1:]} {test.dtype}; "
            "both must hold inputs of one shape and dtype."
        )
    return problems


def _x_problems(name: str, dataset: Dataset) -> list[str]:
    x = getattr(dataset, name)
    problems = []
    if x.ndim not in (_FLAT_NDIM, _IMAGE_NDIM) or 0 in x.shape:
        problems.append(
            f"{name} has shape {x.shape}; allowed are (N, H, W, C) images or (N, D) flat inputs, "
            "none of them 0. A missing channel axis is added by x[..., None]."
        )
    if x.dtype not in (np.uint8, np.float32):
        problems.append(f"{name} is {x.dtype}; allowed are uint8 and float32.")
    elif x.dtype == np.float32 and not np.isfinite(x).all():
        problems.append(f"{name} holds NaN or infinite values; remove or replace them.")
    return problems


def _target_problems(dataset: Dataset) -> list[str]:
    problems = []
    for part in ("train", "test"):
        x, y = getattr(dataset, f"x_{part}"), getattr(dataset, f"y_{part}")
        if y.shape[:1] != x.shape[:1]:
            problems.append(f"x_{part} {x.shape} and y_{part} {y.shape} differ in sample count.")
        if dataset.class_names:
            problems += _label_problems(f"y_{part}", y, dataset.n_classes)
        else:
            problems += _regression_problems(f"y_{part}", y)
    if not dataset.class_names and dataset.y_train.shape[1:] != dataset.y_test.shape[1:]:
        problems.append(
            f"y_train has {dataset.y_train.shape[1:]} outputs, y_test {dataset.y_test.shape[1:]}; "
            "both must have the same."
        )
    return problems


def _label_problems(name: str, y: np.ndarray, n_classes: int) -> list[str]:
    if y.ndim != 1 or y.dtype != np.int32:
        return [f"{name} is {y.dtype} {y.shape}; class labels are int32 of shape (N,)."]
    if y.size and (y.min() < 0 or y.max() >= n_classes):
        return [
            f"{name} holds labels {y.min()}..{y.max()}; {n_classes} classes allow "
            f"0..{n_classes - 1}."
        ]
    return [] if n_classes > 1 else [f"{name} holds one class; at least 2 are needed."]


def _regression_problems(name: str, y: np.ndarray) -> list[str]:
    if y.ndim != _FLAT_NDIM or 0 in y.shape or y.dtype != np.float32:
        return [f"{name} is {y.dtype} {y.shape}; regression targets are float32 of shape (N, O)."]
    return [] if np.isfinite(y).all() else [f"{name} holds NaN or infinite values; remove them."]
