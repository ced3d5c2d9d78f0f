"""What interventions take from one matrix: its common direction, or as much at random."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.interventions import common_direction, random_basis, without, without_random

EPS = float(np.finfo(np.float32).eps)
SHAPES = [(24, 10), (10, 24), (12, 12)]

remove = jax.jit(lambda w: without(w, common_direction(w).inward))
direction = jax.jit(lambda w: common_direction(w).inward)
remove_random = jax.jit(lambda w, seed: without_random(w, jax.random.key(seed)))


def matrix(shape: tuple[int, int], strength: float, seed: int = 0) -> np.ndarray:
    """Gaussian noise of spectral norm about 1, plus a common direction: a rank-one part."""
    rng = np.random.default_rng(seed)
    u, v = (rng.standard_normal(n) for n in shape)
    common = strength * np.outer(u / np.linalg.norm(u), v / np.linalg.norm(v))
    noise = rng.standard_normal(shape) / (np.sqrt(shape[0]) + np.sqrt(shape[1]))
    return (common + noise).astype(np.float32)


def energy(a: Any) -> float:
    return float(np.sum(np.asarray(a, np.float64) ** 2))


@pytest.mark.parametrize("shape", SHAPES)
def test_removing_the_common_direction_is_what_a_singular_value_decomposition_says(
    shape: tuple[int, int],
) -> None:
    w = matrix(shape, 3.0)
    inward, sigma, _ = np.linalg.svd(w.astype(np.float64), full_matrices=False)
    expected = w - np.outer(inward[:, 0], inward[:, 0] @ w.astype(np.float64))
    found = np.asarray(remove(w))
    # Products of sum(shape) terms turn the direction by that many roundings over the gap, on
    # either side of W - v v^T W.
    gap = 1 - (sigma[1] / sigma[0]) ** 2
    assert np.linalg.norm(found - expected) <= 2 * sum(shape) * EPS * sigma[0] / gap
    # The roundings of three sums of squares and of the matrix itself.
    assert abs(energy(w) - energy(found) - sigma[0] ** 2) <= 4 * sum(shape) * EPS * energy(w)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("strength", [0.0, 1.0, 30.0])
def test_nothing_of_the_direction_is_left_whether_or_not_the_iteration_converged(
    shape: tuple[int, int], strength: float
) -> None:
    w = matrix(shape, strength)
    orthogonal = np.linalg.qr(w)[0]  # all singular values are equal: no direction is the top one
    for a in (w, orthogonal.astype(np.float32)):
        left = np.asarray(direction(a), np.float64) @ np.asarray(remove(a), np.float64)
        assert np.linalg.norm(left) <= 4 * (len(a) + 2) * EPS * np.sqrt(energy(a))


def test_a_direction_of_zeros_removes_nothing() -> None:
    w = matrix((10, 4), 1.0)
    assert np.array_equal(without(jnp.asarray(w), jnp.zeros(10)), w)


@pytest.mark.parametrize("strength", [0.0, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_sham_removes_as_much_energy_as_the_common_direction_has(
    shape: tuple[int, int], strength: float
) -> None:
    for seed in range(5):
        w = matrix(shape, strength, seed)
        removed = energy(w) - energy(remove_random(w, seed))
        common = energy(np.asarray(direction(w), np.float64) @ w)
        # Roundings of a basis of min(shape) columns, of projections and of the sums of squares.
        assert abs(removed - common) <= 8 * min(shape) * EPS * energy(w)
        assert common > 0.1 * energy(w) / min(shape)


def test_a_sham_favours_no_direction() -> None:
    """Of an orthogonal matrix it removes one random direction: 1/n of any fixed one, on average."""
    n, n_seeds = 16, 400
    w = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (n, n)))[0]
    keys = jax.vmap(jax.random.key)(jnp.arange(n_seeds))
    after = np.asarray(jax.jit(jax.vmap(lambda key: without_random(w, key)))(keys), np.float64)
    removed = np.sum((np.asarray(w) - after) * np.asarray(w), axis=2)  # of each input: (seeds, n)
    # The squared cosine of two random directions: variance 2 (n-1) / (n^2 (n+2)).
    sd = np.sqrt(2 * (n - 1) / (n + 2)) / n
    assert np.abs(removed.mean(axis=0) - 1 / n).max() < 4 * sd / np.sqrt(n_seeds)
    assert removed.std() == pytest.approx(sd, rel=0.1)  # 6400 squares: 4 sd of it are some 10 %


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sham_removes_one_direction_after_another(shape: tuple[int, int]) -> None:
    """A twin in float64, which reads the same basis and takes its columns in a loop."""
    w = matrix(shape, 2.0)
    rows = w if w.shape[0] <= w.shape[1] else w.T
    key = jax.random.key(0)
    basis = np.asarray(random_basis(min(shape), key, jnp.dtype("float32")), np.float64)
    assert np.allclose(basis.T @ basis, np.eye(min(shape)), atol=8 * min(shape) * EPS)
    left, slack = energy(np.asarray(direction(w), np.float64) @ w), min(shape) * EPS * energy(w)
    twin, tolerance = rows.astype(np.float64), 0.0
    for column in basis.T:
        part = column @ twin
        share = min(left / energy(part), 1.0)
        kept = np.sqrt(1 - share)
        twin = twin - np.outer(column, (1 - kept) * part)
        left -= share * energy(part)
        # As slack is the error of the energy that is left, this is that of the last factor.
        tolerance += 0 if share == 1 else slack / (2 * kept * np.sqrt(energy(part)))
        if left <= slack:
            break
    found = np.asarray(remove_random(w, 0), np.float64)
    found = found if w.shape[0] <= w.shape[1] else found.T
    tolerance += 8 * min(shape) * EPS * np.sqrt(energy(w))
    assert tolerance < 0.01 * np.linalg.norm(rows - twin)
    assert np.linalg.norm(found - twin) <= tolerance


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("power", [-80, 80])
def test_removals_scale_with_the_weights_where_squares_leave_float32(
    shape: tuple[int, int], power: int
) -> None:
    w, scale = matrix(shape, 1.0), np.float32(2.0**power)
    for change in (remove, lambda a: remove_random(a, 3)):
        # A power of two commutes with roundings.
        assert np.array_equal(change(scale * w), scale * np.asarray(change(w)))


def test_other_seeds_have_other_shams() -> None:
    w = matrix((12, 12), 1.0)
    first, again, other = (np.asarray(remove_random(w, seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert np.linalg.norm(first - other) > 0.1 * np.linalg.norm(w)


@pytest.mark.parametrize("change", [remove, lambda w: remove_random(w, 0)])
@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
def test_a_matrix_of_rank_one_loses_everything(change: Callable, shape: tuple[int, int]) -> None:
    w = matrix(shape, 1.0)
    # Energies cancel to so many roundings; the root of what is left comes through a sham.
    assert np.linalg.norm(change(w)) <= np.sqrt(8 * max(shape) * EPS * energy(w))


@pytest.mark.parametrize("change", [remove, lambda w: remove_random(w, 0)])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_matrix_of_zeros_stays(change: Callable, shape: tuple[int, int]) -> None:
    assert not np.any(change(np.zeros(shape, np.float32)))
