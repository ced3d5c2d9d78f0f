"""Laws of the initial weights."""

import math
from typing import get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.initializers import (
    KERNELS,
    bias_init,
    kernel_init,
    structured_bias,
    structured_kernel,
)
from tfc_jax.keys import Run

KEY = jax.random.key(3)
FAN_IN, FAN_OUT = 300, 200
N = FAN_IN * FAN_OUT
EPS = 2.0**-23
VARIANCE = {
    "xavier_normal": 2 / (FAN_IN + FAN_OUT),
    "xavier_uniform": 2 / (FAN_IN + FAN_OUT),
    "he_normal": 2 / FAN_IN,
    "lecun_normal": 1 / FAN_IN,
    "torch_default": 1 / (3 * FAN_IN),  # U(+-1/sqrt(fan_in))
}
NORMAL = [name for name in VARIANCE if name.endswith("_normal")]
UNIFORM = sorted(VARIANCE.keys() - set(NORMAL))


def draw(name: str, scale: float = 1.0, shape: tuple[int, ...] = (FAN_IN, FAN_OUT)) -> np.ndarray:
    return np.asarray(kernel_init(name, scale)(KEY, shape, jnp.float32), np.float64)


def test_every_scheme_of_a_run_is_here() -> None:
    choices = set(get_args(get_type_hints(Run)["init"]))
    assert choices == {*KERNELS, "structured"} == {*VARIANCE, "orthogonal", "structured"}


@pytest.mark.parametrize("name", VARIANCE)
def test_mean_and_variance_are_the_stated_ones(name: str) -> None:
    z = draw(name) / VARIANCE[name] ** 0.5
    fourth = 3.0 if name in NORMAL else 9 / 5  # fourth moment of the standardised law
    assert abs(z.mean()) < 4 / N**0.5  # standard error of a mean
    assert abs(np.mean(z**2) - 1) < 4 * ((fourth - 1) / N) ** 0.5  # of a second moment


@pytest.mark.parametrize("name", VARIANCE)
@pytest.mark.parametrize("shape", [(5, 4), (3, 3, 2, 4)])
def test_kernels_of_any_rank_are_one_draw_in_their_shape(name: str, shape: tuple) -> None:
    if name in NORMAL:
        z = np.asarray(jax.random.normal(KEY, shape), np.float64)
    else:
        z = np.asarray(jax.random.uniform(KEY, shape, minval=-1, maxval=1), np.float64)
    kernel = draw(name, shape=shape)
    scaled = kernel * np.linalg.norm(z) / np.linalg.norm(kernel)
    # A product, and for uniform numbers a sum of numbers of the same size, each rounded once.
    assert np.abs(scaled - z).max() < 4 * EPS * np.abs(z).max()


@pytest.mark.parametrize("name", NORMAL)
def test_normal_schemes_are_not_truncated(name: str) -> None:
    z = np.abs(draw(name)) / VARIANCE[name] ** 0.5
    assert z.max() > 3  # 60,000 normal numbers stay below but with chance 1e-70
    tail = math.erfc(2 / 2**0.5)
    # Standard error of a binomial share.
    assert abs(np.mean(z > 2) - tail) < 4 * (tail * (1 - tail) / N) ** 0.5


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_schemes_fill_their_interval(name: str) -> None:
    bound = (3 * VARIANCE[name]) ** 0.5
    largest = np.abs(draw(name)).max()
    # The largest of N uniform numbers is further from the bound than 20/N with chance e^-20.
    assert bound * (1 - 20 / N) < largest <= bound * (1 + EPS)


@pytest.mark.parametrize("shape", [(FAN_IN, FAN_OUT), (FAN_OUT, FAN_IN)])
def test_orthogonal_kernels_are_orthonormal_along_their_shorter_side(
    shape: tuple[int, int],
) -> None:
    w = draw("orthogonal", 1.0, shape)
    gram = w.T @ w if shape[0] > shape[1] else w @ w.T
    # Householder QR in float32: departure from orthogonality grows like a few times n eps.
    assert np.abs(gram - np.eye(FAN_OUT)).max() < FAN_OUT * EPS


def test_fans_of_a_convolution_count_its_receptive_field() -> None:
    shape = (3, 3, 16, 32)
    n = math.prod(shape)
    he, xavier = draw("he_normal", 1.0, shape), draw("xavier_normal", 1.0, shape)
    tolerance = 4 * (2 / n) ** 0.5
    assert abs(np.mean(he**2) * (9 * 16) / 2 - 1) < tolerance
    assert abs(np.mean(xavier**2) * 9 * (16 + 32) / 2 - 1) < tolerance


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("scale", [1e-3, 0.3, 2.0])
def test_the_scale_changes_no_direction(name: str, scale: float) -> None:
    shape = (30, 20)
    # One product in float32: half a rounding, plus that of the scale itself.
    assert np.allclose(draw(name, scale, shape), scale * draw(name, 1.0, shape), rtol=EPS, atol=0)


def test_a_traced_scale_gives_the_same_weights() -> None:
    def weights(scale: jax.Array) -> jax.Array:
        return kernel_init("he_normal", scale)(KEY, (30, 20), jnp.float32)

    traced = jax.jit(weights)(jnp.float32(0.3))
    assert np.allclose(traced, draw("he_normal", 0.3, (30, 20)), rtol=2 * EPS, atol=0)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_biases_of_torch_default_are_uniform_like_its_weights(scale: float) -> None:
    n = 20_000
    b = np.asarray(bias_init("torch_default", scale, FAN_IN)(KEY, (n,), jnp.float32), np.float64)
    bound = scale * FAN_IN**-0.5
    assert np.abs(b).max() <= bound * (1 + EPS)
    # Second moment of a uniform law, within 4 standard errors.
    assert abs(np.mean(b**2) * 3 / bound**2 - 1) < 4 * (4 / 5 / n) ** 0.5


@pytest.mark.parametrize("name", sorted(KERNELS.keys() - {"torch_default"}))
def test_biases_of_the_other_schemes_are_zero(name: str) -> None:
    assert not bias_init(name, 1.0, FAN_IN)(KEY, (7,), jnp.float32).any()


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_structured_units_are_evenly_spaced_ramps_of_alternating_slope(scale: float) -> None:
    width, gamma = 9, 2.5
    w = np.asarray(structured_kernel(gamma, scale)(KEY, (1, width), jnp.float32))[0]
    b = np.asarray(structured_bias(gamma, scale)(KEY, (width,), jnp.float32))
    assert np.array_equal(w, scale * gamma * (-1.0) ** np.arange(width))
    centres = -b / w
    # linspace and two products in float32.
    assert np.allclose(centres, np.linspace(-1, 1, width), rtol=0, atol=4 * EPS)
