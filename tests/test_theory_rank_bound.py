"""The loss that low epsilon-rank enforces: closed forms, trials, and where it says nothing."""

import numpy as np
import pytest

from tfc_jax.theory import rank_loss_bound

X = np.linspace(-1, 1, 200, endpoint=False) + 1 / 200  # the middles of 200 cells
WAVES = np.sqrt(2) * np.column_stack([np.sin(np.pi * k * X) for k in (1, 4, 9)])  # orthonormal
AMPLITUDES = np.array([1.0, 0.5, 0.25])
TARGET = WAVES @ AMPLITUDES[:, None]


def test_what_features_of_low_rank_cannot_see_is_lost() -> None:
    for seen in range(4):
        bound = rank_loss_bound(WAVES[:, :seen], TARGET, np.zeros((seen, 1)), 0.1)
        expected = np.sqrt(np.sum(AMPLITUDES[seen:] ** 2))
        assert bound == pytest.approx(expected, abs=1e-13)  # rounding of sums of 200 terms


def test_a_constant_costs_nothing() -> None:
    bound = rank_loss_bound(WAVES[:, :1], 3 + TARGET, np.zeros((1, 1)), 0.1)
    assert bound == pytest.approx(np.hypot(0.5, 0.25), abs=1e-13)


def test_features_that_are_constant_count_once() -> None:
    constant = np.column_stack([np.ones(len(X)), 2 * np.ones(len(X))])
    bound = rank_loss_bound(constant, 3 + TARGET, np.zeros((2, 1)), 0.1)
    assert bound == pytest.approx(np.linalg.norm(AMPLITUDES), abs=1e-13)


def test_weak_features_help_as_far_as_the_readout_is_large() -> None:
    """Features .1 sin 4 pi x, ...: eigenvalue .01; the readout that makes the most of them."""
    strength, epsilon = 0.1, 0.0100001
    features = WAVES[:, 1:2] * strength
    for readout in (0.0, 2.0, 5.0):
        bound = rank_loss_bound(features, WAVES[:, 1:2] / 2, np.array([[readout]]), epsilon)
        exact = abs(0.5 - strength * readout)  # sqrt(MSE): the bound is tight here
        assert bound == pytest.approx(exact, abs=1e-5)  # sqrt(epsilon) is .1 to 5e-7, times 5


@pytest.mark.parametrize("epsilon", [1e-6, 1e-3, 1e-1])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_no_network_gets_below_the_bound(epsilon: float, n_outputs: int) -> None:
    rng, bounds = np.random.default_rng(0), []
    for width in (1, 2, 3, 5, 8) * 20:
        scale = 10.0 ** rng.uniform(-3, 1)
        features = scale * np.tanh(np.outer(X, rng.normal(0, 4, width)) + rng.normal(0, 1, width))
        target = rng.standard_normal((len(X), n_outputs)) * 0.1 + TARGET
        columns = np.column_stack([features, np.ones(len(X))])
        # The best readout, least squares, and a shrunken one.
        best = np.linalg.lstsq(columns, target, rcond=None)[0] * rng.choice([1.0, 0.3])
        loss = np.sqrt(np.mean((columns @ best - target) ** 2))
        bounds.append(rank_loss_bound(features, target, best[:-1], epsilon))
        assert loss >= bounds[-1] - 1e-12  # rounding
    assert max(bounds) > 0.3  # it is not always vacuous


def test_a_bound_of_a_large_readout_is_vacuous() -> None:
    assert rank_loss_bound(WAVES, TARGET, np.full((3, 1), 100.0), 0.1) < 0
