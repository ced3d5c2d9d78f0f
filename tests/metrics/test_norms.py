"""Norms against NumPy in float64, far from where float32 squares overflow or vanish."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.metrics import norms
from tfc_jax.metrics._rows import total_norm
from tfc_jax.snapshot import Snapshot

Make = Callable[..., Snapshot]
RTOL = 1e-6  # roots of sums of n squares, added in trees: about log2(n) roundings of 2^-24
LAYERS = 3
compute: Callable[[Snapshot], dict[str, Any]] = norms.compute


def frobenius(tensors: Sequence[jnp.ndarray | None]) -> np.ndarray:
    return np.array([np.linalg.norm(np.asarray(x, np.float64)) for x in tensors if x is not None])


@pytest.fixture
def snapshot(make_snapshot: Make) -> Snapshot:
    return make_snapshot()


@pytest.mark.parametrize("width", [6, 80, 130])  # summed together; alone; rescaled alone
def test_norms_match_numpy(make_snapshot: Make, width: int) -> None:
    snapshot = make_snapshot(widths=(width, width, width, 3))
    found, root_batch = jax.jit(compute)(snapshot), np.sqrt(24)
    weight = frobenius(snapshot.weights)
    expected = {
        "feature_norm": frobenius(snapshot.features) / root_batch,
        "delta_norm": frobenius(snapshot.deltas) * root_batch,
        "weight_norm": weight,
        "grad_norm": frobenius(snapshot.weight_grads),
        "update_ratio": frobenius(snapshot.updates) / weight,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=RTOL)


def test_feature_norm_is_the_root_mean_square_of_row_norms(make_snapshot: Make) -> None:
    rows = jnp.array([[3.0, 4.0], [0.0, 0.0], [0.0, 12.0], [0.0, 0.0]])
    snapshot = make_snapshot(batch=4, widths=(2,), features=(rows,))
    # sqrt((5^2 + 12^2) / 4)
    np.testing.assert_allclose(compute(snapshot)["feature_norm"], [6.5], rtol=RTOL)


@pytest.mark.parametrize("scale", [1e-35, 1e-20, 1e18, 1e35])
@pytest.mark.parametrize(
    ("field", "column"),
    [
        ("features", "feature_norm"),
        ("deltas", "delta_norm"),
        ("weights", "weight_norm"),
        ("weight_grads", "grad_norm"),
        ("updates", "update_ratio"),
    ],
)
def test_squares_neither_vanish_nor_overflow(
    snapshot: Snapshot, field: str, column: str, scale: float
) -> None:
    tensors = getattr(snapshot, field)
    change: dict[str, Any] = {field: tuple(scale * x for x in tensors)}
    scaled = replace(snapshot, **change)
    before, after = compute(snapshot)[column], jax.jit(compute)(scaled)[column]
    np.testing.assert_allclose(after / np.float32(scale), before, rtol=RTOL)


def test_one_tiny_tensor_among_others_keeps_its_digits(snapshot: Snapshot) -> None:
    first, *rest = snapshot.weight_grads
    scaled = replace(snapshot, weight_grads=(1e-25 * first, *rest))
    before, after = compute(snapshot)["grad_norm"], compute(scaled)["grad_norm"]
    np.testing.assert_allclose(after, before * np.array([1e-25, 1, 1]), rtol=RTOL)


@pytest.mark.parametrize("scale", [1e-35, 1e35])
def test_a_large_tensor_is_rescaled_alone(make_snapshot: Make, scale: float) -> None:
    snapshot = make_snapshot(batch=4, widths=(130, 130, 3))
    first, second, last = snapshot.weight_grads
    scaled = replace(snapshot, weight_grads=(first, scale * second, last))
    found = jax.jit(norms.compute)(scaled)["grad_norm"] / np.array([1, scale, 1], np.float32)
    np.testing.assert_allclose(found, frobenius(snapshot.weight_grads), rtol=RTOL)


def test_zero_gradients_and_updates_have_norm_0(snapshot: Snapshot) -> None:
    nothing = tuple(jnp.zeros_like(x) for x in snapshot.weights)
    found = compute(replace(snapshot, weight_grads=nothing, updates=nothing))
    np.testing.assert_array_equal(found["grad_norm"], np.zeros(LAYERS))
    np.testing.assert_array_equal(found["update_ratio"], np.zeros(LAYERS))


def test_euler_gap_compares_two_inner_products(snapshot: Snapshot) -> None:
    weight, grad = frobenius(snapshot.weights), frobenius(snapshot.weight_grads)
    pairs = zip(snapshot.weights, snapshot.weight_grads, strict=True)
    inner = np.array([np.sum(np.asarray(w, np.float64) * np.asarray(g)) for w, g in pairs])
    expected = np.abs(inner - 0.25) / (weight * grad)
    # The inner product's roundings are relative to |W| |g|, which divides it.
    np.testing.assert_allclose(compute(snapshot)["euler_gap"], expected, atol=RTOL)


def test_euler_gap_survives_tiny_gradients(snapshot: Snapshot) -> None:
    tiny = replace(
        snapshot,
        weight_grads=tuple(1e-25 * g for g in snapshot.weight_grads),
        logit_dot_grad=1e-25 * snapshot.logit_dot_grad,
    )
    before, after = compute(snapshot)["euler_gap"], compute(tiny)["euler_gap"]
    np.testing.assert_allclose(after, before, atol=RTOL)


def test_euler_gap_is_absent_where_the_identity_fails(make_snapshot: Make) -> None:
    found = compute(make_snapshot(euler=False))
    assert "euler_gap" not in found
    assert set(found) < {column.name for column in norms.COLUMNS}


def test_the_total_gradient_norm_passes_through(snapshot: Snapshot) -> None:
    assert compute(snapshot)["grad_norm_total"] == snapshot.grad_norm_total


def test_the_norm_of_all_gradients_survives_where_their_squares_would_not() -> None:
    tiny = (jnp.full((3, 4), 1e-25), jnp.full((2, 2), 2e-25), jnp.zeros((2, 3)))
    exact = 1e-25 * np.sqrt(12 + 4 * 4)
    assert float(total_norm(tiny)) == pytest.approx(exact, rel=1e-6)  # a few float32 roundings
    assert np.isnan(total_norm((jnp.array([[1.0]]), jnp.array([[jnp.nan]]))))
