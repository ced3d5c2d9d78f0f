"""Random numbers that are the same for ever and on every machine, and fixed directions.

They come from the raw stream of NumPy's PCG64, which never changes; the streams of
`numpy.random.Generator` may. Logarithm and sine may differ in their last bit between machines, so
what depends on them is rounded to 6 decimals before it becomes float32.
"""

import numpy as np


def uniform(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Returns float64 in [0, 1): the upper 53 bits of each raw 64-bit output, times 2^-53."""
    raw = np.random.PCG64(seed).random_raw(shape)
    return (raw >> np.uint64(11)) * 2.0**-53


def normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Returns standard normals, float64, rounded to 6 decimals.

    Source: Box and Muller, "A note on the generation of random normal deviates" (1958); one normal
    (the cosine) of each two uniforms.
    """
    radius, angle = uniform(seed, (2, *shape))
    return rounded(np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle))


def order(seed: int, n: int) -> np.ndarray:
    """Returns a permutation of 0..n-1: the sort order of n raw outputs."""
    return np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")


def rounded(values: np.ndarray) -> np.ndarray:
    """Rounds to 6 decimals; a zero is never negative, whatever the sign of what became 0."""
    return np.round(values, 6) + 0.0


def directions(n: int, dimension: int) -> np.ndarray:
    """Returns n orthonormal rows, (n, dimension) float64: +-dimension^(-1/2) in every entry.

    They are rows 1..n of Sylvester's Hadamard matrix, whose entry (i, j) is -1 to the number of
    binary digits that i and j share.

    Args:
      dimension: a power of 2 above n.
    """
    shared = np.arange(1, n + 1)[:, None] & np.arange(dimension)[None, :]
    return np.where(np.bitwise_count(shared) % 2, -1.0, 1.0) / np.sqrt(dimension)
