"""Exact mathematics of wide random networks (SCIENCE.md section 4)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

CosineMap = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def relu_cosine(cosine: ArrayLike) -> NDArray[np.float64]:
    """Cosine of two features after one wide layer, given the cosine of its inputs.

    f(r) = (sqrt(1 - r^2) + r (pi - arccos r)) / pi, whatever the variance of the weights, for
    relu(W x) without bias, W with independent N(0, s^2) entries. Maps [-1, 1] into [0, 1]; its only
    fixed point is 1.

    Source: Cho and Saul, 2009 (the normalised arc-cosine kernel of degree 1).
    """
    r = np.clip(np.asarray(cosine, np.float64), -1, 1)
    return (np.sqrt(1 - r**2) + r * (np.pi - np.arccos(r))) / np.pi


def cosines_by_depth(cosine_map: CosineMap, cosine: ArrayLike, depth: int) -> NDArray[np.float64]:
    """Cosines after 0, 1, ..., `depth` layers: (depth + 1, ...), of inputs with `cosine`.

    The map is iterated: near 1 its asymptote 1 - 9 pi^2 / (2 l^2) is far off at real depths.
    """
    cosines = [np.asarray(cosine, np.float64)]
    for _ in range(depth):
        cosines.append(cosine_map(cosines[-1]))
    return np.stack(cosines)
