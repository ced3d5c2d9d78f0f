"""Weight gradients of single samples, against outer products that are really formed, in float64."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.metrics import weight_gradients
from tfc_jax.network import Network
from tfc_jax.sampling import Batch
from tfc_jax.snapshot import OnLayers, Snapshot
from tfc_jax.train import Trainer

Make = Callable[..., Snapshot]
B, IN, OUT = 30, 7, 5
TINY = float(np.finfo(np.float32).tiny)
look: Callable[[Snapshot], dict[str, Any]] = jax.jit(weight_gradients.compute)
RTOL = 2e-6  # lengths, their quotients and squares: some 20 roundings of 2^-24
# Sums over 32^2 pairs of products of two cosines, each a sum over 7, at random signs.
ATOL = 4 * B**0.5 * 2.0**-24 * 4


def measure(make: Make, below: np.ndarray, deltas: np.ndarray) -> tuple[Any, Any]:
    """Cancellation and mean cosine of a one-layer network with these factors."""
    found = look(layers(make, [(below, deltas)]))
    return float(found["cancellation"][0]), float(found["weight_grad_cos"][0])


def layers(make: Make, factors: Sequence[tuple[np.ndarray, np.ndarray]]) -> Snapshot:
    """The first layer reads the inputs, the next what the one before it returns."""
    below, deltas = zip(*factors, strict=True)
    grads = [h.astype(np.float64).T @ d.astype(np.float64) / len(h) for h, d in factors]
    return make(
        batch=len(below[0]),
        widths=tuple(d.shape[1] for d in deltas),
        inputs=jnp.asarray(below[0], jnp.float32),
        features=(*(jnp.asarray(h, jnp.float32) for h in below[1:]), jnp.asarray(deltas[-1])),
        deltas=tuple(jnp.asarray(d / len(d), jnp.float32) for d in deltas),
        weight_grads=tuple(jnp.asarray(g, jnp.float32) for g in grads),
    )


def twin(below: np.ndarray, deltas: np.ndarray) -> tuple[float, float]:
    """Every sample's gradient as a matrix, every pair of the first 32 in a loop."""
    pairs = zip(below.astype(np.float64), deltas.astype(np.float64), strict=True)
    g = np.stack([np.outer(h, d).ravel() for h, d in pairs])
    cancellation = np.sum(g.sum(axis=0) ** 2) / (len(g) * np.sum(g**2))
    alive = [x / np.linalg.norm(x) for x in g[:32] if np.any(x != 0)]
    cosines = [a @ b for i, a in enumerate(alive) for j, b in enumerate(alive) if i != j]
    return float(cancellation), float(np.mean(cosines))


def random_factors(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    batch = 50 if kind == "more than are paired" else B
    below = np.maximum(rng.standard_normal((batch, IN)) + 0.3, 0)
    deltas = rng.standard_normal((batch, OUT)) + 0.5 * rng.standard_normal(OUT)
    if kind == "dead rows":
        below[[0, 3]] = 0
        deltas[[3, 4, 20]] = 0
    if kind == "rows of many lengths":
        below *= 10.0 ** rng.uniform(-3, 0, (batch, 1))
        deltas *= 10.0 ** rng.uniform(-20, 0, (batch, 1))
    return below.astype(np.float32), deltas.astype(np.float32)


KINDS = ["relu", "dead rows", "rows of many lengths", "more than are paired"]


@pytest.mark.parametrize("kind", KINDS)
def test_both_columns_match_outer_products(make_snapshot: Make, kind: str) -> None:
    below, deltas = random_factors(kind)
    cancellation, cosine = measure(make_snapshot, below, deltas)
    expected = twin(below, deltas)
    assert cancellation == pytest.approx(expected[0], rel=RTOL)
    assert cosine == pytest.approx(expected[1], abs=ATOL)


def scaled(in_below: float, in_deltas: float) -> tuple[np.ndarray, np.ndarray]:
    below, deltas = random_factors("relu")
    return (in_below * below).astype(np.float32), (in_deltas * deltas).astype(np.float32)


def below_range(below: np.ndarray, deltas: np.ndarray) -> float:
    """What `cancellation` misses if every entry of the batch gradient is just below float32's."""
    h, d = (np.sum(x.astype(np.float64) ** 2, axis=1) for x in (below, deltas))
    return float(IN * OUT * TINY**2 / np.mean(h * d))


@pytest.mark.parametrize(
    ("in_below", "in_deltas"),
    [(1, 1e-25), (1e-12, 1e-20), (1e-18, 1e-18), (1e-36, 1), (1e18, 1e18)],
)
def test_scale_does_not_matter(make_snapshot: Make, in_below: float, in_deltas: float) -> None:
    factors = scaled(in_below, in_deltas)
    cancellation, cosine = measure(make_snapshot, *factors)
    expected = twin(*random_factors("relu"))
    assert cancellation == pytest.approx(expected[0], rel=RTOL, abs=below_range(*factors))
    assert cosine == pytest.approx(expected[1], abs=ATOL)


@pytest.mark.parametrize(
    ("in_below", "in_deltas"), [(1e-19, 1e-19), (1e-25, 1e-25), (1e-12, 1e-27)]
)
def test_a_gradient_that_float32_cannot_hold_does_not_look_cancelled(
    make_snapshot: Make, in_below: float, in_deltas: float
) -> None:
    cancellation, cosine = measure(make_snapshot, *scaled(in_below, in_deltas))
    assert np.isnan(cancellation)
    assert cosine == pytest.approx(twin(*random_factors("relu"))[1], abs=ATOL)


def test_lengths_whose_product_float32_cannot_hold_do_not_look_cancelled(
    make_snapshot: Make,
) -> None:
    below, deltas = random_factors("relu")
    below[0] *= 1e20
    deltas[1:] *= 1e19
    deltas[0] = 0
    assert np.isfinite(layers(make_snapshot, [(below, deltas)]).weight_grads[0]).all()
    assert np.isnan(measure(make_snapshot, below, deltas)[0])


def test_a_lost_gradient_is_nan_in_its_layer_only(make_snapshot: Make) -> None:
    below, deltas = random_factors("relu")
    tiny = np.float32(1e-25)
    snapshot = layers(make_snapshot, [(below, deltas[:, :4]), (below[:, :4] * tiny, deltas * tiny)])
    assert not np.any(snapshot.weight_grads[1])  # 1e-50 is 0 in float32
    found = look(snapshot)["cancellation"]
    np.testing.assert_allclose(found, [twin(below, deltas[:, :4])[0], np.nan], rtol=RTOL)


def test_in_training_it_is_right_or_nan_however_small_the_inputs() -> None:
    """Logits near 0 give the same gradients in them, and features that scale with the inputs."""
    run = Run(depth=3, width=16, init_scale=0.8)
    network = Network(run, (12,), 3, 3)
    trainer = Trainer(network, has_momentum=False, metrics=("weight_gradients",))
    rng, hyper = np.random.default_rng(7), Hyper.of(run)
    x, y = rng.random((40, 12)), jnp.asarray(rng.integers(0, 3, 40), jnp.int32)
    carry, step = trainer.init(hyper), jax.jit(trainer.measured_step)

    def cancellation(scale: float) -> np.ndarray:
        batch = Batch(jnp.asarray(scale * x, jnp.float32), y)
        return np.asarray(step(carry, hyper, batch)[1]["cancellation"])

    scales = 10.0 ** np.arange(-39, -29, 0.25)
    found, expected = np.stack([cancellation(scale) for scale in scales]), cancellation(1e-10)
    for values, exact in zip(found.T, expected, strict=True):
        known = np.isfinite(values)
        assert not known[0]
        assert known[-1]
        # Terms below the range hold (1/2)^2 of the mean square at most where it is twice the range;
        # lost at random, they take that share of the sum's.
        lost = (scales[known][0] / scales[known]) ** 2 / 4
        assert (np.abs(values[known] / exact - 1) <= lost + 10 * RTOL).all()


def test_the_sum_of_gradients_is_the_gradient_that_the_step_used(make_snapshot: Make) -> None:
    snapshot = layers(make_snapshot, [random_factors("relu")])
    doubled = make_snapshot(
        batch=B,
        widths=(OUT,),
        inputs=snapshot.inputs,
        deltas=snapshot.deltas,
        weight_grads=tuple(2 * g for g in snapshot.weight_grads),
    )
    found, four_times = (look(s)["cancellation"] for s in (snapshot, doubled))
    np.testing.assert_allclose(four_times, 4 * found, rtol=RTOL)


def test_copies_of_one_sample_do_not_cancel(make_snapshot: Make) -> None:
    below, deltas = random_factors("relu")
    copies = np.tile(below[:1], (B, 1)), np.tile(deltas[:1], (B, 1))
    found = measure(make_snapshot, *copies)
    assert found == (pytest.approx(1, rel=RTOL), pytest.approx(1, abs=ATOL))


def test_orthogonal_gradients_leave_one_over_n(make_snapshot: Make) -> None:
    found = measure(make_snapshot, np.eye(6, dtype=np.float32), np.ones((6, OUT), np.float32))
    assert found == (pytest.approx(1 / 6, rel=RTOL), pytest.approx(0, abs=ATOL))


def test_opposite_gradients_cancel(make_snapshot: Make) -> None:
    below, deltas = np.ones((6, IN), np.float32), np.ones((6, OUT), np.float32)
    deltas[::2] *= -1
    # Of 30 ordered pairs 12 agree and 18 oppose.
    nothing = pytest.approx(0, abs=1e-14)  # the square of a rounding
    assert measure(make_snapshot, below, deltas) == (nothing, pytest.approx(-1 / 5, abs=ATOL))


def test_order_and_rotations_do_not_matter(make_snapshot: Make) -> None:
    rng = np.random.default_rng(6)
    below, deltas = random_factors("dead rows")
    order = rng.permutation(B)
    turned = [
        (x @ np.linalg.qr(rng.standard_normal((x.shape[1],) * 2))[0])[order].astype(np.float32)
        for x in (below, deltas)
    ]
    cancellation, cosine = measure(make_snapshot, *turned)
    before = measure(make_snapshot, below, deltas)
    assert cancellation == pytest.approx(before[0], rel=2 * RTOL)
    assert cosine == pytest.approx(before[1], abs=2 * ATOL)


@pytest.mark.parametrize("dead", ["below", "deltas"])
def test_without_gradients_there_is_nothing_to_compare(make_snapshot: Make, dead: str) -> None:
    below, deltas = random_factors("relu")
    (below if dead == "below" else deltas)[:] = 0
    assert np.isnan(measure(make_snapshot, below, deltas)).all()


def test_one_gradient_is_no_pair(make_snapshot: Make) -> None:
    below, deltas = random_factors("relu")
    deltas[1:] = 0
    cancellation, cosine = measure(make_snapshot, below, deltas)
    assert cancellation == pytest.approx(1 / B, rel=RTOL)
    assert np.isnan(cosine)


def test_layers_that_form_no_outer_product_are_left_out(make_snapshot: Make) -> None:
    snapshot = make_snapshot(dense=(2,))
    found, all_layers = look(snapshot), look(make_snapshot())
    for name, values in found.items():
        assert isinstance(values, OnLayers)
        assert values.layers == (2,)
        np.testing.assert_allclose(values.values, all_layers[name][1:2], rtol=RTOL)


def test_without_such_layers_there_are_no_columns(make_snapshot: Make) -> None:
    assert weight_gradients.compute(make_snapshot(dense=())) == {}
