"""What the families share: safe norms, unit rows, and cosines over pairs of samples.

Every function is called the same way by every family, so that XLA merges what they have in common.
Measured on one CPU core (jax 0.10, 1 MiB of L2 cache, batch 100, defaults at every step):
- They cost 25 to 43 % of a bare step at 784-256x4, from one run to the next. Products over classes
  run at the speed of the step's own; what else is read comes from beyond the L2 cache, so the time
  goes into bytes: what is not written need not be read.
- Features of one shape are stacked to (l, B, H). One layer at a time took 5 to 15 % of a step more
  at width 256 and compiled more slowly.
- A sum of squares of 256x256 numbers runs at 12 G elements/s, of products of two at 4: hence
  `_safe_root`. Of 8 stacked 64x64 it runs at 3, alone at 7: hence `_SMALL_TENSOR`.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.lax import Precision

# Between these, a sum of up to 5 million squares loses less than a rounding to float32's range,
# whose normal numbers start at 1.2e-38.
_SMALL, _LARGE = 1e-24, 1e30
_SMALL_TENSOR = 32 * 32  # elements
_LARGE_TENSOR = 128 * 128  # elements
_SMALL_BATCH = 128  # samples; a mean over so few is off by 5e-14 of its square at most
_RESCALE = 2.0**75  # brings any normal float32 number where its square is normal


Columns = dict[str, Array]


class UnitRows(NamedTuple):
    """Rows of every layer, ready to be scaled to length one.

    A row of zeros is dead: left out. A row that is not finite is alive and makes every result of
    its layer NaN.

    Attributes:
      rows: (L, B, H) as they came; narrower layers are padded with zeros.
      norm: (L, B) Euclidean norms; never 0 for a row with a normal non-zero entry.
      alive: (L, B) 1 for alive rows, 0 for dead ones, NaN where the norm is not finite.
      inverse: (L, B) 1 / norm, and 0 for dead rows.
    """

    rows: Array
    norm: Array
    alive: Array
    inverse: Array


class Cosines(NamedTuple):
    """Mean cosines over pairs of distinct alive rows, each (L,); NaN where there is no pair."""

    everywhere: Array
    within: Array
    between: Array


def by_shape(compute: Callable[[Array], Columns], layers: Sequence[Array]) -> Columns:
    """Returns the columns of (B, H_l) arrays, each (L,), computed of (l, B, H) stacks of them.

    Neighbours of one shape are stacked; widths are not padded to one.
    """
    stacks = itertools.groupby(layers, key=lambda rows_BxH: rows_BxH.shape)
    parts = [compute(together(list(group))) for _, group in stacks]
    return {name: jnp.concatenate([part[name] for part in parts]) for name in parts[0]}


def unit_rows(rows_LxBxH: Array) -> UnitRows:
    """Norms of the rows and what scales them to one."""
    norm_LxB = row_norms(rows_LxBxH)
    return _unit(rows_LxBxH, norm_LxB, norm_LxB == 0)


def centered(features: UnitRows) -> UnitRows:
    """The alive rows less their mean.

    The rounding error of a mean over B rows is at most B eps/2 of the largest row. A row within
    twice that bound of the mean cannot be told from it and is left out as dead: copies of one
    sample have no centred direction.
    """
    x_LxBxH, norm_LxB, alive_LxB, _ = features
    batch = x_LxBxH.shape[1]
    weight_LxB = alive_LxB / jnp.sum(alive_LxB, axis=1)[:, None]
    mean_LxH = matmul(weight_LxB[:, None, :], x_LxBxH)[:, 0]
    rows_LxBxH = x_LxBxH - mean_LxH[:, None, :]
    largest_L = jnp.max(norm_LxB, axis=1)
    # Scaling by the largest row keeps the squares in range; what is lost is below the bound.
    relative_LxBxH = rows_LxBxH * _inverse(largest_L)[:, None, None]
    relative_LxB = jnp.sqrt(jnp.sum(relative_LxBxH**2, axis=2))
    bound = batch * jnp.finfo(x_LxBxH.dtype).eps
    return _unit(relative_LxBxH, relative_LxB, (alive_LxB == 0) | (relative_LxB <= bound))


def _unit(rows_LxBxH: Array, norm_LxB: Array, dead_LxB: Array) -> UnitRows:
    safe_LxB = jnp.where(dead_LxB, 1, norm_LxB)
    alive_LxB = jnp.where(dead_LxB, 0, norm_LxB / safe_LxB)
    return UnitRows(rows_LxBxH, norm_LxB, alive_LxB, alive_LxB / safe_LxB)


def class_matrix(labels_B: Array, n_classes: int, dtype: jnp.dtype) -> Array:
    """Rows of 0 and 1 that pick the samples of one class each: (K, B)."""
    class_K = jnp.arange(n_classes, dtype=labels_B.dtype)
    return (labels_B[None, :] == class_K[:, None]).astype(dtype)


def class_sums(unit: UnitRows, classes_KxB: Array) -> Array:
    """Sums of the unit rows of each class: (L, K, H).

    The unit rows themselves are never formed: 1/norm is folded into the small matrix.
    """
    return matmul(classes_KxB[None] * unit.inverse[:, None, :], unit.rows)


def pair_cosines(unit: UnitRows, classes_KxB: Array, sums_LxKxH: Array) -> Cosines:
    """Mean cosines of all pairs, of pairs within a class, and of pairs between classes.

    |sum of unit rows|^2 counts every ordered pair at once, and each row with itself: O(B H K).

    Args:
      classes_KxB: of `class_matrix`.
      sums_LxKxH: of `class_sums`.
    Error: below 1e-6 in float32 for B <= 4096, K = 10 (test_similarity.py).
    """
    count_LxK = matmul(unit.alive, classes_KxB.T)
    alive_L = jnp.sum(count_LxK, axis=1)
    same_pairs_L = jnp.sum(count_LxK**2, axis=1)
    total_L = jnp.sum(jnp.sum(sums_LxKxH, axis=1) ** 2, axis=1)
    same_L = jnp.sum(sums_LxKxH**2, axis=(1, 2))
    return Cosines(
        _ratio(total_L - alive_L, alive_L * (alive_L - 1)),
        _ratio(same_L - alive_L, same_pairs_L - alive_L),
        _ratio(total_L - same_L, alive_L**2 - same_pairs_L),
    )


def deficit(unit: UnitRows, sums_LxKxH: Array) -> Array:
    """1 - mean cosine over all pairs of distinct alive rows, as a sum of squares: (L,), >= 0.

    Args:
      sums_LxKxH: of `class_sums`.
    Error: in float32 an absolute 1e-13 for B <= 4096 (test_similarity.py), where the difference
      1 - cosine would stop near 1e-7. What rounding left in the mean of a large batch is taken out
      by the second term (the corrected two-pass sum of squares of Chan, Golub and LeVeque, 1983).
    """
    alive_L = jnp.sum(unit.alive, axis=1)
    mean_LxH = _ratio(jnp.sum(sums_LxKxH, axis=1), alive_L[:, None])
    # A select, because XLA then writes the deviations once and sums their squares at full speed;
    # fused into the sum, the same arithmetic is several times as slow.
    deviation_LxBxH = jnp.where(
        unit.alive[:, :, None] == 0,
        0,
        unit.rows * unit.inverse[:, :, None] - mean_LxH[:, None, :],
    )
    square_L = jnp.sum(deviation_LxBxH**2, axis=(1, 2))
    if unit.alive.shape[1] > _SMALL_BATCH:
        rest_LxH = matmul(jnp.ones_like(unit.alive)[:, None, :], deviation_LxBxH)[:, 0]
        square_L -= _ratio(jnp.sum(rest_LxH**2, axis=1), alive_L)
    return _ratio(jnp.maximum(square_L, 0), alive_L - 1)


def row_norms(rows_LxBxH: Array) -> Array:
    """Euclidean norms of the rows of every layer: (L, B), exact to rounding from 1e-37 to 1e37."""

    def rescaled(scale_LxB: Array) -> Array:
        return jnp.sum((rows_LxBxH * scale_LxB[:, :, None]) ** 2, axis=2)

    return _safe_root(jnp.sum(rows_LxBxH**2, axis=2), rescaled)


def frobenius(tensors: Sequence[Array]) -> Array:
    """Euclidean norms of the tensors: (n,), exact to rounding from 1e-37 to 1e37, else NaN.

    A tensor that `cond` may read again lives until then. Large ones get one of their own each, so
    that their memory is free, and in the cache, for the next; small ones share one.
    """
    norms: list[Array] = []
    for large, group in itertools.groupby(tensors, key=lambda x: x.size > _LARGE_TENSOR):
        members = list(group)
        norms += [_frobenius([x]) for x in members] if large else [_frobenius(members)]
    norm_n = jnp.concatenate(norms)
    return norm_n + 0 * norm_n


def _frobenius(tensors: Sequence[Array]) -> Array:
    def rescaled(scale_n: Array) -> Array:
        return each(lambda x, s: jnp.sum((x * s) ** 2), tensors, list(scale_n))

    return _safe_root(each(lambda x: jnp.sum(x**2), tensors), rescaled)


def each(function: Callable[..., Array], *columns: Sequence[Array]) -> Array:
    """Values of a scalar function, one per row of `columns`: (n,).

    Neighbours of one shape are stacked into one kernel where they are small: 48 layers of width 14
    would otherwise pay 48 launches. Larger ones are left alone: their copies cost more.
    """
    values, start = [], 0
    for group in _alike(columns[0], _SMALL_TENSOR):
        rows = [column[start : start + len(group)] for column in columns]
        start += len(group)
        if len(group) == 1:
            values.append(function(*(row[0] for row in rows))[None])
        else:
            values.append(jax.vmap(function)(*map(together, rows)))
    return jnp.concatenate(values)


def _alike(arrays: Sequence[Array], small: int) -> Iterator[Sequence[Array]]:
    """Neighbours of one shape; one by one if they have more than `small` elements."""
    for shape, group in itertools.groupby(arrays, key=lambda array: array.shape):
        members = list(group)
        n = len(members) if math.prod(shape) <= small else 1
        yield from (members[i : i + n] for i in range(0, len(members), n))


def together(arrays: Sequence[Array]) -> Array:
    """Returns n arrays of one shape as one (n, ...).

    Joined first, reshaped then: `jnp.stack` gives each array its new axis before it copies it, and
    XLA:CPU then writes what it could have copied twice, or copies it element by element.
    """
    joined = jnp.concatenate([jnp.atleast_1d(array) for array in arrays])
    return joined.reshape(len(arrays), *arrays[0].shape)


def total_norm(tensors: Sequence[Array]) -> Array:
    """Euclidean norm of all tensors together: (), as exact as `frobenius`."""
    norms_n = frobenius(tensors)
    return root_mean_square(norms_n[None])[0] * math.sqrt(len(tensors))


def root_mean_square(x_LxB: Array) -> Array:
    """Roots of the mean squares of the rows: (L,), whatever the range of their entries (>= 0)."""
    largest_L = jnp.max(x_LxB, axis=1)
    share_LxB = x_LxB / jnp.where(largest_L == 0, 1, largest_L)[:, None]
    return largest_L * jnp.sqrt(jnp.mean(share_LxB**2, axis=1))


def _safe_root(square: Array, rescaled: Callable[[Array], Array]) -> Array:
    """Square roots of sums of squares; those out of float32's range are summed again, rescaled.

    The second sum is rare (deep, collapsing networks) and `cond` skips it; under `vmap` both run.

    Args:
      square: plain sums of squares.
      rescaled: the same sums after the terms are multiplied by its argument.
    """
    too_large = jnp.where(square > _LARGE, 1 / _RESCALE, 1.0)
    scale = jnp.where(square < _SMALL, _RESCALE, too_large).astype(square.dtype)
    return jax.lax.cond(
        jnp.any(scale != 1),
        lambda: jnp.sqrt(rescaled(scale)) / scale,
        lambda: jnp.sqrt(square),
    )


def _ratio(numerator: Array, pairs: Array) -> Array:
    """numerator / pairs, NaN where there are no pairs."""
    return jnp.where(pairs > 0, numerator / jnp.where(pairs > 0, pairs, 1), jnp.nan)


def _inverse(x: Array) -> Array:
    return jnp.where(x == 0, 0, 1 / jnp.where(x == 0, 1, x))


def matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=Precision.HIGHEST)
