"""Third differences of polynomials, and the spread of outputs, in closed form."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from tfc_jax.probes import variability
from tfc_jax.probes.variability import GRID
from tfc_jax.snapshot import ProbeView

Make = Callable[..., ProbeView]
Look = Callable[..., dict[str, np.ndarray]]
STEP = 2 / (GRID - 1)
EPS = 2.0**-23


def measure(make_view: Make, f: Callable[[Array, Array], list[Array]]) -> tuple[float, float]:
    """v3_raw and v3_std of f(x, y), a list of outputs."""
    view = make_view(outputs=lambda p: jnp.stack(f(p[:, 0], p[:, 1]), axis=1))
    found = jax.jit(lambda: variability.compute(view))()
    return float(found["v3_raw"]), float(found["v3_std"])


def spread(look: Look, outputs: np.ndarray) -> dict[str, float]:
    found = look(variability, {"train_logits": jnp.asarray(outputs, jnp.float32)}, widths=(3, 2))
    return {name: float(value) for name, value in found.items()}


def test_a_cubic_has_a_third_difference_of_6_c_h_cubed(make_view: Make) -> None:
    raw, _ = measure(make_view, lambda x, y: [0.5 * (x**3 + y**3)])
    # Grid points and values are off by a few roundings of 1; coefficients 1, 3, 3, 1 add them.
    assert raw == pytest.approx(6 * 0.5 * STEP**3, abs=8 * EPS)


def test_both_axes_and_all_outputs_count_alike(make_view: Make) -> None:
    raw, _ = measure(make_view, lambda x, y: [x**3, 4 * y**3, 0 * x])
    assert raw == pytest.approx(6 * STEP**3 * (1 + 4) / 2 / 3, abs=8 * EPS)


def test_linear_and_quadratic_functions_have_none(make_view: Make) -> None:
    raw, std = measure(make_view, lambda x, y: [x - y, x**2 + x * y])
    assert (raw, std) == pytest.approx((0, 0), abs=8 * EPS)


def test_a_kink_counts_as_much_as_its_step(make_view: Make) -> None:
    """|x|: second difference h at the two places beside 0, third +-h around them."""
    raw, _ = measure(make_view, lambda x, y: [jnp.abs(x)])
    n = np.linspace(-1, 1, GRID)
    expected = np.mean(np.abs(np.diff(np.abs(n), 3))) / 2
    assert raw == pytest.approx(expected, abs=8 * EPS)
    assert expected > 100 * EPS


def test_standardised_variability_does_not_see_scale_and_shift(make_view: Make) -> None:
    def f(x: Array, y: Array) -> list[Array]:
        return [jnp.sin(3 * x + y), jnp.cos(2 * y)]

    raw, std = measure(make_view, f)
    moved_raw, moved_std = measure(make_view, lambda x, y: [1e-20 * g + 5e-20 for g in f(x, y)])
    # The shift costs roundings of 6 for values of size 1.
    assert moved_std == pytest.approx(std, abs=6 * 8 * EPS)
    assert moved_raw == pytest.approx(1e-20 * raw, rel=1e-3)
    line = np.linspace(-1, 1, GRID)
    x, y = np.meshgrid(line, line, indexing="ij")
    expected = []
    for g in (np.sin(3 * x + y), np.cos(2 * y)):
        z = (g - g.mean()) / g.std()
        expected.append(np.mean([np.mean(np.abs(np.diff(z, 3, axis=axis))) for axis in (0, 1)]))
    assert std == pytest.approx(np.mean(expected), abs=8 * EPS)


@pytest.mark.parametrize("noise", [0, 1e-7])
def test_a_constant_output_has_no_standardised_variability(make_view: Make, noise: float) -> None:
    raw, std = measure(make_view, lambda x, y: [3 + noise * jnp.sin(9 * x)])
    assert raw == pytest.approx(0, abs=3 * 8 * EPS)
    assert np.isnan(std)


def test_other_than_two_dimensional_inputs_have_no_grid(look: Look) -> None:
    for n_inputs in (1, 3):
        found = look(variability, {}, widths=(n_inputs, 4, 3))
        assert found.keys() == {"output_std", "output_cv", "output_constant"}


@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25])
def test_spread_is_averaged_over_outputs(look: Look, scale: float) -> None:
    outputs = np.random.default_rng(0).standard_normal((50, 3)) * [1, 5, 2] + [3, -4, 0]
    found = spread(look, scale * outputs)
    std, mean = outputs.std(axis=0).mean(), np.abs(outputs.mean(axis=0)).mean()
    # Sums of 50 terms of like size.
    assert found["output_std"] == pytest.approx(scale * std, rel=50 * EPS)
    assert found["output_cv"] == pytest.approx(std / mean, rel=50 * EPS)
    assert found["output_constant"] == (scale < 1)


def test_outputs_are_constant_below_one_percent_of_their_mean(look: Look) -> None:
    signs = np.where(np.arange(40) % 2, 1, -1)[:, None]
    for relative, constant in ((0.0099, 1), (0.0101, 0)):
        found = spread(look, 7 + 7 * relative * signs)
        assert found["output_cv"] == pytest.approx(relative, rel=1e-4)
        assert found["output_constant"] == constant


def test_outputs_that_are_all_0_are_constant_and_have_no_cv(look: Look) -> None:
    found = spread(look, np.zeros((8, 2)))
    assert (found["output_std"], found["output_constant"]) == (0, 1)
    assert np.isnan(found["output_cv"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_output_makes_all_nan(look: Look, value: float) -> None:
    outputs = np.ones((8, 2))
    outputs[2, 1] = value
    assert np.isnan(list(spread(look, outputs).values())).all()
