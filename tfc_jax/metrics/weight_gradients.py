"""How alike the weight gradients of different samples are; none of them is ever formed.

The gradient of sample i's loss in W_l is the outer product of what the layer reads and of the
gradient in the pre-activation, g_i = outer(h_{l-1,i}, delta_{l,i}): |g_i| = |h_i| |delta_i|, and
cos(g_i, g_j) = cos(h_i, h_j) cos(delta_i, delta_j).
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from tfc_jax.metrics._rows import frobenius, matmul, root_mean_square, row_norms, together
from tfc_jax.schema import Column
from tfc_jax.snapshot import Snapshot, Traits, Values, on_layers

PAIRED = 32  # samples
# Terms h_a delta_b / n of a batch gradient, in the root mean square, over the smallest number of
# float32. `cancellation` is off by up to 5 % at 2, by 0.2 % at 4 and 1e-4 at 16 (16 and 64 wide).
_TERM = 2

COST = 0.18  # share of a bare step: bench/metrics.py

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


class _Rows(NamedTuple):
    """The rows of one side of the dense layers' outer products.

    Attributes:
      norms: (L, B) lengths.
      grams: (L, N, N) cosines of the first rows; 0 where one is a row of zeros.
    """

    norms: Array
    grams: Array


def lacks(traits: Traits) -> str:
    """Why there is nothing for such a network; empty if there is something."""
    return "" if traits.dense else "no layer reads the whole feature of the layer below"


def compute(snapshot: Snapshot) -> dict[str, Values]:
    """Both columns on the dense layers; NaN where no (pair of) gradients is non-zero.

    `cancellation` in [0, 1] is of the whole batch, and reads the batch gradient that the step used.
    It is NaN, never 0, where float32 cannot hold that: where the root mean square of |g_i| is below
    2.4e-38 n sqrt(fan_in fan_out), 1.5e-34 for 100 samples at width 64, or the largest |h| times
    the largest |delta| above 3e38. `weight_grad_cos` in [-1, 1] is of the batch's first 32 samples,
    or of all if there are fewer: a batch comes in random order, so they are a random subset. Their
    products cost 32^2 (fan_in + fan_out) multiplications per layer, where the step's cost
    3 B fan_in fan_out.
    """
    layers = snapshot.dense
    if not layers:
        return {}
    below = _rows([snapshot.below[layer - 1] for layer in layers])
    above = _rows([d for layer in layers if (d := snapshot.deltas[layer - 1]) is not None])
    grads = [snapshot.weight_grads[layer - 1] for layer in layers]
    batch = len(snapshot.labels)
    columns = {
        "cancellation": _cancellation(below.norms, batch * above.norms, grads),
        "weight_grad_cos": _mean_cosines(below.grams * above.grams),
    }
    n_layers = len(snapshot.weights)
    return {name: on_layers(values, layers, n_layers) for name, values in columns.items()}


def _rows(layers: Sequence[Array]) -> _Rows:
    """Neighbours of one shape together."""
    alike = itertools.groupby(layers, key=lambda rows_BxH: rows_BxH.shape)
    sides = [_rows_alike(together(list(group))) for _, group in alike]
    return _Rows(*map(jnp.concatenate, zip(*sides, strict=True)))


def _rows_alike(rows_LxBxH: Array) -> _Rows:
    norm_LxB = row_norms(rows_LxBxH)
    norm_LxNx1 = norm_LxB[:, :PAIRED, None]
    unit_LxNxH = rows_LxBxH[:, :PAIRED] / jnp.where(norm_LxNx1 == 0, 1, norm_LxNx1)
    return _Rows(norm_LxB, matmul(unit_LxNxH, jnp.swapaxes(unit_LxNxH, 1, 2)))


def _cancellation(below_LxB: Array, above_LxB: Array, grads: Sequence[Array]) -> Array:
    """|mean_i g_i|^2 / mean_i |g_i|^2, every length relative to |h|_max |delta|_max."""
    h_L, d_L = jnp.max(below_LxB, axis=1), jnp.max(above_LxB, axis=1)
    length_LxB = (below_LxB / h_L[:, None]) * (above_LxB / d_L[:, None])
    rms_L = root_mean_square(length_LxB)
    scale_L = h_L * d_L
    mean_L = frobenius(grads) / scale_L
    known_L = (scale_L * rms_L >= _smallest(grads, below_LxB.shape[1])) & jnp.isfinite(scale_L)
    return jnp.where(known_L, (mean_L / rms_L) ** 2, jnp.nan)


def _smallest(grads: Sequence[Array], batch: int) -> Array:
    """Root mean squares of |g_i| below which float32 lost the terms of the batch gradient: (L,)."""
    dtype = grads[0].dtype
    tiny = float(jnp.finfo(dtype).tiny)
    return jnp.asarray([_TERM * tiny * batch * math.sqrt(grad.size) for grad in grads], dtype)


def _mean_cosines(gram_LxNxN: Array) -> Array:
    """(sum_ij cos cos - alive) / (alive (alive - 1)) over ordered pairs, with i = j taken out."""
    own_LxN = jnp.diagonal(gram_LxNxN, axis1=1, axis2=2)
    alive_L = jnp.sum(jnp.round(own_LxN), axis=1)  # 1 or 0 but for rounding
    n_pairs_L = alive_L * (alive_L - 1)
    pairs_L = jnp.sum(gram_LxNxN, axis=(1, 2)) - jnp.sum(own_LxN, axis=1)
    return jnp.where(n_pairs_L > 0, pairs_L / n_pairs_L, jnp.nan)
