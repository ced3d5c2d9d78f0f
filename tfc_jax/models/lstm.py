"""Long short-term memory, image rows as steps; s is the logistic function, * goes by entries:

i, f, o = s(W_. x_t + U_. h_{t-1} + b_.), g = tanh(W_g x_t + U_g h_{t-1} + b_g),
c_t = f * c_{t-1} + i * g, h_t = o * tanh(c_t); the kernel holds W_i, W_f, W_g, W_o.

Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000).
"""

from flax import nnx

from tfc_jax.hyper import Hyper
from tfc_jax.initializers import bias_init
from tfc_jax.keys import Run
from tfc_jax.models._layers import Scale, Shape, side_by_side
from tfc_jax.models._recurrent import (
    Kind,
    Recurrent,
    dense_layers,
    euler_holds,
    kernel_paths,
    recurrent_misfits,
    recurrent_sizes,
    tanh_misfits,
)
from tfc_jax.sizes import Sizes

__all__ = ["EXAMPLE", "Model", "dense_layers", "euler_holds", "kernel_paths", "misfits", "sizes"]

KIND = Kind(gates=4, states=2, kept=7)
EXAMPLE = {
    "depth": 3,
    "width": 12,
    "activation": "tanh",
    "bias": True,
    "optimizer": "adam",
    "learning_rate": 0.01,
}


class Model(Recurrent):
    """Layers of Flax's OptimizedLSTMCell; arguments as `Recurrent` describes them."""

    def __init__(
        self, run: Run, input_shape: Shape, n_outputs: int, hyper: Hyper, rngs: nnx.Rngs
    ) -> None:
        super().__init__(KIND, _cell, run, input_shape, n_outputs, hyper, rngs)


def sizes(run: Run, input_shape: Shape, n_outputs: int) -> Sizes:
    """Returns parameter count and costs."""
    return recurrent_sizes(KIND, run, input_shape, n_outputs)


def misfits(run: Run, input_shape: Shape) -> list[str]:
    """Returns what keys and inputs do not fit this architecture, one sentence each."""
    return recurrent_misfits(run, input_shape) + tanh_misfits(run)


def _cell(run: Run, n_inputs: int, scale: Scale, rngs: nnx.Rngs) -> nnx.OptimizedLSTMCell:
    draw = side_by_side(run.init, scale, KIND.gates)
    return nnx.OptimizedLSTMCell(
        n_inputs,
        run.width,
        kernel_init=draw,
        recurrent_kernel_init=draw,
        bias_init=bias_init(run.init, scale, run.width),
        rngs=rngs,
    )
