"""Cosines of two samples from layer to layer, in the wide limit."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from tfc_jax.theory.gaussian import Activation, Floats, mean, mean_product

CosineMap = Callable[[Floats], Floats]


def relu_cosine(cosine: ArrayLike) -> Floats:
    """Cosine of two features after one wide layer, given the cosine of its inputs.

    f(r) = (sqrt(1 - r^2) + r (pi - arccos r)) / pi, whatever the variance of the weights, for
    relu(W x) without bias, W with independent N(0, s^2) entries. Maps [-1, 1] into [0, 1]; its only
    fixed point is 1.

    Source: Cho and Saul, 2009 (the normalised arc-cosine kernel of degree 1).
    """
    r = np.clip(np.asarray(cosine, np.float64), -1, 1)
    return (np.sqrt(1 - r**2) + r * (np.pi - np.arccos(r))) / np.pi


def leaky_relu_cosine(cosine: ArrayLike, slope: float = 0.01) -> Floats:
    """The same for max(x, slope x): ((1 - a)^2 f(r) + 2 a r) / (1 + a^2).

    Slope 0 is ReLU, 1 the identity, -1 the absolute value.

    Source: leaky ReLU is (1 - a) relu(x) + a x, and E[u relu(v)] = E[u v] / 2.
    """
    r = np.clip(np.asarray(cosine, np.float64), -1, 1)
    return ((1 - slope) ** 2 * relu_cosine(r) + 2 * slope * r) / (1 + slope**2)


def abs_cosine(cosine: ArrayLike) -> Floats:
    """The same for |x|: (2 / pi) (sqrt(1 - r^2) + r asin r), even in r, in [2 / pi, 1]."""
    r = np.clip(np.asarray(cosine, np.float64), -1, 1)
    return 2 / np.pi * (np.sqrt(1 - r**2) + r * np.arcsin(r))


def next_cosine(
    activation: Activation,
    cosine: ArrayLike,
    variance: ArrayLike = 1.0,
    weight_variance: float = 1.0,
    bias_variance: float = 0.0,
) -> Floats:
    """Cosine of two pre-activations of the next layer, for any activation and with biases.

    (w E[phi(u) phi(v)] + b) / (w E[phi(u)^2] + b), u and v of one `variance` and of correlation
    `cosine`; w, b are the variances of weights (times fan_in) and of biases. Without biases w
    cancels, and this is the cosine of the features phi(u), phi(v) themselves.

    Source: Poole et al., 2016 (the correlation map); by quadrature, error as `mean_product`.
    """
    product = weight_variance * mean_product(activation, cosine, variance)
    square = weight_variance * mean(lambda a: activation(a) ** 2, variance)
    return (product + bias_variance) / (square + bias_variance)


def batch_norm_relu_cosine(batch_size: int) -> float:
    """Mean cosine of the features relu(batch_norm(W h)) over pairs of a batch, at every depth.

    f(-1 / (B - 1)), near 1 / pi: centred rows have this mean cosine, whatever came before. It is
    exact where all pairs are alike. Spread of their cosines adds to it, as f is convex: about
    0.7 / n at width n, and at layer 1 what the data bring (.3245 instead of .3133 on the digits at
    B = 100). Both are seen in test_theory_batch_norm.py.

    Source: Yang et al., 2019 (batch norm has a fixed point of the Gram matrix that depends on B
      alone).
    """
    return float(relu_cosine(-1 / (batch_size - 1)))


def cosines_by_depth(cosine_map: CosineMap, cosine: ArrayLike, depth: int) -> Floats:
    """Cosines after 0, 1, ..., `depth` layers: (depth + 1, ...), of inputs with `cosine`.

    The map is iterated: near 1 its asymptote 1 - 9 pi^2 / (2 l^2) is far off at real depths.
    """
    cosines = [np.asarray(cosine, np.float64)]
    for _ in range(depth):
        cosines.append(cosine_map(cosines[-1]))
    return np.stack(cosines)
