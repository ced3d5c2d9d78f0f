"""The matrix of class cosines against a double loop over pairs."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.probes import classes

Look = Callable[..., dict[str, np.ndarray]]
N, H, K = 36, 11, 4
# |S_c|^2 counts the n_c^2 pairs of a class; sqrt(n_c) roundings of it at random signs, a few each.
ATOL = 8 * N**0.5 * 2.0**-24


def measure(look: Look, labels: np.ndarray, *layers: np.ndarray) -> np.ndarray:
    """One matrix per layer."""
    features = tuple(jnp.asarray(rows, jnp.float32) for rows in layers)
    arrays = {"features": features, "train_targets": jnp.asarray(labels, jnp.int32)}
    return look(classes, arrays, n_classes=K)["class_cos"]


def twin(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    x = rows.astype(np.float64)
    alive = [i for i in range(len(x)) if x[i].any()]
    matrix = np.full((K, K), np.nan)
    for a in range(K):
        for b in range(K):
            cosines = [
                x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j])
                for i in alive
                for j in alive
                if i != j and labels[i] == a and labels[j] == b
            ]
            if cosines:
                matrix[a, b] = np.mean(cosines)
    return matrix


@pytest.fixture
def rows() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((N, H)) + rng.standard_normal(H)).astype(np.float32)


@pytest.mark.parametrize("kind", ["all", "dead rows", "a class missing", "a class of one"])
@pytest.mark.parametrize("scale", [1.0, 1e-25])
def test_cosines_match_a_double_loop_over_pairs(
    look: Look, rows: np.ndarray, kind: str, scale: float
) -> None:
    labels = np.random.default_rng(1).integers(0, K, N)
    if kind == "dead rows":
        rows[:5] = 0
    if kind == "a class missing":
        labels[labels == 2] = 1
    if kind == "a class of one":
        labels[labels == 3] = 0
        labels[7] = 3
    found, expected = measure(look, labels, scale * rows)[0], twin(rows, labels)
    assert np.isnan(expected).any() == kind.startswith("a class")
    np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)


def test_one_direction_per_class_gives_its_cosines(look: Look) -> None:
    simplex = np.eye(K) - 1 / K
    found = measure(look, np.arange(N) % K, simplex[np.arange(N) % K])[0]
    expected = np.where(np.eye(K) == 1, 1, -1 / (K - 1))
    np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)


def test_order_lengths_and_rotations_do_not_matter(look: Look, rows: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    labels, order = rng.integers(0, K, N), rng.permutation(N)
    rotation = np.linalg.qr(rng.standard_normal((H, H)))[0]
    moved = (rows * 10 ** rng.uniform(-15, 15, (N, 1)) @ rotation)[order]
    before, after = measure(look, labels, rows)[0], measure(look, labels[order], moved)[0]
    np.testing.assert_allclose(after, before, rtol=0, atol=ATOL)
    np.testing.assert_allclose(before, before.T, rtol=0, atol=ATOL)


def test_large_probes_keep_six_digits(look: Look) -> None:
    n = 4096
    rng = np.random.default_rng(3)
    rows = np.maximum(rng.standard_normal((n, 16)) + 0.5, 0).astype(np.float32)
    labels = rng.integers(0, K, n)
    unit = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1)[:, None]
    sums = np.stack([unit[labels == c].sum(axis=0) for c in range(K)])
    count = np.bincount(labels)
    expected = (sums @ sums.T - np.diag(count)) / (np.outer(count, count) - np.diag(count))
    np.testing.assert_allclose(measure(look, labels, rows)[0], expected, atol=1e-6)  # documented


def test_dead_layers_give_nan(look: Look) -> None:
    assert np.isnan(measure(look, np.arange(N) % K, np.zeros((N, H)))).all()


def test_a_diverged_sample_gives_nan_in_its_layer_only(look: Look, rows: np.ndarray) -> None:
    bad = rows.copy()
    bad[0, 0] = np.nan
    found = measure(look, np.arange(N) % K, bad, rows)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


def test_a_regression_has_no_classes(look: Look) -> None:
    assert look(classes, {}, regression=True) == {}
