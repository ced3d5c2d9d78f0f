"""How much the network's function bends, and whether it is constant (VAR; definitions ours)."""

import jax.numpy as jnp
from jax import Array

from tfc_jax.schema import Column
from tfc_jax.sizes import Sizes
from tfc_jax.snapshot import ProbeView

GRID = 48  # points along each axis of [-1, 1]^2
CONSTANT_CV, CONSTANT_STD = 1e-2, 1e-6

COLUMNS = (
    Column(
        "v3_raw",
        "probe",
        "outputs",
        "Mean absolute third difference of the outputs along both axes of a 48 x 48 grid on "
        "[-1, 1]^2 of the data set's inputs, not divided by its spacing; null unless these are "
        "two-dimensional",
    ),
    Column(
        "v3_std",
        "probe",
        "1",
        "v3_raw after each output is shifted and scaled to mean 0 and deviation 1 on the grid",
    ),
    Column(
        "output_std",
        "probe",
        "outputs",
        "Standard deviation of an output over the training probe, averaged over outputs",
    ),
    Column(
        "output_cv",
        "probe",
        "1",
        "output_std over the size of an output's mean on the probe, averaged over outputs",
    ),
    Column(
        "output_constant",
        "probe",
        "1",
        "1 where the outputs have collapsed to a constant: output_cv < 1e-2 or output_std < 1e-6",
    ),
)


def compute(view: ProbeView) -> dict[str, Array]:
    """Returns the columns, each (); NaN where an output is not finite.

    - v3_raw averages |f(x+3) - 3 f(x+2) + 3 f(x+1) - f(x)|, in grid steps, over the places of each
      axis, then over both axes and all outputs. Its rounding floor is some 4 eps |f|.
    - v3_std is NaN where an output is constant up to that floor.
    - With s_k the deviation and m_k the mean of output k over the probe: output_std is mean_k s_k,
      output_cv is mean_k s_k / mean_k |m_k| (infinite for means 0, NaN for outputs 0).

    Source: VAR paper (variability, collapse to constant); all definitions are ours.
    """
    columns = _spread(view.train_logits)
    if view.train_inputs.shape[1] == 2:
        output_GxK = view.outputs(_grid(view.train_inputs.dtype))
        columns |= {"v3_raw": _third(output_GxK), "v3_std": _third(_standardised(output_GxK))}
    return columns


def flops(n_samples: int, sizes: Sizes) -> float:
    """One forward pass of the probe and one of the grid (which other than 2-D inputs have not)."""
    return (n_samples + GRID**2) * sizes.flops_per_sample / 3


def _spread(output_NxK: Array) -> dict[str, Array]:
    largest, scaled_NxK = _scaled(output_NxK)
    std, mean = jnp.mean(jnp.std(scaled_NxK, axis=0)), jnp.mean(jnp.abs(jnp.mean(scaled_NxK, 0)))
    cv = std / mean
    is_constant = (cv < CONSTANT_CV) | (largest * std < CONSTANT_STD)
    return {
        "output_std": largest * std,
        "output_cv": cv,
        "output_constant": is_constant.astype(std.dtype) + 0 * largest,
    }


def _grid(dtype: jnp.dtype) -> Array:
    """Points of the grid (G, 2), the first coordinate slowest."""
    line = jnp.linspace(-1, 1, GRID, dtype=dtype)
    return jnp.stack(jnp.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)


def _third(output_GxK: Array) -> Array:
    output = output_GxK.reshape(GRID, GRID, -1)
    along = [jnp.mean(jnp.abs(jnp.diff(output, n=3, axis=axis))) for axis in (0, 1)]
    return (along[0] + along[1]) / 2


def _standardised(output_GxK: Array) -> Array:
    largest, scaled_GxK = _scaled(output_GxK)
    std_K = jnp.std(scaled_GxK, axis=0)
    # A third difference has coefficients 1, 3, 3, 1, each of an output off by eps/2 at least.
    floor_K = 4 * jnp.finfo(std_K.dtype).eps * jnp.max(jnp.abs(scaled_GxK), axis=0)
    std_K = jnp.where(std_K > floor_K, std_K, jnp.nan) + 0 * largest
    return (scaled_GxK - jnp.mean(scaled_GxK, axis=0)[None, :]) / std_K[None, :]


def _scaled(output: Array) -> tuple[Array, Array]:
    """The largest size, and the outputs divided by it, whose squares stay in float32's range."""
    largest = jnp.max(jnp.abs(output))
    largest = largest + 0 * largest  # NaN where it is not finite
    return largest, output / jnp.where(largest == 0, 1, largest)
