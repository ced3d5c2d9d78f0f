"""The product of a linear map: the same numbers as plain XLA, on both its ways."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax

from tfc_jax.models import _product
from tfc_jax.models._product import dot_general

DIMENSIONS = (((1,), (0,)), ((), ()))
B = 6
# Fans of a layer whose weight gradient is left alone, of a narrow one, of a wide one.
FANS = [(8, 5), (8, 2), (130, 140), (160, 33)]


def example(inputs: int, outputs: int) -> tuple[Array, Array, Array]:
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = ((B, inputs), (inputs, outputs), (B, outputs))
    h, w, delta = (jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True))
    return h, w, delta


@pytest.mark.parametrize(("inputs", "outputs"), FANS)
def test_product_and_both_gradients_are_those_of_xla(inputs: int, outputs: int) -> None:
    h, w, delta = example(inputs, outputs)

    def pulled_back(product: Callable[..., Any]) -> tuple[Array, ...]:
        value, pullback = jax.vjp(lambda h, w: product(h, w, DIMENSIONS), h, w)
        return value, *pullback(delta)

    ours, plain = jax.jit(pulled_back, static_argnums=0), pulled_back(lax.dot_general)
    # At most 140 terms of size about 1, each rounded once: far below 1e-4.
    for found, expected in zip(ours(dot_general), plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_gradients_can_be_mapped_and_differentiated_again() -> None:
    h, w, _ = example(8, 2)

    def loss(w: Array) -> Array:
        return jnp.sum(jnp.sin(dot_general(h, w, DIMENSIONS)) ** 2)

    def plain_loss(w: Array) -> Array:
        return jnp.sum(jnp.sin(h @ w) ** 2)

    ws = jnp.stack([w, 2 * w])

    def curvature(f: Callable[[Array], Array]) -> Array:
        return jax.vmap(lambda w: jax.vjp(jax.grad(f), w)[1](jnp.ones_like(w))[0])(ws)

    np.testing.assert_allclose(curvature(loss), curvature(plain_loss), rtol=1e-4, atol=1e-4)


def test_a_sequence_takes_the_way_of_xla() -> None:
    x = jnp.ones((2, 3, 4))
    w = jnp.arange(20.0).reshape(4, 5)
    np.testing.assert_array_equal(dot_general(x, w, (((2,), (0,)), ((), ()))), x @ w)


@pytest.mark.parametrize(("fans", "transposed"), [((8, 2), "f32[2,6]"), ((130, 140), "f32[130,6]")])
def test_a_narrow_gradient_transposes_delta_and_a_wide_one_the_features(
    fans: tuple[int, int], transposed: str
) -> None:
    h, _, delta = example(*fans)
    compiled = jax.jit(_product._by_transposition).lower(h, delta).compile().as_text()
    assert transposed in str(compiled)
