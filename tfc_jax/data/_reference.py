"""The two losses a run is measured against: of knowing only the label prior, and of knowing all."""

from typing import Literal

import numpy as np

from tfc_jax.data._dataset import Dataset
from tfc_jax.errors import InputError

Loss = Literal["cross_entropy", "mse"]


def prior_loss(dataset: Dataset, loss: Loss, label_noise: float = 0.0) -> float:
    """Loss of the best constant predictor on the training set, expected over the label noise.

    Cross-entropy: the entropy of the label prior in nats, ln K when balanced. MSE: the variance
    of the targets (one-hot for classes), mean over outputs.

    Args:
      label_noise: probability in [0, 1] that a label is redrawn uniformly over the K classes; it
        moves the prior towards uniform, so it matters only where classes are unbalanced.
    Raises:
      InputError: a cross-entropy or label noise is asked of regression targets.
    Source: SCIENCE section 3.
    """
    _check(dataset, loss, label_noise)
    if not dataset.n_classes:
        return float(dataset.y_train.var(axis=0, dtype=np.float64).mean())
    prior_K = dataset.label_prior_K
    return _constant_loss((1 - label_noise) * prior_K + label_noise / dataset.n_classes, loss)


def bayes_loss(dataset: Dataset, loss: Loss, label_noise: float) -> float:
    """Least training loss any predictor can reach in expectation over the label noise.

    The noise redraws a label uniformly over the K classes with probability `label_noise`, so a
    noisy label is the true one with probability 1 - label_noise (K-1)/K and each other with
    label_noise/K. The best predictor knows the true label and outputs just that. 0 without noise.

    Raises:
      InputError: a cross-entropy or label noise is asked of regression targets.
    Source: SCIENCE section 3; the formula is ours. Assumes that inputs determine the true label.
    """
    _check(dataset, loss, label_noise)
    if not label_noise:
        return 0.0
    noisy_K = np.full(dataset.n_classes, label_noise / dataset.n_classes)
    noisy_K[0] += 1 - label_noise
    return _constant_loss(noisy_K, loss)


def _constant_loss(label_K: np.ndarray, loss: Loss) -> float:
    """Loss of predicting `label_K` for labels drawn from it; no other constant does better."""
    if loss == "mse":
        return float(np.mean(label_K * (1 - label_K)))
    present = label_K[label_K > 0]
    return float(-np.sum(present * np.log(present)))


def _check(dataset: Dataset, loss: Loss, label_noise: float) -> None:
    if dataset.n_classes:
        return
    problems = []
    if loss == "cross_entropy":
        problems.append(
            f"loss: cross_entropy needs class labels, and '{dataset.name}' has regression targets. "
            "Use loss: mse."
        )
    if label_noise:
        problems.append(
            f"label_noise: {label_noise} needs class labels, and '{dataset.name}' has regression "
            "targets. Leave `label_noise` out."
        )
    if problems:
        raise InputError(problems)
