"""Plain multilayer perceptron: h_l = act(norm(W_l h_{l-1})), logits z = W_L h_{L-1}."""

import math
from itertools import pairwise

from flax import nnx
from jax import Array

from tfc_jax.hyper import Hyper
from tfc_jax.initializers import structured_bias, structured_kernel
from tfc_jax.keys import Run
from tfc_jax.models._layers import (
    ACTIVATIONS,
    HOMOGENEOUS,
    Path,
    Scale,
    Shape,
    Tap,
    apply_norm,
    layer_paths,
    linear,
    norms,
)
from tfc_jax.models._sizes import Map, sizes_of
from tfc_jax.sizes import Sizes

EXAMPLE = {"depth": 4, "width": 10, "learning_rate": 0.2}


class Model(nnx.Module):
    """`depth` linear layers; the norm, if any, stands between W_l h_{l-1} and the activation.

    Args:
      run: the static keys.
      input_shape: of one sample; it is flattened to D inputs.
      n_outputs: K logits, or the number of regression targets.
      hyper: traced keys, of which `init_scale` is the factor on the initial weights.
      rngs: stream `params` draws the initial weights, layer after layer.
    """

    def __init__(
        self, run: Run, input_shape: Shape, n_outputs: int, hyper: Hyper, rngs: nnx.Rngs
    ) -> None:
        sizes = layer_sizes(run, math.prod(input_shape), n_outputs)
        self.activation = ACTIVATIONS[run.activation]
        self.layers = nnx.List(
            [
                _linear(run, layer, fan_in, fan_out, hyper.init_scale, rngs)
                for layer, (fan_in, fan_out) in enumerate(sizes, start=1)
            ]
        )
        self.norms = norms(run.norm, [width for _, width in sizes[:-1]], rngs)

    def __call__(self, x: Array, tap: Tap, train: bool) -> Array:
        """Returns the logits (B, K); passes every W_l h_{l-1} and every feature through `tap`.

        Args:
          tap: `tap(name, value)` returns what the layer goes on with; names are `linear_<l>` and
            `feature_<l>`, l = 1..L; the logits are both, and pass once, as `linear_<L>`.
          train: batch norm uses the batch's statistics and updates its running ones.
        """
        hidden, (last,) = self.layers[:-1], self.layers[-1:]
        h_BxH = x.reshape(x.shape[0], -1)
        for layer, weights in enumerate(hidden, start=1):
            a_BxH = tap(f"linear_{layer}", weights(h_BxH))
            if self.norms:
                a_BxH = apply_norm(self.norms[layer - 1], a_BxH, train)
            h_BxH = tap(f"feature_{layer}", self.activation(a_BxH))
        return tap(f"linear_{len(self.layers)}", last(h_BxH))


def layer_sizes(run: Run, n_inputs: int, n_outputs: int) -> list[tuple[int, int]]:
    """Returns (fan_in, fan_out) of the L linear layers."""
    widths = [n_inputs, *[run.width] * (run.depth - 1), n_outputs]
    return list(pairwise(widths))


def maps(run: Run, input_shape: Shape, n_outputs: int) -> list[Map]:
    """Returns what W_1..W_L cost, with their biases and norms."""
    layers = layer_sizes(run, math.prod(input_shape), n_outputs)
    normed = run.norm != "none"
    hidden = [Map(*fans, bias=run.bias, norm=normed) for fans in layers[:-1]]
    return [*hidden, Map(*layers[-1], bias=run.bias)]


def sizes(run: Run, input_shape: Shape, n_outputs: int) -> Sizes:
    """Returns parameter count and costs."""
    units = [run.width] * (run.depth - 1)
    return sizes_of(maps(run, input_shape, n_outputs), input_shape, units)


def kernel_paths(run: Run) -> tuple[Path, ...]:
    """Returns where the weights of layers 1..L stand in the parameters."""
    return layer_paths(run)


def dense_layers(run: Run) -> tuple[int, ...]:
    """Returns the layers that read the whole feature of the layer below: all of them."""
    return tuple(range(1, run.depth + 1))


def misfits(run: Run, input_shape: Shape) -> list[str]:
    """Returns what keys and inputs do not fit this architecture, one sentence each."""
    if run.init == "structured" and run.fourier_features is not None:
        return [
            f"fourier_features: {run.fourier_features} came, but init structured needs the one "
            f"dimension itself. Leave fourier_features at null, or use another init."
        ]
    if run.init == "structured" and input_shape != (1,):
        return [
            f"init: structured needs one-dimensional inputs, but {run.dataset} has inputs of "
            f"shape {input_shape} here. Use another init or data set."
        ]
    return []


def euler_holds(run: Run) -> bool:
    """Whether <W_l, dL/dW_l> = mean_i <z_i, dl_i/dz_i> holds: SCIENCE.md section 4, Euler."""
    return run.activation in HOMOGENEOUS and not run.bias and run.norm == "none"


def _linear(
    run: Run, layer: int, fan_in: int, fan_out: int, scale: Scale, rngs: nnx.Rngs
) -> nnx.Linear:
    """Layer `layer` of L; `structured` is a scheme of the first layer, the others are He normal."""
    if run.init != "structured" or layer > 1:
        name = "he_normal" if run.init == "structured" else run.init
        return linear(name, fan_in, fan_out, run.bias, scale, rngs)
    gamma = run.structured_gamma or run.width / 4
    kernel, bias = structured_kernel(gamma, scale), structured_bias(gamma, scale)
    return nnx.Linear(fan_in, fan_out, kernel_init=kernel, bias_init=bias, rngs=rngs)
