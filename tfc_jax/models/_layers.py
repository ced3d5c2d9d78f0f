"""What architectures are made of: activations, linear maps, convolutions, norms, pooling."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from tfc_jax.initializers import Dtype, Initializer, bias_init, kernel_init
from tfc_jax.keys import Run
from tfc_jax.models._product import dot_general

Tap = Callable[[str, Array], Array]
Shape = tuple[int, ...]
Path = tuple[str | int, ...]
Scale = Array | float
Norm = nnx.BatchNorm | nnx.LayerNorm

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    # Under a `jit` the derivative of its custom rule is traced once for all layers of one shape.
    "relu": jax.jit(jax.nn.relu),
    "leaky_relu": jax.nn.leaky_relu,  # slope 0.01
    "tanh": jnp.tanh,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "abs": jnp.abs,
    "identity": lambda x: x,
}
HOMOGENEOUS = frozenset({"relu", "leaky_relu", "abs", "identity"})


def linear(
    init: str,
    fan_in: int,
    fan_out: int,
    bias: bool,
    scale: Scale,
    rngs: nnx.Rngs,
    *,
    n_maps: int = 1,
) -> nnx.Linear:
    """A linear map, its weights by the scheme `init` times `scale`; of `n_maps` equal parts."""
    return nnx.Linear(
        fan_in,
        fan_out,
        use_bias=bias,
        kernel_init=side_by_side(init, scale, n_maps),
        bias_init=bias_init(init, scale, fan_in),
        dot_general=dot_general,
        rngs=rngs,
    )


def side_by_side(init: str, scale: Scale, n_maps: int) -> Initializer:
    """The scheme for `n_maps` matrices in one array, each drawn as if it were alone.

    The gates of a cell, or queries, keys and values, are maps of their own: drawn as one matrix,
    they would have the fan-out of all together, and less variance (ours; libraries differ).
    """
    draw = kernel_init(init, scale)

    def draw_all(key: Array, shape: Shape, dtype: Dtype = jnp.float32) -> Array:
        each = (*shape[:-1], shape[-1] // n_maps)
        keys = jax.random.split(key, n_maps)
        return jnp.concatenate([draw(key, each, dtype) for key in keys], axis=-1)

    return draw if n_maps == 1 else draw_all


def conv(
    init: str,
    side: int,
    channels: tuple[int, int],
    bias: bool,
    scale: Scale,
    rngs: nnx.Rngs,
    *,
    stride: int = 1,
) -> nnx.Conv:
    """A side x side convolution, side odd, from the first to the second number of channels.

    Zeros pad both borders alike, so stride 1 keeps the shape and stride 2 halves it, rounded up.
    The fans of its weights count the window.
    """
    inputs, outputs = channels
    return nnx.Conv(
        inputs,
        outputs,
        (side, side),
        strides=stride,
        padding=side // 2,
        use_bias=bias,
        kernel_init=kernel_init(init, scale),
        bias_init=bias_init(init, scale, side**2 * inputs),
        rngs=rngs,
    )


def norm(kind: str, width: int, rngs: nnx.Rngs) -> Norm:
    """A norm over the last axis (`layer`), or over all others (`batch`), of `width` entries."""
    if kind == "batch":
        # Running statistics forget in 10 steps. The fast variance E[x^2] - E[x]^2 would drown in
        # rounding where features have collapsed: there the mean is far larger than the spread.
        return nnx.BatchNorm(width, momentum=0.9, use_fast_variance=False, rngs=rngs)
    return nnx.LayerNorm(width, use_fast_variance=False, rngs=rngs)


def norms(kind: str, widths: Iterable[int], rngs: nnx.Rngs) -> nnx.List:
    """One norm for each width; none at all if `kind` is `none`."""
    return nnx.List([norm(kind, width, rngs) for width in widths if kind != "none"])


def apply_norm(one: Norm, a: Array, train: bool) -> Array:
    """Normalises; batch norm by the batch and noting it if `train`, else by what it has noted."""
    if isinstance(one, nnx.BatchNorm):
        return one(a, use_running_average=not train)
    return one(a)


def layer_paths(run: Run) -> tuple[Path, ...]:
    """Where W_1..W_L stand in a model that holds them in its list `layers`."""
    return tuple(("layers", i, "kernel") for i in range(run.depth))


def max_pool(h_BxHxWxC: Array) -> Array:
    """Maximum over 2x2 windows side by side; an odd last row or column is dropped."""
    # Pairwise maxima: the gradient of a windowed reduction takes 7 times as long on a CPU.
    height, width = (side // 2 * 2 for side in h_BxHxWxC.shape[1:3])
    h = h_BxHxWxC[:, :height, :width]
    h = jnp.maximum(h[:, ::2], h[:, 1::2])
    return jnp.maximum(h[:, :, ::2], h[:, :, 1::2])
