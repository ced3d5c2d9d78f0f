"""Plain multilayer perceptron: h_l = act(norm(W_l h_{l-1})), logits z = W_L h_{L-1}."""

import math
from collections.abc import Callable
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from tfc_jax.hyper import Hyper
from tfc_jax.initializers import bias_init, kernel_init, structured_bias, structured_kernel
from tfc_jax.keys import Run
from tfc_jax.sizes import Sizes

Tap = Callable[[str, Array], Array]
Shape = tuple[int, ...]
Path = tuple[str | int, ...]
EXAMPLE = {"depth": 4, "width": 5}

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,  # slope 0.01
    "tanh": jnp.tanh,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "abs": jnp.abs,
    "identity": lambda x: x,
}
HOMOGENEOUS = frozenset({"relu", "leaky_relu", "abs", "identity"})


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
        self.norms = nnx.List(
            [_norm(run.norm, width, rngs) for _, width in sizes[:-1] if run.norm != "none"]
        )

    def __call__(self, x: Array, tap: Tap, train: bool) -> Array:
        """Returns the logits (B, K); passes every W_l h_{l-1} and every feature through `tap`.

        Args:
          tap: `tap(name, value)` returns what the layer goes on with; names are `linear_<l>` and
            `feature_<l>`, l = 1..L; the logits are both, and pass once, as `linear_<L>`.
          train: batch norm uses the batch's statistics and updates its running ones.
        """
        hidden, (last,) = self.layers[:-1], self.layers[-1:]
        h_BxH = x.reshape(x.shape[0], -1)
        for layer, linear in enumerate(hidden, start=1):
            a_BxH = tap(f"linear_{layer}", linear(h_BxH))
            if self.norms:
                a_BxH = _apply_norm(self.norms[layer - 1], a_BxH, train)
            h_BxH = tap(f"feature_{layer}", self.activation(a_BxH))
        return tap(f"linear_{len(self.layers)}", last(h_BxH))


def layer_sizes(run: Run, n_inputs: int, n_outputs: int) -> list[tuple[int, int]]:
    """Returns (fan_in, fan_out) of the L linear layers."""
    widths = [n_inputs, *[run.width] * (run.depth - 1), n_outputs]
    return list(pairwise(widths))


def sizes(run: Run, input_shape: Shape, n_outputs: int) -> Sizes:
    """Returns parameter count and costs; the first layer has no input gradient."""
    n_inputs = math.prod(input_shape)
    layers = layer_sizes(run, n_inputs, n_outputs)
    weights = [fan_in * fan_out for fan_in, fan_out in layers]
    n_hidden = sum(fan_out for _, fan_out in layers[:-1])
    biases = sum(fan_out for _, fan_out in layers) if run.bias else 0
    affine = 2 * n_hidden if run.norm != "none" else 0
    return Sizes(
        n_params=sum(weights) + biases + affine,
        n_units=n_hidden,
        flops_per_sample=6.0 * sum(weights) - 2.0 * weights[0],
        activations_per_sample=n_inputs + n_hidden + n_outputs,
    )


def kernel_paths(run: Run) -> tuple[Path, ...]:
    """Returns where the weights of layers 1..L stand in the parameters."""
    return tuple(("layers", i, "kernel") for i in range(run.depth))


def dense_layers(run: Run) -> tuple[int, ...]:
    """Returns the layers that read the whole feature of the layer below: all of them."""
    return tuple(range(1, run.depth + 1))


def misfits(run: Run, input_shape: Shape) -> list[str]:
    """Returns what keys and inputs do not fit this architecture, one sentence each."""
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
    run: Run, layer: int, fan_in: int, fan_out: int, scale: Array | float, rngs: nnx.Rngs
) -> nnx.Linear:
    """Layer `layer` of L; `structured` is a scheme of the first layer, the others are He normal."""
    name = "he_normal" if run.init == "structured" else run.init
    kernel, bias = kernel_init(name, scale), bias_init(name, scale, fan_in)
    if run.init == "structured" and layer == 1:
        gamma = run.structured_gamma or run.width / 4
        kernel, bias = structured_kernel(gamma, scale), structured_bias(gamma, scale)
    return nnx.Linear(
        fan_in, fan_out, use_bias=run.bias, kernel_init=kernel, bias_init=bias, rngs=rngs
    )


def _norm(kind: str, width: int, rngs: nnx.Rngs) -> nnx.BatchNorm | nnx.LayerNorm:
    if kind == "batch":
        # Running statistics forget in 10 steps. The fast variance E[x^2] - E[x]^2 would drown in
        # rounding where features have collapsed: there the mean is far larger than the spread.
        return nnx.BatchNorm(width, momentum=0.9, use_fast_variance=False, rngs=rngs)
    return nnx.LayerNorm(width, use_fast_variance=False, rngs=rngs)


def _apply_norm(norm: nnx.Module, a_BxH: Array, train: bool) -> Array:
    if isinstance(norm, nnx.BatchNorm):
        return norm(a_BxH, use_running_average=not train)
    return norm(a_BxH)
