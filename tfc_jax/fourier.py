"""Fourier features of the inputs: sines and cosines in place of coordinates."""

import jax.numpy as jnp
from jax import Array

from tfc_jax.draws import normal

_SEED = 5


def lift(x_BxD: Array, n_frequencies: int) -> Array:
    """Returns sin(pi b_k x) and cos(pi b_k x), k = 1..m: (B, 2m).

    One-dimensional inputs get the frequencies b_k = k, of period 2/k on [-1, 1]. Others get m fixed
    random directions b_k with independent standard normal entries, the same for every run.

    Source: Tancik et al., 2020 (random directions); the choice for one dimension is ours.
    """
    phase_Bxm = jnp.pi * jnp.matmul(x_BxD, _frequencies(x_BxD.shape[1], n_frequencies, x_BxD.dtype))
    return jnp.concatenate([jnp.sin(phase_Bxm), jnp.cos(phase_Bxm)], axis=1)


def _frequencies(n_inputs: int, n_frequencies: int, dtype: jnp.dtype) -> Array:
    if n_inputs == 1:
        return jnp.arange(1, n_frequencies + 1, dtype=dtype)[None, :]
    return jnp.asarray(normal(_SEED, (n_inputs, n_frequencies)), dtype)
