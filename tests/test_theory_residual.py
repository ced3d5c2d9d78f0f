"""Residual blocks: the recursions against blocks drawn at random, in NumPy."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from tfc_jax.theory import (
    cosines_by_depth,
    relu_cosine,
    residual_cosine,
    residual_growth,
    residual_simple_by_depth,
    residual_simple_step,
)

N, R, DEPTH = 128, 128, 8
Block = Callable[[np.ndarray, np.random.Generator, float], np.ndarray]


def with_v(x_BxN: np.ndarray, rng: np.random.Generator, alpha: float) -> np.ndarray:
    n = x_BxN.shape[1]
    v = rng.standard_normal((n, n)) / np.sqrt(n)
    return x_BxN + alpha * he(x_BxN, rng) @ v


def simple(x_BxN: np.ndarray, rng: np.random.Generator, alpha: float) -> np.ndarray:
    return x_BxN + alpha * he(x_BxN, rng)


def he(x_BxN: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    n = x_BxN.shape[1]
    return np.maximum(x_BxN @ rng.standard_normal((n, n)) * np.sqrt(2 / n), 0)


def two_inputs(cosine: float, offset: float) -> np.ndarray:
    """Rows whose inner products over N are 1, 4 and 2 cosine, with mean coordinates offset."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(np.column_stack([np.ones(N), rng.standard_normal((N, 2))]))
    ones, a, b = np.sqrt(N) * np.sign(basis[0, 0]) * basis.T
    inner = (cosine - offset**2) / (1 - offset**2)
    rest = np.sqrt(1 - offset**2)
    one = offset * ones + rest * a
    other = offset * ones + rest * (inner * a + np.sqrt(1 - inner**2) * b)
    return np.stack([one, 2 * other])


@cache
def simulated(block: Block, alpha: float, offset: float) -> np.ndarray:
    """Gram matrices over N after 1..DEPTH blocks of R networks: (R, DEPTH, 2, 2)."""
    rng = np.random.default_rng(1)
    found = np.empty((R, DEPTH, 2, 2))
    for run in range(R):
        x = two_inputs(0.5, offset)
        for depth in range(DEPTH):
            x = block(x, rng, alpha)
            found[run, depth] = x @ x.T / N
    return found


def cosine_of(gram: np.ndarray) -> np.ndarray:
    return gram[..., 0, 1] / np.sqrt(gram[..., 0, 0] * gram[..., 1, 1])


def assert_mean(found_R: np.ndarray, expected: np.ndarray, blocks: float | np.ndarray = 1) -> None:
    """Within 4 standard errors, by the spread seen, and 0.4/n a block that finite width shifts."""
    error = found_R.std(axis=0, ddof=1) / np.sqrt(len(found_R))
    assert np.all(np.abs(found_R.mean(axis=0) - expected) < 4 * error + 0.4 * blocks / N)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_a_residual_network_with_v_follows_its_maps(alpha: float) -> None:
    gram = simulated(with_v, alpha, 0.0)
    cosines = cosines_by_depth(lambda r: residual_cosine(r, alpha), 0.5, DEPTH)[1:]
    assert_mean(cosine_of(gram), cosines)
    growth = residual_growth(alpha) ** np.arange(1, DEPTH + 1)
    assert_mean(gram[..., 0, 0] / growth, np.ones(DEPTH))


@pytest.mark.parametrize("alpha", [0.3, 1.0])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_a_simple_residual_network_follows_its_recursion(alpha: float, offset: float) -> None:
    found = simulated(simple, alpha, offset)
    start = two_inputs(0.5, offset)
    grams, means = residual_simple_by_depth(start @ start.T / N, start.mean(axis=1), alpha, DEPTH)
    assert means[0] == pytest.approx([offset, 2 * offset], abs=1e-14)
    assert_mean(cosine_of(found), cosine_of(grams[1:]))
    for i, j in ((0, 0), (0, 1), (1, 1)):
        scale = grams[1:, i, j]
        # A block's mean is not linear in what it starts from, so that shifts of norms add up.
        assert_mean(found[..., i, j] / scale, np.ones(DEPTH), np.arange(1, DEPTH + 1))


def test_one_simple_block_is_exact_on_average_at_small_width() -> None:
    """Width 4: the recursion is a mean over W given x, not a limit."""
    rng = np.random.default_rng(0)
    x, alpha, n_runs = np.array([[1.0, -0.5, 2.0, 0.3], [0.2, 0.9, 1.0, -1.0]]), 0.7, 200_000
    w = rng.standard_normal((n_runs, 4, 4)) * np.sqrt(2 / 4)
    after = x + alpha * np.maximum(x @ w, 0)
    gram_R = after @ after.transpose(0, 2, 1) / 4
    gram, mean = residual_simple_step(x @ x.T / 4, x.mean(axis=1), alpha)
    for found_R, expected in ((gram_R, gram), (after.mean(axis=2), mean)):
        error = found_R.std(axis=0) / np.sqrt(n_runs)
        assert np.all(np.abs(found_R.mean(axis=0) - expected) < 4 * error)


def test_without_v_cosines_of_features_rise_faster_than_in_a_plain_network() -> None:
    first = relu_cosine([[1, 0.5], [0.5, 1]])  # after a first ReLU layer, with its mean coordinate
    grams, _ = residual_simple_by_depth(first, np.full(2, 1 / np.sqrt(np.pi)), 1.0, 16)
    plain = cosines_by_depth(relu_cosine, first[0, 1], 16)
    with_both = cosines_by_depth(lambda r: residual_cosine(r, 1.0), first[0, 1], 16)
    assert np.all(cosine_of(grams)[1:] > plain[1:] + 0.04)
    assert np.all(plain[1:] > with_both[1:] + 0.03)


def test_an_empty_branch_changes_nothing() -> None:
    gram, mean = np.array([[1.0, 0.3], [0.3, 2.0]]), np.array([0.1, -0.2])
    after_gram, after_mean = residual_simple_step(gram, mean, 0.0)
    np.testing.assert_array_equal(after_gram, gram)
    np.testing.assert_array_equal(after_mean, mean)
    assert residual_cosine(0.3, 0.0) == 0.3
    assert residual_growth(0.0) == 1


def test_a_branch_that_dwarfs_its_input_is_a_plain_layer() -> None:
    # alpha^-2 and alpha^-1 remain of the input and of what it shares with the branch.
    assert residual_cosine(0.3, 1e6) == pytest.approx(float(relu_cosine(0.3)), abs=1e-11)
    gram, _ = residual_simple_step(np.array([[1.0, 0.3], [0.3, 1.0]]), np.zeros(2), 1e6)
    assert cosine_of(gram) == pytest.approx(float(relu_cosine(0.3)), abs=1e-5)
