"""Variances and covariances of pre-activations from layer to layer, in the wide limit."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from tfc_jax.theory.gaussian import Activation, Floats, mean, mean_product

# Variance of an entry times fan_in, of a square layer, for each `init` of a run (its `init_scale`
# squared multiplies it); layers after the first of `structured` are he_normal. The biases of
# torch_default have variance 1 / (3 fan_in).
WEIGHT_VARIANCES = {
    "xavier_normal": 1.0,
    "xavier_uniform": 1.0,
    "he_normal": 2.0,
    "lecun_normal": 1.0,
    "orthogonal": 1.0,
    "torch_default": 1 / 3,
}
# Factor of the mean squared gradient, per layer towards the input, of relu(batch_norm(W h)), for
# wide layers and large batches (a batch of B adds about 1.3 / B of it). Source: Yang et al., 2019.
BATCH_NORM_GRADIENT_GROWTH = np.pi / (np.pi - 1)
SMALLEST, LARGEST, ROUNDING = 1e-12, 1e12, 1e-9


def relu_growth(weight_variance: float) -> float:
    """Factor of E|h_l|^2 (square layers) for h_l = relu(W h_{l-1}): half the weight variance.

    He 1, Xavier 1/2, PyTorch's default 1/6. Exact at every width and for every symmetric law of the
    weights; with biases half the variance of a bias is added, per unit. Source: He et al., 2015.
    """
    return weight_variance / 2


def next_variance(
    activation: Activation, variance: ArrayLike, weight_variance: float, bias_variance: float = 0.0
) -> Floats:
    """Variance of a pre-activation of the next layer: w E[phi(sqrt(q) z)^2] + b.

    The mean square of a feature is `mean` of phi^2. Source: Poole et al., 2016.
    """
    return weight_variance * mean(lambda a: activation(a) ** 2, variance) + bias_variance


def variances_by_depth(
    activation: Activation,
    variance: ArrayLike,
    depth: int,
    weight_variance: float,
    bias_variance: float = 0.0,
) -> Floats:
    """Variances of layer 1 (given) and of the `depth` layers after it: (depth + 1, ...)."""
    variances = [np.asarray(variance, np.float64)]
    for _ in range(depth):
        variances.append(next_variance(activation, variances[-1], weight_variance, bias_variance))
    return np.stack(variances)


def next_covariance(
    activation: Activation,
    covariance_BxB: Floats,
    weight_variance: float,
    bias_variance: float = 0.0,
) -> Floats:
    """Covariance of the next layer's pre-activations of B samples, of any norms: (B, B).

    w E[phi(u_i) phi(u_j)] + b. With covariance w x_i.x_j / D + b of layer 1 this is the kernel of a
    wide network as a Gaussian process. Source: Lee et al., 2018.
    """
    variance_B = np.diagonal(covariance_BxB)
    scale_B = np.sqrt(variance_B)
    cosine_BxB = covariance_BxB / np.outer(scale_B, scale_B)
    product_BxB = np.stack(
        [
            mean_product(activation, cosine_B, variance, variance_B)
            for cosine_B, variance in zip(cosine_BxB, variance_B, strict=True)
        ]
    )
    return weight_variance * product_BxB + bias_variance


def fixed_variance(
    activation: Activation, weight_variance: float, bias_variance: float = 0.0
) -> float:
    """Smallest variance q* above 1e-12 that the next layer keeps, approached from below.

    Returns:
      q*; infinity where variances grow above 1e12; 0 where small ones vanish with depth, and where
      all are kept (ReLU without bias, at weight variance 2).
    Source: Poole et al., 2016.
    """

    def change(variance: float) -> float:
        return float(next_variance(activation, variance, weight_variance, bias_variance)) - variance

    low = SMALLEST
    if change(low) <= ROUNDING * low:
        return 0.0
    while change(2 * low) > 0:
        low *= 2
        if low > LARGEST:
            return np.inf
    return float(brentq(change, low, 2 * low, xtol=1e-15, rtol=1e-14))


def susceptibility(slope: Activation, variance: ArrayLike, weight_variance: float) -> Floats:
    """chi = w E[slope(sqrt(q) z)^2]: growth per layer of a small difference between two samples.

    Also the factor of the mean squared gradient per layer towards the input. 1 is critical, below 1
    samples become alike and gradients vanish. Args: slope: derivative of the activation.

    Source: Schoenholz et al., 2017.
    """
    return weight_variance * mean(lambda a: slope(a) ** 2, variance)


def depth_scale(chi: ArrayLike) -> Floats:
    """xi = -1 / ln chi, in layers, within which a difference falls by e; chi in (0, 1)."""
    return -1 / np.log(np.asarray(chi, np.float64))


def trainable_depth(chi: ArrayLike) -> Floats:
    """About 6 xi, in layers: deeper networks do not train. Source: Schoenholz et al., 2017."""
    return 6 * depth_scale(chi)


def tanh_critical_weight_variance(bias_variance: float) -> float:
    """Weight variance w at which chi = 1 at the fixed variance q*, for tanh.

    Both conditions name w and b as functions of q*: w = 1 / E[tanh'^2], b = q* - w E[tanh^2], and b
    grows with q*. 1 without biases, 1.76095 at b = .05.

    Args:
      bias_variance: in [0, 80].
    Source: Poole et al., 2016; Schoenholz et al., 2017.
    """

    def weight(variance: float) -> float:
        return float(1 / mean(lambda a: (1 - np.tanh(a) ** 2) ** 2, variance))

    def surplus(variance: float) -> float:
        kept = next_variance(np.tanh, variance, weight(variance), bias_variance)
        return variance - float(kept)

    return weight(brentq(surplus, 0.0, 100.0, xtol=1e-14))
