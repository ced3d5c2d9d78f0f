"""Values that come after others, and are not changed by it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.ordering import after


@pytest.mark.parametrize("bad", [1.0, np.nan, np.inf, -np.inf])
def test_values_are_those_that_came_whatever_they_wait_for(bad: float) -> None:
    values = {"a": jnp.array([1.5, -0.0, jnp.inf]), "b": jnp.float32(3)}
    awaited = [jnp.full((40, 40), bad), {"n": jnp.array([1, 2])}]
    found = jax.jit(after)(values, awaited)
    for name, value in values.items():
        np.testing.assert_array_equal(np.signbit(found[name]), np.signbit(value))
        np.testing.assert_array_equal(found[name], value)


def test_the_compiler_cannot_take_the_waiting_out() -> None:
    x = jnp.arange(3.0)
    compiled = jax.jit(lambda x, y: after(x, jnp.sin(y))).lower(x, x).compile().as_text()
    assert "sine(" in str(compiled)
