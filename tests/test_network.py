"""What is built for a run: the width that target_params asks for, Fourier features, the inputs."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax import data
from tfc_jax.errors import InputError
from tfc_jax.fourier import lift
from tfc_jax.functional import Functional
from tfc_jax.hyper import Hyper
from tfc_jax.keys import INTERVENTIONS, KEYS, Run
from tfc_jax.network import Network

EPS = 2.0**-23
DIGITS = data.load("digits")


def count(run: Run) -> int:
    """Numbers that are in fact trained."""
    net = Functional(Network.of(run, DIGITS))
    params = jax.eval_shape(lambda: net.init(Hyper.of(run))[0])
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("depth", [2, 3, 9, 33])
@pytest.mark.parametrize("target", [2000, 10_000])
@pytest.mark.parametrize("more", [{}, {"bias": True, "norm": "batch"}])
def test_no_other_width_is_nearer_to_the_target(depth: int, target: int, more: Any) -> None:
    run = Run(depth=depth, target_params=target, **more)
    width = Network.of(run, DIGITS).run.width
    gap = abs(count(run) - target)
    for other in (width - 1, width + 1):
        if other > 0:
            assert gap <= abs(count(replace(run, width=other, target_params=None)) - target)


def test_the_count_that_is_stored_is_exact() -> None:
    run = Run(depth=9, target_params=2000)
    assert Network.of(run, DIGITS).sizes.n_params == count(run)


def test_without_a_target_the_width_is_the_key() -> None:
    assert Network.of(Run(width=7), DIGITS).run == Run(width=7)


@pytest.mark.parametrize(("target", "depth"), [(3, 2), (40, 50), (10**12, 2)])
def test_a_target_that_no_width_meets_is_refused_with_the_nearest(target: int, depth: int) -> None:
    with pytest.raises(InputError, match=rf"target_params: {target} came.* at width \d+, which is"):
        Network.of(Run(depth=depth, target_params=target), DIGITS)


def test_fourier_features_on_a_line_are_sines_and_cosines_of_whole_half_turns() -> None:
    x = np.linspace(-1, 1, 9)[:, None]
    k = np.arange(1, 4)
    expected = np.concatenate([np.sin(np.pi * k * x), np.cos(np.pi * k * x)], axis=1)
    # The phase, up to 3 pi, is rounded before the sine is taken.
    assert np.allclose(lift(jnp.asarray(x, jnp.float32), 3), expected, rtol=0, atol=12 * EPS)


def test_fourier_features_approximate_a_gaussian_kernel() -> None:
    """Random frequencies b ~ N(0, pi^2 I): mean cos(b (x - y)) = exp(-pi^2 |x - y|^2 / 2)."""
    m = 20_000
    x = 0.2 * np.random.default_rng(0).standard_normal((6, 3))
    rows = np.asarray(lift(jnp.asarray(x, jnp.float32), m), np.float64)
    square = np.sum((x[:, None] - x[None]) ** 2, axis=2)
    # A mean of m cosines: standard deviation at most 1/sqrt(2 m); four of them.
    gap = np.abs(rows @ rows.T / m - np.exp(-(np.pi**2) * square / 2))
    assert gap.max() < 4 / np.sqrt(2 * m)


def test_a_network_of_fourier_features_reads_them() -> None:
    run = Run(fourier_features=5, depth=2, width=3)
    network = Network.of(run, DIGITS)
    assert network.input_shape == (10,)
    net = Functional(network)
    x = jnp.ones((4, DIGITS.n_inputs), jnp.float32)
    params, state = net.init(Hyper.of(run))
    assert net.kernels(params)[0].shape == (10, 3)
    assert net.apply(params, state, net.inputs(x), train=False)[0].shape == (4, 10)


def test_weights_can_be_taken_out_and_put_back() -> None:
    run = Run(depth=3, width=4, bias=True)
    net = Functional(Network.of(run, DIGITS))
    params, _ = net.init(Hyper.of(run))
    doubled = net.with_kernels(params, tuple(2 * w for w in net.kernels(params)))
    for before, after in zip(net.kernels(params), net.kernels(doubled), strict=True):
        assert np.array_equal(2 * before, after)
    assert np.array_equal(doubled["layers"][1]["bias"], params["layers"][1]["bias"])


def test_another_purpose_draws_other_weights_of_the_same_law() -> None:
    run = Run(depth=3, width=64)
    net = Functional(Network.of(run, DIGITS))
    first, again, other = (net.init(Hyper.of(run), purpose)[0] for purpose in (0, 0, 3))
    a, b, c = (np.asarray(net.kernels(params)[1]) for params in (first, again, other))
    assert np.array_equal(a, b)
    # 4096 independent pairs: a correlation of 1/64 at random, four of them.
    assert abs(np.corrcoef(a.ravel(), c.ravel())[0, 1]) < 4 / 64
    assert c.std() == pytest.approx(a.std(), rel=4 / 64)


def test_traced_keys_travel_as_arrays_of_their_own_type() -> None:
    runs = [
        Run(),
        Run(seed=2**32 - 1, intervention="rescale", intervene_at=7, intervene_value=0.5),
        Run(depth=9, intervention="sham", intervene_at=0, intervene_layer=0),
    ]
    hyper = Hyper.stacked(runs)
    assert hyper.seed.tolist() == [0, 2**32 - 1, 0]
    assert hyper.intervention.tolist() == [INTERVENTIONS.index(r.intervention) for r in runs]
    assert hyper.intervene_at.tolist() == [-1, 7, 0]
    assert hyper.intervene_layer.tolist() == [3, 3, 0]  # the middle, the middle, all hidden
    assert hyper.intervene_value.tolist() == [0.0, 0.5, 0.0]
    assert int(Hyper.of(runs[1], np.float64).seed) == 2**32 - 1
    assert {name for name, key in KEYS.items() if key.traced} == set(vars(hyper))


def test_momentum_comes_on_at_its_step_and_only_in_its_arm() -> None:
    on = Run(intervention="enable_momentum", intervene_at=5, intervene_value=0.9)
    steps = jnp.arange(4, 7)
    hyper = Hyper.of(on)
    assert [float(hyper.momentum_at(t)) for t in steps] == pytest.approx([0, 0.9, 0.9])
    for other in (replace(on, intervention="rescale"), Run(momentum=0.0, intervene_at=5)):
        assert [float(Hyper.of(other).momentum_at(t)) for t in steps] == [0, 0, 0]
