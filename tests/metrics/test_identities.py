"""Exact mathematics of one training step of a network written out in plain JAX."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from tfc_jax.metrics import gradients, norms, similarity
from tfc_jax.snapshot import Snapshot

B, K = 40, 5
SIZES = (8, 16, 16, 16, K)
Weights = tuple[Array, ...]
measure_norms: Callable[[Snapshot], dict[str, Any]] = norms.compute


def random_weights(dtype: type, zero_logits: bool = False) -> Weights:
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((a, b)) * np.sqrt(2 / a) for a, b in pairwise(SIZES)]
    if zero_logits:
        weights[-1] *= 0
    return tuple(jnp.asarray(weight, dtype) for weight in weights)


def loss(logits_BxK: Array, labels_B: Array) -> Array:
    log_p_BxK = jax.nn.log_softmax(logits_BxK)
    return -jnp.mean(jnp.take_along_axis(log_p_BxK, labels_B[:, None], axis=1))


def snapshot_of(weights: Weights, labels_B: Array) -> Snapshot:
    """One bias-free ReLU pass: every gradient from adding zeros where it is wanted."""
    x_BxD = jnp.asarray(np.random.default_rng(1).random((B, SIZES[0])), weights[0].dtype)
    zeros = tuple(jnp.zeros((B, width), x_BxD.dtype) for width in SIZES[1:])

    def forward(weights: Weights, linear: Weights, after: Weights) -> tuple[Array, Weights]:
        h, features = x_BxD, []
        for layer, weight in enumerate(weights):
            h = jnp.matmul(h, weight, precision="highest") + linear[layer]
            if layer < len(weights) - 1:
                h = jax.nn.relu(h)
            h = h + after[layer]
            features.append(h)
        return loss(h, labels_B), tuple(features)

    grad = jax.value_and_grad(forward, argnums=(0, 1, 2), has_aux=True)
    (_, features), (weight_grads, deltas, feature_grads) = grad(weights, zeros, zeros)
    return Snapshot(
        step=jnp.int32(0),
        inputs=x_BxD,
        features=features,
        feature_grads=feature_grads,
        deltas=deltas,
        weights=weights,
        weight_grads=weight_grads,
        updates=tuple(-0.01 * g for g in weight_grads),
        labels=labels_B,
        logit_dot_grad=jnp.sum(features[-1] * feature_grads[-1]),
        grad_norm_total=jnp.sqrt(sum(jnp.sum(g**2) for g in weight_grads)),
        n_classes=K,
        euler=True,
        dense=tuple(range(1, len(weights) + 1)),
    )


@pytest.fixture
def labels() -> Array:
    return jnp.asarray(np.random.default_rng(2).integers(0, K, B), jnp.int32)


def test_eulers_identity_holds_in_float64(labels: Array) -> None:
    with jax.enable_x64(True):
        found = jax.jit(measure_norms)(snapshot_of(random_weights(np.float64), labels))
        gap = np.asarray(found["euler_gap"])
    assert gap.dtype == np.float64
    assert gap.max() <= 1e-12


def test_eulers_identity_holds_in_float32(labels: Array) -> None:
    gap = measure_norms(snapshot_of(random_weights(np.float32), labels))["euler_gap"]
    assert gap.max() <= 1e-5


def test_euler_gap_sees_a_wrong_gradient(labels: Array) -> None:
    snapshot = snapshot_of(random_weights(np.float32), labels)
    gap = measure_norms(snapshot)["euler_gap"]
    wrong = replace(snapshot, weight_grads=tuple(1.1 * g for g in snapshot.weight_grads))
    assert (measure_norms(wrong)["euler_gap"] > 100 * gap).all()


def test_logit_gradients_at_zero_logits_form_a_simplex(labels: Array) -> None:
    found = gradients.compute(snapshot_of(random_weights(np.float32, zero_logits=True), labels))
    # Cosines of K-vectors in float32: a few roundings over K, times the pairs' B^2/(B^2/K).
    assert found["grad_cos_within"][-1] == pytest.approx(1, abs=1e-5)
    assert found["grad_cos_between"][-1] == pytest.approx(-1 / (K - 1), abs=1e-5)


def test_the_last_hidden_layer_inherits_the_within_cosine(labels: Array) -> None:
    weights = random_weights(np.float32)
    snapshot = snapshot_of((*weights[:-1], 1e-6 * weights[-1]), labels)  # logits near 0, p uniform
    assert gradients.compute(snapshot)["grad_cos_within"][-2] == pytest.approx(1, abs=1e-5)


def test_gradient_norms_multiply_through_the_rank_one_gradients(labels: Array) -> None:
    """W_l's gradient is mean_i outer(h_{l-1,i}, delta_{l,i}), so its norm has this upper bound."""
    snapshot = snapshot_of(random_weights(np.float32), labels)
    found = measure_norms(snapshot)
    inputs = np.sqrt(np.mean(np.sum(np.asarray(snapshot.inputs) ** 2, axis=1)))
    below = np.array([inputs, *found["feature_norm"][:-1]])
    assert (found["grad_norm"] <= below * found["delta_norm"]).all()
    total = np.linalg.norm(found["grad_norm"])
    assert found["grad_norm_total"] == pytest.approx(total, rel=1e-6)


def test_feature_cosines_do_not_depend_on_the_scale_of_initial_weights(labels: Array) -> None:
    weights = random_weights(np.float32)
    plain = similarity.compute(snapshot_of(weights, labels))
    scaled = similarity.compute(snapshot_of(tuple(0.3 * w for w in weights), labels))
    for name, column in plain.items():
        np.testing.assert_allclose(scaled[name], column, atol=2e-5)  # roundings of 0.3 w, 4 layers
