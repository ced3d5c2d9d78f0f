"""The common direction of a layer's weights and of their updates (TFC paper; measures ours).

The top right singular vector of W_l, seen as the map from what the layer reads, is the input
direction that it amplifies most. Power iteration starts where the last measured step ended.

The more steps lie between two looks, the longer the second one iterates. Median / 95 % / largest
error against an SVD in float64 (digits, batch 100, 7 layers of 64, 2,000 steps, 400 at every 1): of
the strengths relative, of `common_alignment` absolute; plain SGD with learning rates 0.02 and 0.1.

| every | lr | common_strength_w | common_strength_dw | common_alignment |
|---|---|---|---|---|
| 1 | 0.02 | 1e-7 / 3e-7 / 6e-7 | 5e-7 / 4e-4 / 2e-1 | 1e-4 / 2e-3 / 6e-2 |
| 1 | 0.1 | 2e-5 / 2e-3 / 3e-2 | 3e-7 / 1e-3 / 5e-1 | 2e-3 / 6e-2 / 2e-1 |
| 10 | 0.02 | 2e-7 / 7e-6 / 5e-3 | 1e-7 / 3e-7 / 3e-3 | 4e-5 / 3e-3 / 1e-1 |
| 10 | 0.1 | 2e-7 / 1e-4 / 2e-2 | 1e-7 / 3e-7 / 7e-7 | 7e-5 / 1e-2 / 4e-1 |
| 50 | 0.02 | 1e-7 / 3e-7 / 6e-4 | 1e-7 / 3e-7 / 5e-7 | 5e-8 / 2e-5 / 4e-2 |
| 50 | 0.1 | 1e-7 / 2e-6 / 1e-2 | 1e-7 / 3e-7 / 5e-7 | 7e-8 / 2e-3 / 9e-2 |
| 500 | 0.02 | 1e-7 / 6e-6 / 3e-4 | 1e-7 / 3e-7 / 4e-7 | 4e-8 / 1e-3 / 1e-2 |
| 500 | 0.1 | 2e-7 / 2e-6 / 4e-3 | 1e-7 / 3e-7 / 4e-7 | 5e-8 / 1e-3 / 9e-2 |

Other runs (lr 0.5, momentum 0.9, Adam) differ most at every 1: 95 % below 8e-3 (w), 2e-2 (dw) and
0.2 (alignment), and at every 10 below 5e-5, 4e-7 and 8e-2. The largest errors stand where the two
largest singular values are nearly equal, and no direction is the top one, or have just changed
places; at every 1 also for a few steps after the update's direction jumps.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from tfc_jax.metrics._rows import frobenius
from tfc_jax.power import TopDirection, start, top_directions, unit
from tfc_jax.schema import Column
from tfc_jax.snapshot import Snapshot, Values, on_layers

# Iterations per step since the last look, and at most. Singular values of random matrices lie
# dense: from a random start, W of width 256 is off by 7e-3 after 50, 3e-6 after 200.
_PER_STEP, _MOST = 3, 200
# Share of the fixed start that is mixed into each start: a direction orthogonal to the new top one
# would never turn to it.
_FRESH = 1e-3

_OF = "over the sum of the squares of all: 1 is rank one"

COST = 0.28  # share of a bare step: bench/metrics.py

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
      step: () int32, of the last look.
    """

    weights: tuple[Array, ...]
    updates: tuple[Array, ...]
    step: Array


def init(weights: tuple[Array, ...]) -> State:
    """Fixed random starts for W_1..W_L and their updates, as if long ago: a first look is long."""
    starts = tuple(start(weight) for weight in weights)
    return State(starts, starts, jnp.int32(-_MOST))


def update(snapshot: Snapshot, state: State) -> tuple[dict[str, Values], State]:
    """Strengths in (0, 1] and alignments in [0, 1] up to rounding, each (L,).

    NaN where a matrix or the mean feature is 0 or not finite. `common_feature_alignment` is defined
    on the dense layers. A look costs (4 i + 2) fan_in fan_out multiplications per layer, where i is
    3 per step since the last look, at most 200; the first takes 200.
    """
    n_layers = len(snapshot.weights)
    matrices = (*snapshot.weights, *snapshot.updates)
    before = (*state.weights, *state.updates)
    starts = [old + _FRESH * start(m) for old, m in zip(before, matrices, strict=True)]
    iterations = jnp.clip(_PER_STEP * (snapshot.step - state.step), _PER_STEP, _MOST)
    tops = top_directions(matrices, starts, iterations)
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
    return columns, State(after[:n_layers], after[n_layers:], snapshot.step)


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
