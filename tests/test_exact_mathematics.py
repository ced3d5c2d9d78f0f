"""Identities that hold exactly at every step of training, whatever the data: SCIENCE section 4."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy.integrate import quad

from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.network import Network
from tfc_jax.sampling import Batch
from tfc_jax.snapshot import Snapshot
from tfc_jax.train import Carry, Trainer

D, K, B, N_STEPS = 6, 4, 12, 20
RUN = Run(depth=4, width=8, init="lecun_normal", learning_rate=0.1)
ACTIVATIONS = ["relu", "leaky_relu", "abs", "identity"]
LOSSES = ["cross_entropy", "mse"]


@pytest.fixture(scope="module", autouse=True)
def everything() -> Iterator[None]:
    """A metric family that returns the whole snapshot."""
    family = ModuleType("tfc_jax.metrics.everything")
    family.compute = lambda snapshot: {"snapshot": snapshot}  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, family.__name__, family)
        yield


def scan(
    one: Trainer, carry: Carry, run: Run, batches: Batch, dtype: Any
) -> tuple[Carry, dict[str, Any]]:
    def step(carry: Carry, batch: Batch) -> tuple[Carry, Any]:
        return one.measured_step(carry, Hyper.of(run, dtype), batch)

    return jax.jit(lambda: jax.lax.scan(step, carry, batches))()


@cache
def trajectory(activation: Any, loss: Any, dtype: Any) -> Snapshot:
    """20 steps of plain SGD, one batch after the other: every array has a leading axis of steps."""
    run = replace(RUN, activation=activation, loss=loss)
    one = Trainer(Network(run, (D,), K, K), has_momentum=False, metrics=("everything",))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N_STEPS, B, D)).astype(np.float32)
    y = rng.integers(0, K, (N_STEPS, B)).astype(np.int32)
    with jax.enable_x64() if dtype == np.float64 else nullcontext():
        batches = Batch(jnp.asarray(x, dtype), jnp.asarray(y))
        _, rows = scan(one, one.init(Hyper.of(run, dtype)), run, batches, dtype)
        return jax.tree.map(np.asarray, rows["snapshot"])


def dot(a: Any, b: Any) -> np.ndarray:
    """Inner product of each step's matrices, in float64."""
    return np.sum(a.astype(np.float64) * b, axis=(1, 2))


def norm(a: Any) -> np.ndarray:
    return np.sqrt(dot(a, a))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
# Roundings of sums of at most 12 terms, over 4 layers: float64 leaves some 1e-15, float32 1e-7.
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_every_layers_weights_meet_their_gradient_as_logits_meet_theirs(
    activation: Any, loss: Any, dtype: Any, tolerance: float
) -> None:
    """Euler: <W_l, dL/dW_l> = mean_i <z_i, dl_i/dz_i> for all l."""
    s = trajectory(activation, loss, dtype)
    assert s.euler
    assert s.weights[0].dtype == s.delta_by_layer[1].dtype == dtype
    delta = s.delta_by_layer[RUN.depth]
    z_dot_grad = np.sum(s.features[-1].astype(np.float64) * delta, axis=(1, 2))
    for w, g in zip(s.weights, s.weight_grads, strict=True):
        assert np.abs(dot(w, g)).max() > 0.01  # there is something to be equal
        scale = norm(w) * norm(g)
        assert (np.abs(dot(w, g) - z_dot_grad) / scale).max() <= tolerance
        assert (np.abs(dot(w, g) - s.logit_dot_grad) / scale).max() <= tolerance


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_plain_sgd_moves_squared_norms_of_layers_alike_to_first_order(
    activation: Any, loss: Any
) -> None:
    """Balance: D|W_l+1|^2 - D|W_l|^2 = eta^2 (|g_l+1|^2 - |g_l|^2)."""
    s = trajectory(activation, loss, np.float64)
    for layer in range(RUN.depth - 1):
        w, g = (
            [dot(tree[i], tree[i]) for i in (layer, layer + 1)]
            for tree in (s.weights, s.weight_grads)
        )
        second_order = RUN.learning_rate**2 * (g[1] - g[0])[:-1]
        gap = np.diff(w[1]) - np.diff(w[0]) - second_order
        assert np.abs(second_order / w[0][:-1]).max() > 1e-5  # more than "both move alike"
        # Squared norms are sums of at most 64 terms, each some 1e-16 off.
        assert np.abs(gap / w[0][:-1]).max() <= 1e-12


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_weights_are_mean_outer_products(activation: Any) -> None:
    s = trajectory(activation, "cross_entropy", np.float64)
    below = (s.inputs, *s.features[:-1])
    for h, delta, g in zip(below, s.delta_by_layer.values(), s.weight_grads, strict=True):
        mean = np.einsum("tbi,tbo->tio", h, delta)
        assert np.abs(mean - g).max() <= 1e-14 * max(np.abs(g).max(), 1)


@pytest.mark.parametrize("width", [3, 8])
def test_identical_features_under_a_uniform_softmax_have_no_total_gradient(width: int) -> None:
    run = replace(RUN, width=width)
    with jax.enable_x64():
        one = Trainer(Network(run, (D,), K, K), has_momentum=False, metrics=("everything",))
        carry = one.init(Hyper.of(run, np.float64))
        last = carry.params["layers"][run.depth - 1]
        # The same column for every class: equal logits that are not zero.
        last = {"kernel": jnp.tile(last["kernel"][:, :1], (1, K))}
        params = carry.params | {"layers": carry.params["layers"] | {run.depth - 1: last}}
        x = jnp.tile(jnp.linspace(0.1, 1.0, D, dtype=jnp.float64), (1, B, 1))
        batches = Batch(x, jnp.arange(B, dtype=jnp.int32)[None, :] % K)
        _, rows = scan(one, replace(carry, params=params), run, batches, np.float64)
        s = jax.tree.map(np.asarray, rows["snapshot"])
    assert (
        B * norm(s.delta_by_layer[run.depth]) > 1
    )  # every sample pulls; their pulls cancel but for rounding
    assert all(np.abs(g).max() <= 1e-15 for g in s.weight_grads)


def test_a_linear_chain_takes_the_time_of_its_differential_equation() -> None:
    """a^3 -> 1 on data (-1, -1), (1, 1): da/dt = a^2 (1 - a^3) under half the squared error."""
    start, end, rate = 0.1, 0.5 ** (1 / 3), 0.002

    def speed(a: float) -> float:
        return a**2 * (1 - a**3)

    time = quad(lambda a: 1 / speed(a), start, end)[0]
    assert time == pytest.approx(9.145, abs=5e-4)
    interval = 2 * rate  # our squared error has no half
    # Euler's method lags by half a step for every e-fold of speed.
    expected = time / interval + np.log(speed(end) / speed(start)) / 2

    run = Run(depth=3, width=1, activation="identity", loss="mse", learning_rate=rate)
    one = Trainer(Network(run, (1,), 1, 0), has_momentum=False, metrics=())
    with jax.enable_x64():
        batch = Batch(*(jnp.array([[-1.0], [1.0]]) for _ in "xy"))
        carry = one.init(Hyper.of(run, np.float64))
        carry = replace(carry, params=jax.tree.map(lambda a: jnp.full_like(a, start), carry.params))

        def step(carry: Carry, _: None) -> tuple[Carry, Array]:
            return one.step(carry, Hyper.of(run, np.float64), batch)[0], one.net.kernels(
                carry.params
            )[1][0, 0]

        a = np.asarray(jax.jit(lambda: jax.lax.scan(step, carry, length=3000)[1])())
    found = np.interp(end, a, np.arange(len(a)))
    # What is left is of the order of the interval.
    assert abs(found - expected) < 10 * interval
