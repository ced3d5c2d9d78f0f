"""Deep linear scalar chains: given numbers, limits, and gradient descent that is simulated."""

import numpy as np
import pytest

from tfc_jax.theory import chain_steps, chain_time, chain_time_far_from_target, phase_one_product

CHAINS = [(2, 1e-3, 1.0), (3, 0.02, 1.0), (4, 0.05, 1.0), (3, 0.05, 0.5), (5, 0.2, 2.0)]


def crossing(
    weights: np.ndarray, rate: float, target: float, product: float, data: tuple[float, float]
) -> float:
    """Steps, interpolated, of gradient descent on half the squared error until the product."""
    x, y = np.array(data), target * np.array(data)
    w, last = weights.copy(), np.prod(weights)
    for step in range(1, 1_000_000):
        error = np.mean((y - np.prod(w) * x) * x)
        w = w + rate * error * np.array([np.prod(np.delete(w, i)) for i in range(len(w))])
        if np.prod(w) >= product:
            return step - 1 + float((product - last) / (np.prod(w) - last))
        last = np.prod(w)
    raise AssertionError("no crossing")


@pytest.mark.parametrize(
    ("depth", "start", "time", "digits"), [(3, 0.1, 9.145, 5e-4), (4, 0.05, 199.73, 5e-3)]
)
def test_half_the_target_is_reached_when_it_is_said(
    depth: int, start: float, time: float, digits: float
) -> None:
    assert chain_time(depth, start, 0.5 ** (1 / depth)) == pytest.approx(time, abs=digits)


def test_two_layers_follow_a_logistic_curve() -> None:
    # d(a^2)/dt = 2 a^2 (s - a^2): the logit of a^2/s grows at rate 2 s.
    logit = [np.log(p / (2 - p)) for p in (0.1**2, 1.1**2)]
    expected = (logit[1] - logit[0]) / 4
    assert chain_time(2, 0.1, 1.1, target=2.0) == pytest.approx(expected, rel=1e-10)  # of quad


def test_times_add_up() -> None:
    whole = chain_time(4, 0.1, 0.9)
    assert chain_time(4, 0.1, 0.4) + chain_time(4, 0.4, 0.9) == pytest.approx(whole, rel=1e-10)


@pytest.mark.parametrize("depth", [2, 3, 4, 8])
def test_far_from_the_target_the_time_has_a_closed_form(depth: int) -> None:
    start, end, target = 0.1, 0.2, 1.5
    far = chain_time_far_from_target(depth, start, end, target)
    exact = chain_time(depth, start, end, target)
    assert 0 < exact - far < exact * end**depth / target


def test_at_its_end_phase_one_has_gained_one_percent() -> None:
    product = phase_one_product(3.0)
    assert product == pytest.approx(3 * (1 - np.sqrt(0.99)), rel=1e-15)
    assert (3 - product) ** 2 / 3**2 == pytest.approx(0.99, rel=1e-14)


@pytest.mark.parametrize(("depth", "start", "target"), CHAINS)
def test_gradient_descent_takes_the_steps_of_the_flow(
    depth: int, start: float, target: float
) -> None:
    end = phase_one_product(target) ** (1 / depth)
    time = chain_time(depth, start, end, target)
    for rate in (time / 400, time / 3200):
        found = crossing(np.full(depth, start), rate, target, end**depth, (-1.0, 1.0))
        assert found == pytest.approx(time / rate, rel=0.01)
        # Corrected for Euler's lag, what is left is less than what the last step adds to ln(speed).
        left = rate * target * (depth - 1) * end ** (depth - 2)
        assert abs(found - chain_steps(depth, start, rate, target)) < left


def test_a_later_criterion_takes_longer_and_a_larger_step_fewer() -> None:
    assert chain_steps(3, 0.02, 0.1, fraction=0.9) > chain_steps(3, 0.02, 0.1) + 1
    assert chain_steps(3, 0.02, 0.2) == pytest.approx(chain_steps(3, 0.02, 0.1) / 2, rel=0.01)
