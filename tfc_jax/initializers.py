"""Initial weights: untruncated, one scale, directions fixed by the key alone.

`jax.nn.initializers.*_normal` draw from a truncated normal, which changes the laws that SCIENCE.md
tests against; the normal schemes here are plain Gaussians.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Shape = tuple[int, ...]
Dtype = Any
Initializer = Callable[[Array, Shape, Dtype], Array]


def _fans(shape: Shape) -> tuple[int, int]:
    """Fan-in and fan-out of a kernel whose last two axes are (inputs, outputs)."""
    receptive = 1
    for size in shape[:-2]:
        receptive *= size
    return shape[-2] * receptive, shape[-1] * receptive


def _normal(variance: Callable[[int, int], float]) -> Initializer:
    def draw(key: Array, shape: Shape, dtype: Dtype) -> Array:
        # The numbers are those of a draw in this shape; for a convolution that would compile 5
        # times as long.
        z = jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)
        return variance(*_fans(shape)) ** 0.5 * z

    return draw


def _uniform(variance: Callable[[int, int], float]) -> Initializer:
    def draw(key: Array, shape: Shape, dtype: Dtype) -> Array:
        bound = (3 * variance(*_fans(shape))) ** 0.5
        flat = jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound)
        return flat.reshape(shape)

    return draw


KERNELS: dict[str, Initializer] = {
    "xavier_normal": _normal(lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    "xavier_uniform": _uniform(lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    "he_normal": _normal(lambda fan_in, fan_out: 2 / fan_in),
    "lecun_normal": _normal(lambda fan_in, fan_out: 1 / fan_in),
    "orthogonal": jax.nn.initializers.orthogonal(),
    # Kaiming uniform with a = sqrt(5), PyTorch's nn.Linear: U(+-1/sqrt(fan_in)).
    "torch_default": _uniform(lambda fan_in, fan_out: 1 / (3 * fan_in)),
}


def kernel_init(name: str, scale: Array | float) -> Initializer:
    """Returns the named scheme times `scale` (a number or a traced scalar)."""

    def draw(key: Array, shape: Shape, dtype: Dtype = jnp.float32) -> Array:
        return scale * KERNELS[name](key, shape, dtype)

    return draw


def bias_init(name: str, scale: Array | float, fan_in: int) -> Initializer:
    """Returns zeros, except for `torch_default`: U(+-1/sqrt(fan_in)) times `scale`."""
    bound = fan_in**-0.5 if name == "torch_default" else 0.0

    def draw(key: Array, shape: Shape, dtype: Dtype = jnp.float32) -> Array:
        if not bound:
            return jnp.zeros(shape, dtype)
        return scale * jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def structured_kernel(gamma: float, scale: Array | float) -> Initializer:
    """First layer of evenly spaced ramps on a one-dimensional input: weights +-gamma, alternating.

    Together with `structured_bias` unit j computes act(+-gamma (x - c_j)), the c_j evenly spaced on
    [-1, 1]. Source: RANK (arXiv 2412.05144); spacing and alternation are ours.
    """

    def draw(key: Array, shape: Shape, dtype: Dtype = jnp.float32) -> Array:
        return scale * gamma * _signs(shape[-1], dtype)[None, :]

    return draw


def structured_bias(gamma: float, scale: Array | float) -> Initializer:
    """The offsets -+gamma c_j that belong to `structured_kernel`."""

    def draw(key: Array, shape: Shape, dtype: Dtype = jnp.float32) -> Array:
        centres = jnp.linspace(-1.0, 1.0, shape[-1], dtype=dtype)
        return -scale * gamma * _signs(shape[-1], dtype) * centres

    return draw


def _signs(width: int, dtype: Dtype) -> Array:
    return jnp.where(jnp.arange(width) % 2 == 0, 1.0, -1.0).astype(dtype)
