"""Residual perceptron: h_l = h_{l-1} + alpha V_l act(norm(W_l h_{l-1}))."""

from flax import nnx
from jax import Array

from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.models import _misfits, residual_simple
from tfc_jax.models._layers import Path, Shape, layer_paths, linear
from tfc_jax.models._sizes import Map, sizes_of
from tfc_jax.models.mlp import maps
from tfc_jax.sizes import Sizes

EXAMPLE = {"depth": 4, "width": 8, "learning_rate": 0.1}


class Model(residual_simple.Model):
    """As residual_simple, except that a matrix V_l mixes what a block adds.

    W_l are drawn by `init`, and V_l with variance 1/width, both times `init_scale`. With W_l of
    `he_normal`, relu and scale 1 the squared norm grows by 1 + alpha^2 a block and the cosine of
    two features follows (rho + alpha^2 f(rho)) / (1 + alpha^2): SCIENCE.md section 4.
    """

    def __init__(
        self, run: Run, input_shape: Shape, n_outputs: int, hyper: Hyper, rngs: nnx.Rngs
    ) -> None:
        super().__init__(run, input_shape, n_outputs, hyper, rngs)
        scale, width = hyper.init_scale, run.width
        self.mixers = nnx.List(
            [
                linear("lecun_normal", width, width, run.bias, scale, rngs)
                for _ in range(run.depth - 2)
            ]
        )

    def branch(self, block: int, out_BxH: Array) -> Array:
        """What block 0..L-3 adds, over alpha, given its activations."""
        mixed: Array = self.mixers[block](out_BxH)
        return mixed


def sizes(run: Run, input_shape: Shape, n_outputs: int) -> Sizes:
    """Returns parameter count and costs."""
    mixers = [Map(run.width, run.width, bias=run.bias)] * (run.depth - 2)
    every = [*maps(run, input_shape, n_outputs), *mixers]
    return sizes_of(every, input_shape, [run.width] * (run.depth - 1))


def kernel_paths(run: Run) -> tuple[Path, ...]:
    """Returns where W_1..W_L stand in the parameters; V_l stand in `mixers`."""
    return layer_paths(run)


def dense_layers(run: Run) -> tuple[int, ...]:
    """Returns the layers whose W_l reads the whole feature of the layer below: all of them."""
    return tuple(range(1, run.depth + 1))


def misfits(run: Run, input_shape: Shape) -> list[str]:
    """Returns what keys and inputs do not fit this architecture, one sentence each."""
    why = "has a residual block between its first layer and its last"
    return [*_misfits.depth_below(run, 3, why), *_misfits.structured(run)]


def euler_holds(run: Run) -> bool:
    """Never: a sum of features of different degrees breaks the identity of SCIENCE.md section 4."""
    return False
