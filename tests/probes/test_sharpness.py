"""Sharpness against dense Hessians and known spectra."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from numpy.typing import ArrayLike

from tfc_jax.probes import sharpness
from tfc_jax.probes.sharpness import ITERATIONS
from tfc_jax.sizes import Sizes
from tfc_jax.snapshot import ProbeView

Make = Callable[..., Any]
P = 30


def with_spectrum(eigenvalues: ArrayLike) -> np.ndarray:
    """A symmetric matrix with these eigenvalues."""
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((np.size(eigenvalues),) * 2))[0]
    return basis * np.asarray(eigenvalues) @ basis.T


def measure(matrix: np.ndarray, dtype: Any = np.float32) -> tuple[float, float]:
    h = jnp.asarray(matrix, dtype)
    value, residual = jax.jit(
        lambda: sharpness.largest_eigenvalue(
            lambda v: jnp.matmul(h, v, precision="highest"), jnp.zeros(len(h), dtype)
        )
    )()
    return float(value), float(residual)


SPECTRA = {
    "positive": [4, *np.linspace(2, 0, P - 1)],
    "a negative one dominates": [1, *np.linspace(0.2, -1, P - 2), -5],
    "all negative": [-1, *np.linspace(-3, -5, P - 1)],
    "like sizes, opposite signs": [4, *np.linspace(1, -1, P - 2), -4],
    "the negative one slightly larger": [4, *np.linspace(1, -1, P - 2), -4.04],
}


@pytest.mark.parametrize("kind", SPECTRA)
def test_the_largest_eigenvalue_of_known_spectra_is_found(kind: str) -> None:
    spectrum = np.sort(SPECTRA[kind])
    value, residual = measure(with_spectrum(spectrum))
    size, gap = np.abs(spectrum).max(), spectrum[-1] - spectrum[-2]
    # A Rayleigh quotient falls short by residual^2 / gap; products round P terms of the size.
    rounding = P * 2.0**-24 * size
    assert residual < gap / 2
    assert value == pytest.approx(spectrum[-1], abs=residual**2 / gap + rounding)
    assert value == pytest.approx(spectrum[-1], rel=1e-2)


def test_a_close_pair_is_told_by_the_residual() -> None:
    spectrum = np.array([1.0, 0.99, *np.zeros(P - 2)])
    value, residual = measure(with_spectrum(spectrum))
    assert 0.99 < value < 1 + P * 2.0**-24
    assert residual == pytest.approx(np.sqrt((1 - value) * (value - 0.99)), abs=P * 2.0**-24)
    assert residual > 1e-3


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_scale_does_not_matter(scale: float) -> None:
    matrix = with_spectrum(SPECTRA["a negative one dominates"])
    found, scaled = measure(matrix), measure(scale * matrix)
    assert scaled == pytest.approx((scale * found[0], scale * found[1]), rel=1e-4, abs=scale * 1e-5)


def test_flat_losses_have_sharpness_0() -> None:
    assert measure(np.zeros((P, P))) == (0, 0)


def dense(view: ProbeView) -> np.ndarray:
    flat, restored = ravel_pytree(view.params)
    hessian = jax.jit(jax.hessian(lambda numbers: view.train_loss(restored(numbers))))
    return np.linalg.eigvalsh(hessian(flat))


@pytest.mark.parametrize("regression", [False, True])
def test_a_networks_sharpness_is_that_of_its_dense_hessian(
    make_case: Make, as_view: Callable[[Any], ProbeView], regression: bool
) -> None:
    with jax.enable_x64(True):
        case = make_case(1, 25, (2, 5, 4, 3), regression, dtype=np.float64)
        view = as_view(case)
        found = jax.jit(lambda c: sharpness.compute(as_view(c)))(case)
        spectrum, value = dense(view), float(found["sharpness"])
    residual = float(found["sharpness_residual"]) * abs(value)
    assert spectrum[0] < 0  # a shift has something to do
    gap = spectrum[-1] - spectrum[-2]
    assert residual < gap / 2
    assert value == pytest.approx(spectrum[-1], abs=residual**2 / gap + 1e-12)


def test_float32_keeps_the_digits_of_float64(
    make_case: Make, as_view: Callable[[Any], ProbeView]
) -> None:
    values = []
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            case = make_case(2, 25, (2, 5, 4, 3), dtype=dtype)
            found = jax.jit(lambda c: sharpness.compute(as_view(c)))(case)
            values.append(float(found["sharpness"]))
    # Means over 25 samples of sums over 3 layers of a few units: some dozen roundings.
    assert values[0] == pytest.approx(values[1], rel=50 * 2.0**-24)


def test_all_products_are_priced(make_case: Make, as_view: Callable[[Any], ProbeView]) -> None:
    products = 2 * (ITERATIONS + 1)
    sizes = Sizes(n_params=0, n_units=0, flops_per_sample=1.0, activations_per_sample=0)
    assert sharpness.flops(10, sizes) == products * 2 * 10
