"""Gated recurrent unit, image rows as steps; s is the logistic function, * goes by entries:

r, z = s(W_. x_t + b_. + U_. h_{t-1}), n = tanh(W_n x_t + b_n + r * (U_n h_{t-1})),
h_t = (1 - z) * n + z * h_{t-1}; the kernel holds W_r, W_z, W_n.

Source: Cho et al. (arXiv 1406.1078); that r acts after U_n makes all U_. one product (Flax).
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

KIND = Kind(gates=3, states=1, kept=5)
EXAMPLE = {
    "depth": 3,
    "width": 12,
    "activation": "tanh",
    "bias": True,
    "optimizer": "adam",
    "learning_rate": 0.01,
}


class Model(Recurrent):
    """Layers of Flax's GRUCell; arguments as `Recurrent` describes them."""

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


def _cell(run: Run, n_inputs: int, scale: Scale, rngs: nnx.Rngs) -> nnx.GRUCell:
    draw = side_by_side(run.init, scale, KIND.gates)
    return nnx.GRUCell(
        n_inputs,
        run.width,
        kernel_init=draw,
        recurrent_kernel_init=draw,
        bias_init=bias_init(run.init, scale, n_inputs),
        rngs=rngs,
    )
