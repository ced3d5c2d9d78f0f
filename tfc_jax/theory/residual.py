"""Residual blocks with ReLU, from block to block, in the wide limit.

W is square with entries of variance 2 / width (He). For entries of variance s^2 / width take
alpha s / sqrt(2) for alpha: ReLU is homogeneous.
"""

import numpy as np
from numpy.typing import ArrayLike

from tfc_jax.theory.cosines import relu_cosine
from tfc_jax.theory.gaussian import Floats


def residual_growth(alpha: float) -> float:
    """Factor 1 + alpha^2 of E|x|^2 in one block x + alpha V relu(W x), V of variance 1 / fan_in.

    V has mean 0, so x and the branch are uncorrelated, and |V relu(W x)|^2 is |x|^2 on average.
    """
    return 1 + alpha**2


def residual_cosine(cosine: ArrayLike, alpha: float) -> Floats:
    """Cosine of two samples after a block x + alpha V relu(W x): (r + alpha^2 f(r))/(1 + alpha^2).

    f is `relu_cosine`. Source: Yang and Schoenholz, 2017 (mean field of residual networks).
    """
    r = np.asarray(cosine, np.float64)
    return (r + alpha**2 * relu_cosine(r)) / residual_growth(alpha)


def residual_simple_step(gram_BxB: Floats, mean_B: Floats, alpha: float) -> tuple[Floats, Floats]:
    """One block x + alpha relu(W x), without V, on B samples of any norms (ours).

    Coordinate i of the branch depends on row i of W alone and has mean |x| / sqrt(pi width) for
    every i, so the branch is correlated with x through the mean coordinate of x, and adds to it.
    With p = |x|^2 / width, m = sum(x) / width of one sample (p', m' of another), k = x.x' / width:

      m -> m + alpha sqrt(p / pi)
      k -> k + alpha (m sqrt(p') + m' sqrt(p)) / sqrt(pi) + alpha^2 sqrt(p p') f(k / sqrt(p p'))

    These are the exact means over W at every width; the wide limit enters where they are iterated.
    As m grows towards sqrt(p), all samples grow along (1, ..., 1). At alpha 1, on ReLU features,
    cosines rise faster than in a plain network from the first block on; at alpha .3 they are behind
    it for some five blocks, then ahead.

    Args:
      gram_BxB: inner products divided by the width.
      mean_B: mean coordinates.
    Returns:
      Both after the block.
    """
    norm_B = np.sqrt(np.diagonal(gram_BxB))
    norms_BxB = np.outer(norm_B, norm_B)
    cross_BxB = np.outer(mean_B, norm_B) / np.sqrt(np.pi)
    branch_BxB = norms_BxB * relu_cosine(gram_BxB / norms_BxB)
    gram_BxB = gram_BxB + alpha * (cross_BxB + cross_BxB.T) + alpha**2 * branch_BxB
    return gram_BxB, mean_B + alpha * norm_B / np.sqrt(np.pi)


def residual_simple_by_depth(
    gram_BxB: Floats, mean_B: Floats, alpha: float, depth: int
) -> tuple[Floats, Floats]:
    """Gram matrices (depth + 1, B, B) and mean coordinates (depth + 1, B) after 0..depth blocks."""
    states = [(np.asarray(gram_BxB, np.float64), np.asarray(mean_B, np.float64))]
    for _ in range(depth):
        states.append(residual_simple_step(*states[-1], alpha))
    grams, means = zip(*states, strict=True)
    return np.stack(grams), np.stack(means)
