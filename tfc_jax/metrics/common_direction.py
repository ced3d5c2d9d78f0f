"""The common direction of a layer's weights and of their updates (TFC paper; measures ours).

The top right singular vector of W_l, seen as the map from what the layer reads, is the input
direction that it amplifies most. Power iteration starts where the last measured step ended.

Relative error of the strengths against an SVD in float64 (digits, batch 100, 5 to 9 layers of 64
and 256, 400 to 1,500 measured steps): below 1e-5 at step 0. Later, of W: median 1e-6, 95 % below
2e-4, largest 3e-3, and 5e-2 with momentum 0.9; of the update: median 2e-5, 95 % below 3e-3 and 3e-2
with Adam, largest 0.3, for a few steps after its direction jumps. Absolute error of the alignments:
median 2e-3, 95 % below 4e-2, largest 0.4, where the two largest singular values are nearly equal
and no direction is the top one.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from tfc_jax.metrics._rows import frobenius
from tfc_jax.power import TopDirection, start, top_directions, unit
from tfc_jax.schema import Column
from tfc_jax.snapshot import Snapshot, Values, on_layers

# Iterations of a run's first measured step and of every later one. Singular values of random
# matrices lie dense: from a random start, W of width 256 is off by 7e-3 after 50, 3e-6 after 200.
_FIRST, _LATER = 200, 3
# Share of the fixed start that is mixed into each start: a direction orthogonal to the new top one
# would never turn to it.
_FRESH = 1e-3

_OF = "over the sum of the squares of all: 1 is rank one"

COST = 0.56  # share of a bare step: bench/metrics.py

COLUMNS = (
    Column("common_strength_w", "layers", "1", f"Largest squared singular value of W_l {_OF}"),
    Column(
        "common_strength_dw",
        "layers",
        "1",
        f"Largest squared singular value of the update of W_l {_OF}",
    ),
    Column(
        "common_alignment",
        "layers",
        "1",
        "|cos| of the top right singular vectors (input side) of W_l and of its update",
    ),
    Column(
        "common_feature_alignment",
        "layers",
        "1",
        "|cos| of the top right singular vector (input side) of W_l and of the batch's mean input "
        "feature of layer l",
    ),
)


class State(NamedTuple):
    """Where the next power iteration starts.

    Attributes:
      weights, updates: input directions (fan_in,), per layer.
      iterations: () int32, how many the next look takes.
    """

    weights: tuple[Array, ...]
    updates: tuple[Array, ...]
    iterations: Array


def init(weights: tuple[Array, ...]) -> State:
    """Returns fixed random starts for W_1..W_L and their updates, and a long first iteration."""
    starts = tuple(start(weight) for weight in weights)
    return State(starts, starts, jnp.int32(_FIRST))


def update(snapshot: Snapshot, state: State) -> tuple[dict[str, Values], State]:
    """Strengths in (0, 1] and alignments in [0, 1] up to rounding, each (L,).

    NaN where a matrix or the mean feature is 0 or not finite. `common_feature_alignment` is defined
    on the dense layers. A look costs 14 fan_in fan_out multiplications per layer.
    """
    n_layers = len(snapshot.weights)
    matrices = (*snapshot.weights, *snapshot.updates)
    before = (*state.weights, *state.updates)
    starts = [old + _FRESH * start(m) for old, m in zip(before, matrices, strict=True)]
    tops = top_directions(matrices, starts, state.iterations)
    strength = (jnp.stack([top.value for top in tops]) / frobenius(matrices)) ** 2
    directions = [_direction(top) for top in tops]
    of_weights, of_updates = directions[:n_layers], directions[n_layers:]
    after = tuple(_kept(top, old) for top, old in zip(tops, before, strict=True))
    columns: dict[str, Values] = {
        "common_strength_w": strength[:n_layers],
        "common_strength_dw": strength[n_layers:],
        "common_alignment": _cosines(of_weights, of_updates),
    }
    if snapshot.dense:
        means = [_mean_feature(snapshot.below[layer - 1]) for layer in snapshot.dense]
        cosine_l = _cosines([of_weights[layer - 1] for layer in snapshot.dense], means)
        columns["common_feature_alignment"] = on_layers(cosine_l, snapshot.dense, n_layers)
    return columns, State(after[:n_layers], after[n_layers:], jnp.int32(_LATER))


def _kept(top: TopDirection, before: Array) -> Array:
    """A step without a direction (0 or NaN) leaves the start of the next one as it was."""
    return jnp.where(top.value > 0, top.inward, before)


def _direction(top: TopDirection) -> Array:
    return jnp.where(top.value > 0, top.inward, jnp.nan)


def _mean_feature(features_BxH: Array) -> Array:
    mean_H = unit(jnp.mean(features_BxH, axis=0))
    return jnp.where(jnp.any(mean_H != 0), mean_H, jnp.nan)


def _cosines(a: list[Array], b: list[Array]) -> Array:
    return jnp.stack([jnp.abs(jnp.sum(u * v)) for u, v in zip(a, b, strict=True)])
