"""Cosines of feature gradients against float64 twins over all pairs, and their invariances."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.metrics import gradients
from tfc_jax.snapshot import Snapshot

Make = Callable[..., Snapshot]
Twin = Callable[[np.ndarray, np.ndarray], Any]
B, H, K = 50, 21, 5
COLUMNS = ("grad_cos", "grad_cos_within", "grad_cos_between")
# As in test_similarity.py: sqrt(B) roundings of B^2 pairs, spread over the B^2/K within a class.
ATOL = 4 * B**0.5 * 2.0**-24 * K


def measure(make: Make, rows: np.ndarray, labels: np.ndarray) -> list[float]:
    snapshot = make(
        feature_grads=(jnp.asarray(rows, jnp.float32),),
        labels=jnp.asarray(labels, jnp.int32),
        n_classes=K,
    )
    found = jax.jit(gradients.compute)(snapshot)
    return [float(found[name][0]) for name in COLUMNS]


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, K, B)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((B, H)).astype(np.float32)


@pytest.mark.parametrize("scale", [1.0, 1e-25])
def test_cosines_match_a_double_loop_over_pairs(
    make_snapshot: Make, pairs: Twin, rows: np.ndarray, labels: np.ndarray, scale: float
) -> None:
    rows = rows.copy()
    rows[[3, 4]] = 0  # a sample whose loss does not depend on the feature
    twin = pairs(rows, labels)
    expected = [twin.everywhere, twin.within, twin.between]
    assert measure(make_snapshot, scale * rows, labels) == pytest.approx(expected, abs=ATOL)


def test_one_direction_per_class_gives_its_cosines(make_snapshot: Make, labels: np.ndarray) -> None:
    simplex = np.eye(K) - 1 / K
    _, within, between = measure(make_snapshot, simplex[labels], labels)
    assert within == pytest.approx(1, abs=ATOL)
    assert between == pytest.approx(-1 / (K - 1), abs=ATOL)


def test_order_rotation_and_lengths_do_not_matter(
    make_snapshot: Make, rows: np.ndarray, labels: np.ndarray
) -> None:
    rng = np.random.default_rng(3)
    order = rng.permutation(B)
    rotation = np.linalg.qr(rng.standard_normal((H, H)))[0]
    moved = (rows * 10 ** rng.uniform(-20, 20, (B, 1)) @ rotation)[order]
    before = measure(make_snapshot, rows, labels)
    assert measure(make_snapshot, moved, labels[order]) == pytest.approx(before, abs=ATOL)


def test_without_gradients_there_are_no_cosines(make_snapshot: Make, labels: np.ndarray) -> None:
    assert np.isnan(measure(make_snapshot, np.zeros((B, H)), labels)).all()


def test_regression_has_no_classes_to_compare(make_snapshot: Make) -> None:
    labels = jnp.zeros(24, jnp.int32)
    assert set(gradients.compute(make_snapshot(labels=labels, n_classes=1))) == {"grad_cos"}
