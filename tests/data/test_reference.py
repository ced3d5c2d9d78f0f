"""Prior loss and Bayes loss against closed forms, brute force and simulation."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from tfc_jax.data import Dataset, Loss, bayes_loss, prior_loss
from tfc_jax.errors import InputError

Make = Callable[..., Dataset]


def with_labels(make_dataset: Make, labels: list[int]) -> Dataset:
    y = np.asarray(labels, np.int32)
    return make_dataset(x_train=np.zeros((len(y), 2, 2, 1), np.uint8), y_train=y)


def one_hot(labels: np.ndarray | int, k: int) -> np.ndarray:
    return np.eye(k)[labels]


def cross_entropy(probability_K: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -np.log(probability_K)[labels]


def squared_error(output_K: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.square(one_hot(labels, len(output_K)) - output_K).mean(axis=1)


PER_SAMPLE = {"cross_entropy": cross_entropy, "mse": squared_error}


def test_balanced_classes_have_prior_loss_ln_k(make_dataset: Make) -> None:
    assert prior_loss(make_dataset(), "cross_entropy") == pytest.approx(math.log(4), rel=1e-15)


def test_unbalanced_classes_have_the_entropy_of_their_shares(make_dataset: Make) -> None:
    dataset = with_labels(make_dataset, [0, 0, 1, 2])
    # Shares 1/2, 1/4, 1/4 and an absent class: 1.5 bits.
    assert prior_loss(dataset, "cross_entropy") == pytest.approx(1.5 * math.log(2), rel=1e-15)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_no_constant_prediction_beats_the_prior_loss_and_one_reaches_it(
    make_dataset: Make, loss: Loss
) -> None:
    dataset = with_labels(make_dataset, [0, 0, 0, 1, 2, 3, 3, 0])
    candidates = np.random.default_rng(1).dirichlet(np.ones(4), 2000)
    losses = [PER_SAMPLE[loss](c, dataset.y_train).mean() for c in candidates]
    best = PER_SAMPLE[loss](dataset.label_prior_K, dataset.y_train).mean()
    assert prior_loss(dataset, loss) < min(losses)
    assert prior_loss(dataset, loss) == pytest.approx(best, rel=1e-14)


def test_mse_prior_of_regression_is_the_least_over_a_grid_of_constants(
    make_regression: Make,
) -> None:
    dataset = make_regression()
    grid = np.linspace(-3, 3, 6001)
    per_output = [np.square(y[:, None] - grid).mean(axis=0).min() for y in dataset.y_train.T]
    # A grid of spacing h misses the minimum of a parabola of curvature 2 by at most (h/2)^2.
    excess = np.mean(per_output) - prior_loss(dataset, "mse")
    assert 0 <= excess <= 0.0005**2 + 1e-12


def test_label_noise_moves_the_prior_towards_uniform(make_dataset: Make) -> None:
    dataset = with_labels(make_dataset, [0, 0, 0, 1])
    assert prior_loss(dataset, "cross_entropy", 1.0) == pytest.approx(math.log(4), rel=1e-15)
    shares = 0.8 * np.array([0.75, 0.25, 0, 0]) + 0.2 / 4
    expected = -np.sum(shares * np.log(shares))
    assert prior_loss(dataset, "cross_entropy", 0.2) == pytest.approx(expected, rel=1e-14)


def test_bayes_loss_without_noise_is_zero(make_dataset: Make, make_regression: Make) -> None:
    assert bayes_loss(make_dataset(), "cross_entropy", 0.0) == 0
    assert bayes_loss(make_dataset(), "mse", 0.0) == 0
    assert bayes_loss(make_regression(), "mse", 0.0) == 0


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_bayes_loss_of_pure_noise_is_the_prior_loss_of_balanced_classes(
    make_dataset: Make, loss: Loss
) -> None:
    dataset = make_dataset()
    assert bayes_loss(dataset, loss, 1.0) == pytest.approx(prior_loss(dataset, loss), rel=1e-14)


def test_bayes_loss_of_two_classes_is_the_entropy_of_a_coin(make_dataset: Make) -> None:
    y_train, y_test = np.arange(12, dtype=np.int32) % 2, np.arange(8, dtype=np.int32) % 2
    dataset = make_dataset(y_train=y_train, y_test=y_test, class_names=("a", "b"))
    flipped = 0.3 / 2
    entropy = -flipped * math.log(flipped) - (1 - flipped) * math.log(1 - flipped)
    assert bayes_loss(dataset, "cross_entropy", 0.3) == pytest.approx(entropy, rel=1e-14)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("label_noise", [0.1, 0.5, 0.9])
def test_bayes_loss_is_what_the_best_predictor_gets_on_simulated_noise(
    make_dataset: Make, loss: Loss, label_noise: float
) -> None:
    rng, n = np.random.default_rng(2), 200_000
    dataset = make_dataset()
    redrawn = rng.random(n) < label_noise
    noisy = np.where(redrawn, rng.integers(0, 4, n), 0)  # the true label is 0
    predictor = np.full(4, label_noise / 4) + one_hot(0, 4) * (1 - label_noise)
    losses = PER_SAMPLE[loss](predictor, noisy)
    standard_error = losses.std() / math.sqrt(n)
    assert bayes_loss(dataset, loss, label_noise) == pytest.approx(
        losses.mean(), abs=5 * standard_error
    )


def test_a_cross_entropy_and_noise_of_regression_targets_are_refused_together(
    make_regression: Make,
) -> None:
    with pytest.raises(InputError) as caught:
        bayes_loss(make_regression(), "cross_entropy", 0.1)
    assert len(caught.value.messages) == 2
    with pytest.raises(InputError, match="cross_entropy needs class labels"):
        prior_loss(make_regression(), "cross_entropy")
