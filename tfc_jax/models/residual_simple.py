"""Residual perceptron without a second matrix: h_l = h_{l-1} + alpha act(norm(W_l h_{l-1}))."""

import math

from flax import nnx
from jax import Array

from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.models import _misfits
from tfc_jax.models._layers import (
    ACTIVATIONS,
    Shape,
    Tap,
    apply_norm,
    linear,
    norms,
)
from tfc_jax.models._sizes import sizes_of
from tfc_jax.models.mlp import dense_layers, kernel_paths, layer_sizes, maps
from tfc_jax.sizes import Sizes

__all__ = ["EXAMPLE", "Model", "dense_layers", "euler_holds", "kernel_paths", "misfits", "sizes"]

EXAMPLE = {"depth": 4, "width": 8, "learning_rate": 0.1}


class Model(nnx.Module):
    """h_1 = act(norm(W_1 x)), then `depth` - 2 blocks, and the logits z = W_L h_{L-1}.

    A layer's feature is the block's output. With activations that are never negative the mean
    coordinate grows from block to block, so cosines rise faster than in an mlp: SCIENCE.md
    section 4.

    Args:
      run: the static keys.
      input_shape: of one sample; it is flattened to D inputs.
      n_outputs: K logits, or the number of regression targets.
      hyper: traced keys, of which `init_scale` is the factor on the initial weights and
        `residual_alpha` the factor alpha on every branch.
      rngs: stream `params` draws the initial weights, layer after layer.
    """

    def __init__(
        self, run: Run, input_shape: Shape, n_outputs: int, hyper: Hyper, rngs: nnx.Rngs
    ) -> None:
        self.activation = ACTIVATIONS[run.activation]
        # A state that is not trained, since runs of one program differ in it.
        self.alpha = nnx.Variable(hyper.residual_alpha)
        self.layers = nnx.List(
            [
                linear(run.init, fan_in, fan_out, run.bias, hyper.init_scale, rngs)
                for fan_in, fan_out in layer_sizes(run, math.prod(input_shape), n_outputs)
            ]
        )
        self.norms = norms(run.norm, [run.width] * (run.depth - 1), rngs)

    def __call__(self, x: Array, tap: Tap, train: bool) -> Array:
        """Returns the logits (B, K); passes W_l h_{l-1} and every block's output through `tap`."""
        hidden, (last,) = self.layers[:-1], self.layers[-1:]
        h_BxH = x.reshape(x.shape[0], -1)
        for layer, weights in enumerate(hidden, start=1):
            a_BxH = tap(f"linear_{layer}", weights(h_BxH))
            if self.norms:
                a_BxH = apply_norm(self.norms[layer - 1], a_BxH, train)
            out_BxH = self.activation(a_BxH)
            if layer > 1:
                out_BxH = h_BxH + self.alpha[...] * self.branch(layer - 2, out_BxH)
            h_BxH = tap(f"feature_{layer}", out_BxH)
        return tap(f"linear_{len(self.layers)}", last(h_BxH))

    def branch(self, block: int, out_BxH: Array) -> Array:
        """What block 0..L-3 adds, over alpha, given its activations."""
        return out_BxH


def sizes(run: Run, input_shape: Shape, n_outputs: int) -> Sizes:
    """Returns parameter count and costs."""
    units = [run.width] * (run.depth - 1)
    return sizes_of(maps(run, input_shape, n_outputs), input_shape, units)


def misfits(run: Run, input_shape: Shape) -> list[str]:
    """Returns what keys and inputs do not fit this architecture, one sentence each."""
    why = "has a residual block between its first layer and its last"
    return [*_misfits.depth_below(run, 3, why), *_misfits.structured(run)]


def euler_holds(run: Run) -> bool:
    """Never: a sum of features of different degrees breaks the identity of SCIENCE.md section 4."""
    return False
