"""How alike the weight gradients of different samples are; none of them is ever formed.

The gradient of sample i's loss in W_l is the outer product of what the layer reads and of the
gradient in the pre-activation, g_i = outer(h_{l-1,i}, delta_{l,i}): |g_i| = |h_i| |delta_i|, and
cos(g_i, g_j) = cos(h_i, h_j) cos(delta_i, delta_j).
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.lax import Precision

from tfc_jax.metrics._rows import frobenius, row_norms
from tfc_jax.schema import Column
from tfc_jax.snapshot import Snapshot, Values, on_layers

PAIRED = 32  # samples
_SMALL = 1e-30  # above it, entries below float32's range (1.2e-38) weigh less than a rounding

COST = 0.33  # share of a bare step: bench/metrics.py

COLUMNS = (
    Column(
        "cancellation",
        "layers",
        "1",
        "|sum_i g_i|^2 / (n sum_i |g_i|^2), g_i the gradient of sample i's loss in W_l: 1 where "
        "all are the same, 1/n orthogonal, 0 cancelling",
    ),
    Column(
        "weight_grad_cos",
        "layers",
        "1",
        "Mean cosine of the gradients in W_l of two distinct samples' losses, over pairs of the "
        f"batch's first {PAIRED} samples, less those whose gradient is 0",
    ),
)


class _Factors(NamedTuple):
    """The rows of one dense layer's outer products, and their lengths.

    Attributes:
      rows: (B, H).
      norms: (B,) lengths.
      largest: () of the lengths.
    """

    rows: Array
    norms: Array
    largest: Array


def compute(snapshot: Snapshot) -> dict[str, Values]:
    """Both columns on the dense layers; NaN where no (pair of) gradients is non-zero.

    `cancellation` in [0, 1] is of the whole batch. `weight_grad_cos` in [-1, 1] is of its first 32
    samples, or of all if there are fewer: a batch comes in random order, so they are a random
    subset. Their products cost 32^2 (fan_in + fan_out) multiplications per layer, where the step's
    cost 3 B fan_in fan_out.
    """
    layers = snapshot.dense
    if not layers:
        return {}
    below = _factors([snapshot.below[layer - 1] for layer in layers])
    above = _factors([d for layer in layers if (d := snapshot.deltas[layer - 1]) is not None])
    grads = [snapshot.weight_grads[layer - 1] for layer in layers]
    columns = {
        "cancellation": _cancellation(below, above, grads),
        "weight_grad_cos": _mean_cosines(below, above),
    }
    n_layers = len(snapshot.weights)
    return {name: on_layers(values, layers, n_layers) for name, values in columns.items()}


def _factors(layers: Sequence[Array]) -> list[_Factors]:
    alike = itertools.groupby(layers, key=lambda rows_BxH: rows_BxH.shape)
    norms = [norm_B for _, group in alike for norm_B in row_norms(jnp.stack(list(group)))]
    return [_Factors(rows, norm, jnp.max(norm)) for rows, norm in zip(layers, norms, strict=True)]


def _cancellation(
    below: Sequence[_Factors], above: Sequence[_Factors], grads: Sequence[Array]
) -> Array:
    """n |mean gradient|^2 / sum_i |g_i|^2, every length relative to |h|_max |delta|_max."""
    pairs = list(zip(below, above, strict=True))
    lengths_LxB = jnp.stack([_relative(h) * _relative(d) for h, d in pairs])
    longest_L = jnp.max(lengths_LxB, axis=1)
    squares_L = jnp.sum((lengths_LxB / longest_L[:, None]) ** 2, axis=1)
    mean_L = _mean_lengths(pairs, grads) / longest_L
    return lengths_LxB.shape[1] * mean_L**2 / squares_L


def _mean_lengths(pairs: Sequence[tuple[_Factors, _Factors]], grads: Sequence[Array]) -> Array:
    """Lengths of the batch gradients over |h|_max |delta|_max: (L,).

    A gradient that float32 cannot hold (two factors of 1e-25) is formed again from scaled factors.
    That is rare, and `cond` skips it; under `vmap` both run.
    """
    length_L = frobenius(grads)
    # The smaller first: the quotient is then at most the larger one, and within range.
    scales = [
        (jnp.minimum(h.largest, d.largest), jnp.maximum(h.largest, d.largest)) for h, d in pairs
    ]
    small_L, large_L = (jnp.stack(part) for part in zip(*scales, strict=True))
    relative_L = length_L / small_L / large_L
    lost_L = length_L < _SMALL

    def formed_again() -> Array:
        again = [
            jnp.matmul(_scaled(h).T, _scaled(d), precision=Precision.HIGHEST) for h, d in pairs
        ]
        return jnp.where(lost_L, frobenius(again) / pairs[0][0].rows.shape[0], relative_L)

    return jax.lax.cond(jnp.any(lost_L), formed_again, lambda: relative_L)


def _relative(factors: _Factors) -> Array:
    return factors.norms / factors.largest


def _scaled(factors: _Factors) -> Array:
    return factors.rows / factors.largest


def _mean_cosines(below: Sequence[_Factors], above: Sequence[_Factors]) -> Array:
    """Of every layer: (L,). Neighbours of one shape together take half the time of a loop."""
    units = [(_unit(h), _unit(d)) for h, d in zip(below, above, strict=True)]
    alike = itertools.groupby(units, key=lambda pair: (pair[0].shape, pair[1].shape))
    groups = [zip(*pairs, strict=True) for _, pairs in alike]
    return jnp.concatenate([jax.vmap(_mean_cosine)(*map(jnp.stack, group)) for group in groups])


def _mean_cosine(h_NxH: Array, d_NxH: Array) -> Array:
    """(sum_ij cos cos - alive) / (alive (alive - 1)) over ordered pairs, with i = j taken out."""
    gram_NxN = _gram(h_NxH) * _gram(d_NxH)
    own_N = jnp.diagonal(gram_NxN)
    alive = jnp.sum(jnp.round(own_N))  # 1 or 0 but for rounding
    n_pairs = alive * (alive - 1)
    return jnp.where(n_pairs > 0, (jnp.sum(gram_NxN) - jnp.sum(own_N)) / n_pairs, jnp.nan)


def _unit(factors: _Factors) -> Array:
    """The first rows at length one; a row of zeros stays."""
    norms_Nx1 = factors.norms[:PAIRED, None]
    return factors.rows[:PAIRED] / jnp.where(norms_Nx1 == 0, 1, norms_Nx1)


def _gram(rows_NxH: Array) -> Array:
    return jnp.matmul(rows_NxH, rows_NxH.T, precision=Precision.HIGHEST)
