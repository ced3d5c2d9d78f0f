"""Linear maps whose initial weights follow the run's keys; several may stand in one kernel."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from tfc_jax.hyper import Hyper
from tfc_jax.initializers import Dtype, Initializer, Shape, bias_init, kernel_init
from tfc_jax.keys import Run


def linear(
    run: Run, fan_in: int, fan_out: int, hyper: Hyper, rngs: nnx.Rngs, n_maps: int = 1
) -> nnx.Linear:
    """Returns a map of `fan_in` numbers onto `fan_out`, of which `n_maps` equal parts are maps."""
    return nnx.Linear(
        fan_in,
        fan_out,
        use_bias=run.bias,
        kernel_init=kernels_init(run, hyper, n_maps),
        bias_init=bias_init(run.init, hyper.init_scale, fan_in),
        rngs=rngs,
    )


def kernels_init(run: Run, hyper: Hyper, n_maps: int = 1) -> Initializer:
    """Returns the run's scheme for `n_maps` matrices in one array, each drawn as if it were alone.

    The gates of a cell, or queries, keys and values, are maps of their own: drawn as one matrix,
    they would have the fan-out of all together, and less variance (ours; libraries differ).
    """
    draw = kernel_init(run.init, hyper.init_scale)

    def draw_all(key: Array, shape: Shape, dtype: Dtype = jnp.float32) -> Array:
        each = (*shape[:-1], shape[-1] // n_maps)
        keys = jax.random.split(key, n_maps)
        return jnp.concatenate([draw(key, each, dtype) for key in keys], axis=-1)

    return draw_all
