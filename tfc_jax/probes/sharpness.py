"""Largest curvature of the training loss, by Hessian-vector products (SCIENCE.md section 2)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from tfc_jax.power import unit
from tfc_jax.schema import Column
from tfc_jax.sizes import Sizes
from tfc_jax.snapshot import ProbeView

ITERATIONS = 25  # of each of the two runs
_SEED = 0

COLUMNS = (
    Column(
        "sharpness",
        "probe",
        "loss",
        "Largest eigenvalue of the Hessian of the training probe's loss in all parameters",
    ),
    Column(
        "sharpness_residual",
        "probe",
        "1",
        "|H v - sharpness v| / |sharpness| at the unit vector v reached: relative distance to "
        "the nearest eigenvalue, at most",
    ),
)

Product = Callable[[Array], Array]


class Ritz(NamedTuple):
    """What a unit vector v says of a symmetric H.

    Attributes:
      value: () v^T H v, from which an eigenvalue is at most |residual| away.
      length: () |H v|, at most the largest size of an eigenvalue.
      residual: () |H v - value v|.
    """

    value: Array
    length: Array
    residual: Array


def compute(view: ProbeView) -> dict[str, Array]:
    """Returns the columns, each (); the Hessian is that of the data loss in evaluation mode.

    Error: sharpness is at most the largest eigenvalue, and falls short of it by
    residual^2 sharpness^2 / gap to the next one where v is near its eigenvector.
    """
    flat, restored = ravel_pytree(view.params)
    gradient = jax.grad(lambda numbers: view.train_loss(restored(numbers)))
    _, pullback = jax.vjp(gradient, flat)  # v -> v^T H, and H is symmetric
    value, residual = largest_eigenvalue(lambda v: pullback(v)[0], flat)
    tiny = jnp.finfo(flat.dtype).tiny
    return {
        "sharpness": value,
        "sharpness_residual": residual / jnp.maximum(jnp.abs(value), tiny),
    }


def flops(n_samples: int, sizes: Sizes) -> float:
    """Two runs and two looks, whose products cost twice a gradient each."""
    products = 2 * (ITERATIONS + 1)
    return products * (2 * n_samples * sizes.flops_per_sample + 8 * sizes.n_params)


def largest_eigenvalue(product: Product, like: Array) -> tuple[Array, Array]:
    """Returns the algebraically largest eigenvalue of a symmetric matrix, and |H v - value v|.

    Power iteration first finds the eigenvalue of largest size. Where that is negative, a second run
    begins anew on H + shift, shift being its size, whose largest eigenvalue is H's; else it goes
    on unshifted. Between the two (eigenvalues of like size and opposite sign, not yet told apart)
    the shift (|H v| - v^T H v) / 2 lies between, and separates them.

    Args:
      product: v -> H v.
      like: (P,) gives size and type of v.
    """
    start = unit(jax.random.normal(jax.random.key(_SEED), like.shape, like.dtype))
    first = lax.fori_loop(0, ITERATIONS, lambda _, v: unit(product(v)), start)
    found = _ritz(product, first)
    shift = (found.length - found.value) / 2
    again = jnp.where(found.value < 0, start, first)
    last = lax.fori_loop(0, ITERATIONS, lambda _, v: unit(product(v) + shift * v), again)
    result = _ritz(product, last)
    return result.value, result.residual


def _ritz(product: Product, v: Array) -> Ritz:
    image = product(v)
    largest = jnp.max(jnp.abs(image))
    scaled = image / jnp.where(largest == 0, 1, largest)  # its square stays in float32's range
    value = jnp.sum(scaled * v)
    lengths = (jnp.linalg.norm(x) for x in (scaled, scaled - value * v))
    return Ritz(largest * value, *(largest * length for length in lengths))
