"""How long learning takes: the deep linear scalar chain, and a hypothesis about deep ReLU networks.

The chain has `depth` equal scalar weights a and outputs a^depth x; the data are (-1, -s), (1, s), s
the target, and the loss is half the squared error, so that gradient flow is
da/dt = a^(depth-1) (s - a^depth). Source: Saxe et al., 2014; times below are ours.
"""

import numpy as np
from scipy.integrate import quad


def chain_time(depth: int, start: float, end: float, target: float = 1.0) -> float:
    """Time that gradient flow takes from weight `start` to `end`; start < end, end^depth < target.

    The integral of da / (a^(depth-1) (target - a^depth)), by adaptive quadrature over ln a.
    """
    return float(
        quad(
            lambda log_a: np.exp(log_a) / _speed(np.exp(log_a), depth, target),
            np.log(start),
            np.log(end),
            epsabs=0,
            epsrel=1e-11,
        )[0]
    )


def chain_time_far_from_target(depth: int, start: float, end: float, target: float = 1.0) -> float:
    """The same where a^depth is far below the target, in closed form; depth >= 2.

    (start^(2-depth) - end^(2-depth)) / ((depth-2) target); ln(end / start) / target for depth 2.
    Too short, by a share below end^depth / target.
    """
    if depth == 2:
        return float(np.log(end / start) / target)
    return (start ** (2 - depth) - end ** (2 - depth)) / ((depth - 2) * target)


def phase_one_product(target: float = 1.0, fraction: float = 0.99) -> float:
    """The product a^depth at which the loss is `fraction` of its value at product 0, target^2 / 2.

    target (1 - sqrt(fraction)): where phase one ends on a chain.
    """
    return target * (1 - np.sqrt(fraction))


def chain_steps(
    depth: int, start: float, learning_rate: float, target: float = 1.0, fraction: float = 0.99
) -> float:
    """Steps of gradient descent from equal weights `start` until the loss is below `fraction`.

    time / learning_rate + ln(v_end / v_start) / 2, v the speed da/dt: Euler's method lags behind
    the flow by half a step for every e-fold of speed. What is left is of order learning_rate steps.
    For a loss without the half, such as this package's `mse`, pass twice the learning rate.
    """
    end = phase_one_product(target, fraction) ** (1 / depth)
    speedup = _speed(end, depth, target) / _speed(start, depth, target)
    return chain_time(depth, start, end, target) / learning_rate + float(np.log(speedup)) / 2


def decades_per_layer(init_scale: float, weight_variance: float = 1.0) -> float:
    """log10(sqrt(2 / weight_variance) / init_scale); .1505 for Xavier (1) at scale 1, 0 for He (2).

    By so much log10 of a gradient's norm falls per ReLU layer towards the input at initialisation:
    a theorem. HYPOTHESIS, to test and not to assume: phase one takes that many decades of steps
    longer for each layer more (ours).
    """
    return float(np.log10(np.sqrt(2 / weight_variance) / init_scale))


def _speed(a: float, depth: int, target: float) -> float:
    return a ** (depth - 1) * (target - a**depth)
