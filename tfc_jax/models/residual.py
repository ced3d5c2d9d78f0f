"""Residual perceptron: h_l = h_{l-1} + alpha V_l act(norm(W_l h_{l-1}))."""

from flax import nnx
from jax import Array

from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.models import residual_simple
from tfc_jax.models._layers import Shape, linear
from tfc_jax.models._sizes import Map, sizes_of
from tfc_jax.models.mlp import maps
from tfc_jax.models.residual_simple import dense_layers, euler_holds, kernel_paths, misfits
from tfc_jax.sizes import Sizes

__all__ = ["EXAMPLE", "Model", "dense_layers", "euler_holds", "kernel_paths", "misfits", "sizes"]

EXAMPLE = {"depth": 4, "width": 8, "learning_rate": 0.1}


class Model(residual_simple.Model):
    """As residual_simple, except that a matrix V_l mixes what a block adds.

    W_l are drawn by `init`, and V_l with variance 1/width, both times `init_scale` (ours). With W_l
    of `he_normal`, relu and scale 1 the squared norm grows by 1 + alpha^2 a block and the cosine of
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
