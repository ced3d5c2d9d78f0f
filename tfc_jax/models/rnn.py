"""Recurrent network of Elman: h_t = act(W x_t + U h_{t-1}), image rows as steps.

Source: Elman, Finding structure in time (1990).
"""

from flax import nnx
from jax import Array

from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.models._layers import ACTIVATIONS, Scale, Shape, linear
from tfc_jax.models._recurrent import (
    Kind,
    Recurrent,
    dense_layers,
    euler_holds,
    kernel_paths,
    recurrent_misfits,
    recurrent_sizes,
)
from tfc_jax.sizes import Sizes

__all__ = ["EXAMPLE", "Model", "dense_layers", "euler_holds", "kernel_paths", "misfits", "sizes"]

KIND = Kind(gates=1, states=1, kept=2)
EXAMPLE = {
    "depth": 3,
    "width": 16,
    "activation": "tanh",
    "optimizer": "adam",
    "learning_rate": 0.01,
}


class Cell(nnx.RNNCellBase):
    """Flax's SimpleCell, but with the run's activation and a bias only where the run has one."""

    num_feature_axes = 1

    def __init__(self, run: Run, n_inputs: int, scale: Scale, rngs: nnx.Rngs) -> None:
        self.activation = ACTIVATIONS[run.activation]
        self.dense_i = linear(run.init, n_inputs, run.width, run.bias, scale, rngs)
        self.dense_h = linear(run.init, run.width, run.width, False, scale, rngs)

    def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:
        """Returns h_t (B, H) twice: the state and the output."""
        h_BxH = self.activation(self.dense_i(inputs) + self.dense_h(carry))
        return h_BxH, h_BxH


class Model(Recurrent):
    """Layers of `Cell`; arguments as `Recurrent` describes them."""

    def __init__(
        self, run: Run, input_shape: Shape, n_outputs: int, hyper: Hyper, rngs: nnx.Rngs
    ) -> None:
        super().__init__(KIND, Cell, run, input_shape, n_outputs, hyper, rngs)


def sizes(run: Run, input_shape: Shape, n_outputs: int) -> Sizes:
    """Returns parameter count and costs."""
    return recurrent_sizes(KIND, run, input_shape, n_outputs)


def misfits(run: Run, input_shape: Shape) -> list[str]:
    """Returns what keys and inputs do not fit this architecture, one sentence each."""
    return recurrent_misfits(run, input_shape)
