"""What recurrent networks share: image rows as steps, stacked layers, a head on the last step."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx
from jax import Array

from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.models import _misfits
from tfc_jax.models._layers import Path, Scale, Shape, Tap, linear
from tfc_jax.sizes import Sizes

Cell = Callable[[Run, int, Scale, nnx.Rngs], nnx.RNNCellBase]


@dataclass(frozen=True)
class Kind:
    """What tells one kind of cell from another.

    Attributes:
      gates: maps of the input, side by side in one kernel.
      states: arrays (B, H) that a cell hands from one step to the next.
      kept: floats of one unit and step that the backward pass needs.
    """

    gates: int
    states: int
    kept: int


class Recurrent(nnx.Module):
    """`depth` - 1 layers of `width` units, each a sequence onto a sequence; then a linear map.

    The rows of an image, from top to bottom, are the T steps; every state starts from zeros.

    Args:
      kind, cell: of all layers; `cell(run, n_inputs, scale, rngs)` makes one, with Flax's names
        `dense_i` and `dense_h` for the maps of the input and of the state.
      input_shape: (T, W, C): T steps of W C inputs.
      hyper: traced keys, of which `init_scale` is the factor on the initial weights.
      rngs: stream `params` draws the initial weights, layer after layer.
    """

    def __init__(
        self,
        kind: Kind,
        cell: Cell,
        run: Run,
        input_shape: Shape,
        n_outputs: int,
        hyper: Hyper,
        rngs: nnx.Rngs,
    ) -> None:
        self.width, self.n_states, scale = run.width, kind.states, hyper.init_scale
        self.layers = nnx.List(
            [
                nnx.RNN(cell(run, n_inputs, scale, rngs), rngs=False)
                for n_inputs in _fan_ins(run, input_shape)
            ]
        )
        self.head = linear(run.init, run.width, n_outputs, run.bias, scale, rngs)

    def __call__(self, x: Array, tap: Tap, train: bool) -> Array:
        """Returns the logits (B, K); passes every layer's states (B, T, H) and them through `tap`.

        Args:
          tap: `tap(name, value)` returns what the layer goes on with; names are `feature_<l>`,
            l = 1..L-1, and `linear_<L>`.
          train: makes no difference here.
        """
        h_BxTxH = x.reshape(*x.shape[:2], -1)
        for layer, rnn in enumerate(self.layers, start=1):
            h_BxTxH = tap(f"feature_{layer}", rnn(h_BxTxH, initial_carry=self._zeros(h_BxTxH)))
        return tap(f"linear_{len(self.layers) + 1}", self.head(h_BxTxH[:, -1]))

    def _zeros(self, x_BxTxD: Array) -> Array | tuple[Array, ...]:
        zeros = jnp.zeros((x_BxTxD.shape[0], self.width), x_BxTxD.dtype)
        return zeros if self.n_states == 1 else (zeros,) * self.n_states


def kernel_paths(run: Run) -> tuple[Path, ...]:
    """Returns where the weights of layers 1..L stand: those of the input, all gates together."""
    hidden = (("layers", i, "cell", "dense_i", "kernel") for i in range(run.depth - 1))
    return (*hidden, ("head", "kernel"))


def dense_layers(run: Run) -> tuple[int, ...]:
    """Returns the layers that read the whole feature below: none, the head reads the last step."""
    return ()


def euler_holds(run: Run) -> bool:
    """Whether <W_l, dL/dW_l> = mean_i <z_i, dl_i/dz_i> holds: no layer is linear in its W_l."""
    return False


def recurrent_sizes(kind: Kind, run: Run, input_shape: Shape, n_outputs: int) -> Sizes:
    """Returns parameter count and costs; the first layer has no input gradient."""
    fan_ins, n_steps, width = _fan_ins(run, input_shape), input_shape[0], run.width
    weights = sum((fan_in + width) * kind.gates * width for fan_in in fan_ins)
    biases = len(fan_ins) * kind.gates * width + n_outputs if run.bias else 0
    first, head = fan_ins[0] * kind.gates * width, width * n_outputs
    n_units = len(fan_ins) * n_steps * width
    return Sizes(
        n_params=weights + head + biases,
        n_units=n_units,
        flops_per_sample=n_steps * (6.0 * weights - 2.0 * first) + 6.0 * head,
        activations_per_sample=math.prod(input_shape) + kind.kept * n_units + n_outputs,
    )


def recurrent_misfits(run: Run, input_shape: Shape) -> list[str]:
    """Returns what does not fit any recurrent network, one sentence each."""
    found = [
        *_misfits.flat_inputs(run, input_shape),
        *_misfits.depth_below(run, 2, "has a recurrent layer below its linear layer"),
        *_misfits.structured(run),
    ]
    if run.norm != "none":
        found.append(
            f"norm: {run.norm} came, but {run.architecture} has no norm: write norm: none."
        )
    return found


def tanh_misfits(run: Run) -> list[str]:
    """Returns which keys do not fit cells whose tanh and bias are built in."""
    name, found = run.architecture, []
    if run.activation != "tanh":
        found.append(
            f"activation: {run.activation} came, but {name} has tanh built in: "
            "write activation: tanh."
        )
    if not run.bias:
        found.append(f"bias: false came, but {name} has a bias built in: write bias: true.")
    return found


def _fan_ins(run: Run, input_shape: Shape) -> list[int]:
    """Returns what each recurrent layer reads at a step."""
    return [math.prod(input_shape[1:]), *[run.width] * (run.depth - 2)]
