"""Losses and what stands beside them, against NumPy in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from tfc_jax.losses import accuracy, data_loss, prior_entropy

B, K = 50, 7
# A sum of n terms of one sign in float32 is off by less than n roundings.
RTOL = B * K * 2.0**-24


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    return (3 * np.random.default_rng(0).standard_normal((B, K))).astype(np.float32)


@pytest.fixture(scope="module")
def labels() -> Array:
    return jnp.asarray(np.random.default_rng(1).integers(0, K, B), jnp.int32)


def cross_entropy(logits: np.ndarray, labels: Array) -> float:
    z = logits.astype(np.float64)
    return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels]))


def test_cross_entropy_is_the_mean_in_nats(logits: np.ndarray, labels: Array) -> None:
    expected = cross_entropy(logits, labels)
    assert data_loss("cross_entropy", jnp.asarray(logits), labels) == pytest.approx(expected, RTOL)


def test_cross_entropy_of_large_logits_does_not_overflow() -> None:
    logits = jnp.array([[1000.0, 0.0], [0.0, 1000.0]])
    assert data_loss("cross_entropy", logits, jnp.array([0, 0])) == 500


def test_mse_of_classes_is_against_one_hot_targets(logits: np.ndarray, labels: Array) -> None:
    expected = np.mean((logits.astype(np.float64) - np.eye(K)[labels]) ** 2)
    assert data_loss("mse", jnp.asarray(logits), labels) == pytest.approx(expected, RTOL)


def test_mse_of_a_regression_is_the_mean_over_samples_and_outputs(logits: np.ndarray) -> None:
    targets = np.random.default_rng(2).standard_normal((B, K)).astype(np.float32)
    expected = np.mean((logits.astype(np.float64) - targets) ** 2)
    found = data_loss("mse", jnp.asarray(logits), jnp.asarray(targets))
    assert found == pytest.approx(expected, RTOL)


def test_accuracy_is_the_share_of_correct_largest_logits(logits: np.ndarray, labels: Array) -> None:
    expected = np.mean(np.argmax(logits, axis=1) == np.asarray(labels))
    assert 0 < expected < 1
    assert accuracy(jnp.asarray(logits), labels) == np.float32(expected)


@pytest.mark.parametrize("n", [41, 47, 100])
def test_accuracy_is_exactly_one_when_all_are_correct(n: int) -> None:
    labels = jnp.arange(n) % K  # 41 * float32(1/41) is less than 1: compilers divide like that
    assert jax.jit(accuracy)(jax.nn.one_hot(labels, K), labels) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_accuracy_is_nan_when_a_logit_is_not_finite(
    logits: np.ndarray, labels: Array, bad: float
) -> None:
    spoiled = jnp.asarray(logits).at[3, 2].set(bad)
    assert jnp.isnan(accuracy(spoiled, labels))


def test_prior_entropy_of_a_balanced_batch_is_ln_k() -> None:
    labels = jnp.arange(5 * K) % K
    # K shares, each times its logarithm, added: less than 2K roundings.
    assert prior_entropy(labels, K) == pytest.approx(math.log(K), 2 * K * 2.0**-24)


def test_prior_entropy_is_the_best_constant_loss(labels: Array) -> None:
    share = np.bincount(labels, minlength=K) / B
    constant = np.tile(np.log(share), (B, 1))
    expected = cross_entropy(constant, labels)
    assert prior_entropy(labels, K) == pytest.approx(expected, 2 * K * 2.0**-24)


def test_prior_entropy_of_one_class_is_zero() -> None:
    assert prior_entropy(jnp.full(4, 2), K) == 0
