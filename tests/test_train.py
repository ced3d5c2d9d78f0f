"""One run's step: against hand-written training, and against per-sample gradients."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import Array

from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.losses import data_loss
from tfc_jax.models._layers import ACTIVATIONS
from tfc_jax.network import Network
from tfc_jax.sampling import Batch
from tfc_jax.snapshot import Snapshot
from tfc_jax.train import Carry, Trainer

EPS = 2.0**-23
D, H, K, B = 6, 5, 3, 9
PLAIN = Run(depth=3, width=H, learning_rate=0.1, activation="tanh")
Params = list[dict[str, Array]]


def trainer(run: Run, metrics: tuple[str, ...] = ()) -> Trainer:
    network = Network(run, (D,), K, K)
    return Trainer(network, has_momentum=run.has_momentum, metrics=metrics)


def batch(seed: int = 0, n: int = B) -> Batch:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, D)).astype(np.float32)
    return Batch(jnp.asarray(x), jnp.asarray(np.arange(n, dtype=np.int32) % K))


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> str:
    """A metric family that returns the whole snapshot."""
    family = ModuleType("tfc_jax.metrics.everything")
    family.compute = lambda snapshot: {"snapshot": snapshot}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, family.__name__, family)
    return "everything"


def train(run: Run, n_steps: int) -> tuple[Carry, list[dict[str, Array]]]:
    one = trainer(run)
    step = jax.jit(one.step)
    carry, rows = one.init(Hyper.of(run)), []
    for i in range(n_steps):
        carry, row = step(carry, Hyper.of(run), batch(i))
        rows.append(row)
    return carry, rows


def logits(run: Run, layers: Params, x: Array) -> Array:
    """A perceptron by hand."""
    h = x
    for layer in layers[:-1]:
        h = ACTIVATIONS[run.activation](linear(layer, h))
    return linear(layers[-1], h)


def linear(layer: dict[str, Array], h: Array) -> Array:
    a = h @ layer["kernel"]
    return a + layer["bias"][None, :] if "bias" in layer else a


def kernels(params: dict) -> list[Array]:
    return [layer["kernel"] for layer in as_list(params)]


def as_list(params: dict) -> Params:
    return [params["layers"][i] for i in range(len(params["layers"]))]


def loss_and_grads(run: Run) -> Callable[[Params, Batch], tuple[Array, Params]]:
    def objective(layers: Params, seen: Batch) -> Array:
        return data_loss(run.loss, logits(run, layers, seen.x), seen.y)

    return jax.jit(jax.value_and_grad(objective))


def sgd_by_hand(run: Run, n_steps: int, dtype: Any = np.float32) -> tuple[Params, list[float]]:
    """PyTorch's rule: g += wd w; buffer = m buffer + g; w -= lr buffer; buffers kept in `dtype`."""
    layers = as_list(trainer(run).init(Hyper.of(run)).params)
    buffers = jax.tree.map(lambda w: np.zeros(w.shape, dtype), layers)
    differentiate, losses = loss_and_grads(run), []

    def moved(w: Array, g: Array, buffer: np.ndarray) -> np.ndarray:
        return np.asarray(run.momentum * buffer.astype(np.float32) + g + run.weight_decay * w)

    for i in range(n_steps):
        loss, grads = differentiate(layers, batch(i))
        losses.append(float(loss))
        updates = jax.tree.map(moved, layers, grads, buffers)
        layers = jax.tree.map(lambda w, u: w - run.learning_rate * u, layers, updates)
        buffers = jax.tree.map(lambda u: u.astype(dtype), updates)
    return layers, losses


@pytest.mark.parametrize(
    "run",
    [
        PLAIN,
        replace(PLAIN, loss="mse", activation="relu", bias=True, init="torch_default"),
        replace(PLAIN, weight_decay=0.05, activation="abs"),
        replace(PLAIN, momentum=0.9, weight_decay=0.05),
    ],
    ids=["plain", "mse with bias", "weight decay", "momentum"],
)
def test_sgd_is_the_hand_written_rule(run: Run) -> None:
    carry, rows = train(run, 8)
    layers, losses = sgd_by_hand(run, 8)
    # 8 steps of a smooth recursion, each off by some roundings of weights of at most 2.
    for ours, theirs in zip(
        jax.tree.leaves(as_list(carry.params)), jax.tree.leaves(layers), strict=True
    ):
        assert np.abs(ours - theirs).max() < 8 * 8 * EPS
    assert np.allclose([row["loss"] for row in rows], losses, rtol=8 * 8 * EPS, atol=0)
    assert carry.step == 8


def test_momentum_may_be_kept_in_bfloat16() -> None:
    run = replace(PLAIN, momentum=0.9, momentum_dtype="bfloat16")
    carry, _ = train(run, 8)
    kept = {leaf.dtype for leaf in jax.tree.leaves(carry.opt_state)}
    assert kept == {jnp.dtype(jnp.bfloat16)}
    layers, _ = sgd_by_hand(run, 8, ml_dtypes.bfloat16)
    exact, _ = sgd_by_hand(run, 8)

    def gap(a: Any, b: Any) -> float:
        pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        return max(float(np.abs(x - y).max()) for x, y in pairs)

    # A rounding of a float32 sum may fall on the other side in bfloat16 (8 bits), here and there;
    # keeping no rounding at all would be off by `gap(layers, exact)`.
    assert gap(as_list(carry.params), layers) < 0.1 * gap(layers, exact)


def test_no_momentum_keeps_no_buffer() -> None:
    assert not jax.tree.leaves(trainer(PLAIN).init(Hyper.of(PLAIN)).opt_state)


def test_adam_is_the_rule_of_its_paper() -> None:
    run = Run(depth=1, loss="mse", optimizer="adam", learning_rate=0.01, weight_decay=0.1)
    carry, _ = train(run, 12)
    w = np.asarray(kernels(trainer(run).init(Hyper.of(run)).params)[0], np.float64)
    m = v = np.zeros_like(w)
    for t in range(1, 13):
        seen = batch(t - 1)
        x = np.asarray(seen.x, np.float64)
        g = 2 * x.T @ (x @ w - np.eye(K)[seen.y]) / (B * K) + 0.1 * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - 0.01 * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    # 12 steps of at most 0.01; 1 - 0.999^t in float32 is off by EPS/0.001.
    assert np.abs(kernels(carry.params)[0] - w).max() < 12 * 0.01 * EPS / 0.001


def test_a_measured_step_leaves_what_a_bare_step_leaves(everything: str) -> None:
    run = replace(PLAIN, momentum=0.9, weight_decay=0.01, norm="batch", activation="relu")
    one = trainer(run, (everything,))
    carry = one.init(Hyper.of(run))
    bare, measured = jax.jit(one.step), jax.jit(one.measured_step)
    for i in range(5):
        after, row = bare(carry, Hyper.of(run), batch(i))
        after_measured, row_measured = measured(carry, Hyper.of(run), batch(i))
        row_measured.pop("snapshot")
        pairs = zip(
            jax.tree.leaves((after, row)),
            jax.tree.leaves((after_measured, row_measured)),
            strict=True,
        )
        # Equal bit for bit where we looked. A compiler may order the sums of another program
        # differently, which changes numbers of up to 2 by some roundings.
        assert all(np.allclose(a, b, rtol=0, atol=10 * EPS) for a, b in pairs)
        carry = after_measured


def snapshot_of(run: Run, metric: str, params: Callable[[Any], Any] = lambda p: p) -> Snapshot:
    one = trainer(run, (metric,))
    carry = one.init(Hyper.of(run))
    carry = replace(carry, params=params(carry.params))
    return jax.jit(one.measured_step)(carry, Hyper.of(run), batch())[1]["snapshot"]


@pytest.mark.parametrize(
    "run",
    [
        replace(PLAIN, activation="relu", weight_decay=0.3),
        replace(PLAIN, norm="layer", loss="mse", bias=True),
    ],
    ids=["relu", "layer norm, mse, bias"],
)
def test_taps_give_every_samples_share_of_the_gradient(run: Run, everything: str) -> None:
    snapshot = snapshot_of(run, everything)
    one = trainer(run)
    carry = one.init(Hyper.of(run))

    def own_loss(bumps: dict[str, Array], x: Array, y: Array) -> Array:
        def tap(name: str, value: Array) -> Array:
            return value + bumps[name][None, :] if name in bumps else value

        z, _ = one.net.apply(carry.params, {}, x[None, :], train=True, tap=tap)
        return data_loss(run.loss, z, y[None])

    names = [*(f"feature_{layer}" for layer in (1, 2)), *(f"linear_{layer}" for layer in (1, 2, 3))]
    zeros = {name: jnp.zeros(K if name == "linear_3" else H) for name in names}
    own = jax.jit(jax.vmap(jax.grad(own_loss), (None, 0, 0)))(zeros, batch().x, batch().y)
    for layer in (1, 2, 3):
        delta = own[f"linear_{layer}"]
        feature_grad = own.get(f"feature_{layer}", delta)  # of the logits both are the same
        # Backward through three layers: sums of at most 9 terms.
        close = partial(np.allclose, rtol=0, atol=30 * EPS * float(jnp.abs(delta).max()))
        assert close(B * snapshot.delta_by_layer[layer], delta)
        assert close(B * snapshot.feature_grads[layer - 1], feature_grad)


def test_a_snapshot_holds_the_step_that_was_taken(everything: str) -> None:
    run = replace(PLAIN, momentum=0.9, weight_decay=0.2)
    one = trainer(run, (everything,))
    first = one.init(Hyper.of(run))
    carry, _ = jax.jit(one.step)(first, Hyper.of(run), batch(0))
    after, row = jax.jit(one.measured_step)(carry, Hyper.of(run), batch(1))
    snapshot: Snapshot = row["snapshot"]

    layers = as_list(carry.params)
    grads = loss_and_grads(run)(layers, batch(1))[1]
    h = [batch(1).x]
    for layer in layers[:-1]:
        h.append(jnp.tanh(linear(layer, h[-1])))
    h.append(linear(layers[-1], h[-1]))
    total = np.sqrt(sum(np.sum(np.square(g["kernel"], dtype=np.float64)) for g in grads))

    close = partial(np.allclose, rtol=20 * EPS, atol=20 * EPS)
    assert np.array_equal(snapshot.inputs, batch(1).x)
    for i, layer in enumerate(layers):
        assert np.array_equal(snapshot.weights[i], layer["kernel"])
        moved = kernels(after.params)[i] - layer["kernel"]
        assert np.allclose(snapshot.updates[i], moved, rtol=0, atol=2 * EPS)
        assert close(snapshot.weight_grads[i], grads[i]["kernel"])  # without L2
        assert close(snapshot.features[i], h[i + 1])
    assert snapshot.grad_norm_total == pytest.approx(total, 20 * EPS)
    dot = np.sum(snapshot.features[-1] * snapshot.delta_by_layer[run.depth])
    assert snapshot.logit_dot_grad == pytest.approx(dot, abs=20 * EPS)
    assert np.array_equal(snapshot.labels, batch(1).y)
    assert snapshot.n_classes == K
    assert not snapshot.euler


def test_a_regression_has_one_class_and_no_accuracy(everything: str) -> None:
    run = replace(PLAIN, loss="mse")
    one = Trainer(Network(run, (D,), 2, 0), has_momentum=False, metrics=(everything,))
    targets = jnp.asarray(np.random.default_rng(5).standard_normal((B, 2)), jnp.float32)
    start = one.init(Hyper.of(run))
    _, row = jax.jit(one.measured_step)(start, Hyper.of(run), Batch(batch().x, targets))
    assert row.keys() == {"loss", "snapshot"}
    assert row["snapshot"].n_classes == 1
    assert np.array_equal(row["snapshot"].labels, np.zeros(B))


def test_at_zero_logits_gradients_agree_within_classes_and_oppose_between(everything: str) -> None:
    def without_logits(params: dict) -> dict:
        last = PLAIN.depth - 1
        zero = jax.tree.map(jnp.zeros_like, params["layers"][last])
        return params | {"layers": params["layers"] | {last: zero}}

    delta = np.asarray(snapshot_of(PLAIN, everything, without_logits).deltas[-1], np.float64)
    unit = delta / np.linalg.norm(delta, axis=1, keepdims=True)
    same = np.equal.outer(batch().y, batch().y)
    # Rows are 1/K minus a unit vector, rounded.
    assert np.allclose(unit @ unit.T, np.where(same, 1, -1 / (K - 1)), rtol=0, atol=4 * EPS)


def test_what_is_recorded_is_from_before_the_update() -> None:
    _, rows = train(PLAIN, 1)
    z = np.asarray(logits(PLAIN, as_list(trainer(PLAIN).init(Hyper.of(PLAIN)).params), batch().x))
    expected = np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(B), batch().y])
    assert rows[0]["loss"] == pytest.approx(expected, 20 * EPS)
    assert rows[0]["accuracy"] == pytest.approx(np.mean(z.argmax(axis=1) == batch().y))
    assert rows[0]["prior_entropy"] == pytest.approx(np.log(K))


def test_the_first_bad_step_is_the_first_of_a_loss_that_is_not_finite() -> None:
    run = replace(PLAIN, activation="identity", loss="mse", learning_rate=100.0)
    one = trainer(run)
    step = jax.jit(one.step)
    carry, losses, bad = one.init(Hyper.of(run)), [], []
    for i in range(60):
        carry, row = step(carry, Hyper.of(run), batch(i))
        losses.append(float(row["loss"]))
        bad.append(int(carry.first_bad_step))
    first = int(np.argmin(np.isfinite(losses)))
    assert 0 < first < 50
    assert bad == [-1] * first + [first] * (60 - first)
    assert carry.step == 60


def test_a_healthy_run_has_no_bad_step() -> None:
    carry, _ = train(PLAIN, 8)
    assert carry.first_bad_step == -1
