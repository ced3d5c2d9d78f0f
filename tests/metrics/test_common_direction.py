"""Common directions against decompositions in float64, in closed form and in training."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.metrics import common_direction
from tfc_jax.network import Network
from tfc_jax.power import start
from tfc_jax.sampling import Batch
from tfc_jax.snapshot import OnLayers, Snapshot
from tfc_jax.train import Carry, Trainer

Make = Callable[..., Snapshot]
ATOL = 1e-6  # sums of at most 30 products, a few times
EPS = 2.0**-24  # of float32: a rounding to nearest
IN, OUT = 6, 4
look: Callable[..., tuple[dict[str, Any], Any]] = jax.jit(common_direction.update)


def first_look(snapshot: Snapshot) -> dict[str, Any]:
    return look(snapshot, common_direction.init(snapshot.weights))[0]


def one_layer(
    make: Make, weight: np.ndarray, step: np.ndarray, inputs: np.ndarray | None = None
) -> Snapshot:
    inputs = np.ones((3, IN)) if inputs is None else inputs
    return make(
        batch=len(inputs),
        widths=(weight.shape[1],),
        inputs=jnp.asarray(inputs, jnp.float32),
        weights=(jnp.asarray(weight, jnp.float32),),
        updates=(jnp.asarray(step, jnp.float32),),
    )


def measure(
    make: Make, weight: np.ndarray, step: np.ndarray, inputs: np.ndarray | None = None
) -> list[float]:
    found = first_look(one_layer(make, weight, step, inputs))
    return [float(found[column.name][0]) for column in common_direction.COLUMNS]


def twin(weight: Any, step: Any, inputs: Any) -> list[float]:
    """By singular value decomposition in float64."""
    w, dw = (np.linalg.svd(np.asarray(m, np.float64)) for m in (weight, step))
    mean = np.asarray(inputs, np.float64).mean(axis=0)
    top, top_of_step = w.U[:, 0], dw.U[:, 0]
    strengths = [svd.S[0] ** 2 / np.sum(svd.S**2) for svd in (w, dw)]
    return [*strengths, abs(top @ top_of_step), abs(top @ mean) / np.linalg.norm(mean)]


def random_matrix(seed: int, spread: float = 1.5) -> np.ndarray:
    """Singular values that fall by `spread`: 200 iterations reach the top to rounding."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in (IN, OUT))
    return left[:, :OUT] * spread ** -np.arange(OUT) @ right


U, V = np.arange(1.0, IN + 1), np.arange(1.0, OUT + 1)


def test_a_rank_one_update_along_a_rank_one_weight(make_snapshot: Make) -> None:
    weight = np.outer(U, V)
    found = measure(make_snapshot, weight, -0.1 * weight, np.tile(U, (3, 1)))
    assert found == pytest.approx([1, 1, 1, 1], abs=ATOL)


def test_a_rank_one_update_at_a_right_angle(make_snapshot: Make) -> None:
    across = np.array([2.0, -1, 0, 0, 0, 0])
    found = measure(make_snapshot, np.outer(U, V), np.outer(across, V), np.tile(across, (3, 1)))
    assert found == pytest.approx([1, 1, 0, 0], abs=ATOL)


def test_only_the_input_side_is_compared(make_snapshot: Make) -> None:
    opposite = np.outer(U, np.array([4.0, -3, 2, -1]))
    assert measure(make_snapshot, np.outer(U, V), opposite)[2] == pytest.approx(1, abs=ATOL)


def test_known_singular_values_give_their_share(make_snapshot: Make) -> None:
    weight = np.eye(IN, OUT) * [1, 3, 2, 0]
    step = np.eye(IN, OUT) * [5, 0, 0, 0]
    found = measure(make_snapshot, weight, step)
    assert found == pytest.approx([9 / 14, 1, 0, 1 / np.sqrt(IN)], abs=ATOL)


@pytest.mark.parametrize("scale", [1, 1e-25, 1e20])
def test_columns_match_a_decomposition_at_any_scale(make_snapshot: Make, scale: float) -> None:
    inputs = np.random.default_rng(3).random((9, IN))
    weight, step = random_matrix(1), random_matrix(2)
    found = measure(make_snapshot, scale * weight, scale * step, scale * inputs)
    assert found == pytest.approx(twin(weight, step, inputs), abs=ATOL)


def test_rotations_of_inputs_and_outputs_do_not_matter(make_snapshot: Make) -> None:
    rng = np.random.default_rng(4)
    inward, outward = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in (IN, OUT))
    weight, step, inputs = random_matrix(1), random_matrix(2), rng.random((9, IN))
    turned = inward @ weight @ outward, inward @ step @ outward
    before = measure(make_snapshot, weight, step, inputs)
    assert measure(make_snapshot, *turned, inputs @ inward.T) == pytest.approx(before, abs=ATOL)


def test_no_update_has_no_direction(make_snapshot: Make) -> None:
    found = measure(make_snapshot, random_matrix(1), np.zeros((IN, OUT)))
    assert np.isnan(found).tolist() == [False, True, True, False]


def test_no_input_has_no_direction(make_snapshot: Make) -> None:
    inputs = np.zeros((3, IN))
    found = measure(make_snapshot, random_matrix(1), random_matrix(2), inputs)
    assert np.isnan(found).tolist() == [False, False, False, True]


def test_an_update_that_turns_by_a_right_angle_is_found_again(make_snapshot: Make) -> None:
    before = one_layer(make_snapshot, random_matrix(1), np.eye(IN, OUT) * [1, 0, 0, 0])
    after = replace(before, updates=(jnp.eye(IN, OUT) * jnp.array([[1e-3, 3, 1, 0]]),))
    _, state = look(before, common_direction.init(before.weights))
    for _ in range(3):
        found, state = look(after, state)
    assert found["common_strength_dw"] == pytest.approx(0.9, abs=1e-5)


def test_an_update_of_zero_keeps_the_direction_for_the_next(make_snapshot: Make) -> None:
    snapshot = one_layer(make_snapshot, random_matrix(1), random_matrix(2))
    nothing = replace(snapshot, updates=(jnp.zeros((IN, OUT)),))
    found, state = look(snapshot, common_direction.init(snapshot.weights))
    _, state = look(nothing, state)
    again, _ = look(snapshot, state)
    for name, values in found.items():
        # What 3 iterations leave of the fresh part of the start: 1e-3 / 1.5^6.
        np.testing.assert_allclose(again[name], values, atol=1e-4)


def test_mean_features_are_compared_in_dense_layers_only(make_snapshot: Make) -> None:
    found, everywhere = (first_look(make_snapshot(dense=d)) for d in ((1, 3), (1, 2, 3)))
    partly = found.pop("common_feature_alignment")
    assert isinstance(partly, OnLayers)
    assert partly.layers == (1, 3)
    expected = everywhere["common_feature_alignment"][jnp.array([0, 2])]
    np.testing.assert_allclose(partly.values, expected, atol=ATOL)
    assert all(values.shape == (3,) for values in found.values())
    assert "common_feature_alignment" not in first_look(make_snapshot(dense=()))


D, K, B = 12, 3, 40
RUN = Run(depth=4, width=16, init_scale=0.8, learning_rate=0.05)


def trained(n_looks: int, every: int = 1) -> Iterator[tuple[Carry, Carry, dict[str, Any], Batch]]:
    """Carry before and after each measured step, its records and its batch."""
    trainer = Trainer(Network(RUN, (D,), K, K), has_momentum=False, metrics=("common_direction",))
    hyper, measured, bare = Hyper.of(RUN), jax.jit(trainer.measured_step), jax.jit(trainer.step)
    carry, rng = trainer.init(hyper), np.random.default_rng(0)
    for _ in range(n_looks):
        batch = draw(rng)
        after, records = measured(carry, hyper, batch)
        yield carry, after, records, batch
        carry = after
        for _ in range(every - 1):
            carry, _ = bare(carry, hyper, draw(rng))


def draw(rng: np.random.Generator) -> Batch:
    y = rng.integers(0, K, B)
    x = rng.random((B, D)) + np.eye(K, D)[y]
    return Batch(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.int32))


def kernels(carry: Carry) -> list[np.ndarray]:
    layers = carry.params["layers"]
    return [np.asarray(layers[i]["kernel"], np.float64) for i in range(RUN.depth)]


def strengths(matrices: list[np.ndarray]) -> np.ndarray:
    return np.array([m[0] ** 2 / np.sum(m**2) for m in map(np.linalg.svdvals, matrices)])


class Top(NamedTuple):
    """The top direction of a matrix, and how far a look may be from it by the documented error."""

    direction: np.ndarray
    strength: float
    angle: float  # sine
    shortfall: float  # relative, of the strength

    @classmethod
    def of(cls, matrix: np.ndarray, memory: Array, iterations: int, rounding: float) -> "Top":
        svd = np.linalg.svd(matrix)
        begun = np.asarray(memory, np.float64) + 1e-3 * np.asarray(start(jnp.asarray(matrix)))
        cos = abs(begun @ svd.U[:, 0]) / np.linalg.norm(begun)
        ratio, error = svd.S[1] / svd.S[0], rounding / svd.S[0]
        left = ratio ** (2 * iterations) * np.sqrt(1 / cos**2 - 1)
        strength = svd.S[0] ** 2 / np.sum(svd.S**2)
        # Of Davis and Kahan: a matrix that is off by E turns by 2 |E| / (s1 - s2) at most.
        return cls(svd.U[:, 0], strength, left + 2 * error / (1 - ratio), left**2 + 4 * error)


def tops(before: Carry, after: Carry, iterations: int) -> tuple[list[Top], list[Top]]:
    """Of the weights and of the updates, these as the difference of stored weights."""
    memory: Any = before.metric_state["common_direction"]
    weights, updates = [], []
    for layer, (old, new) in enumerate(zip(kernels(before), kernels(after), strict=True)):
        step, of_old = new - old, float(EPS * np.linalg.norm(old))
        # Sums of 16 products, twice; the stored weight was rounded once more.
        lost = float(8 * EPS * np.linalg.norm(step)) + of_old
        weights.append(Top.of(old, memory.weights[layer], iterations, 8 * of_old))
        updates.append(Top.of(step, memory.updates[layer], iterations, lost))
    return weights, updates


def mean_inputs(carry: Carry, batch: Batch) -> list[np.ndarray]:
    """Unit mean features that layers 1..L read."""
    layers = [np.asarray(batch.x, np.float64)]
    for kernel in kernels(carry)[:-1]:
        layers.append(np.maximum(layers[-1] @ kernel, 0))
    means = [h_BxH.mean(axis=0) for h_BxH in layers]
    return [mean / np.linalg.norm(mean) for mean in means]


def expected(
    of_w: list[Top], of_dw: list[Top], means: list[np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Values of all columns and how far a look may be from them."""
    strong_w, strong_dw = (np.array([top.strength for top in of]) for of in (of_w, of_dw))
    short_w, short_dw = (np.array([top.shortfall for top in of]) for of in (of_w, of_dw))
    angle_w, angle_dw = (np.array([top.angle for top in of]) for of in (of_w, of_dw))
    both = [abs(w.direction @ dw.direction) for w, dw in zip(of_w, of_dw, strict=True)]
    feature = [abs(w.direction @ mean) for w, mean in zip(of_w, means, strict=True)]
    return {
        "common_strength_w": (strong_w, strong_w * short_w),
        "common_strength_dw": (strong_dw, strong_dw * short_dw),
        "common_alignment": (np.array(both), angle_w + angle_dw),
        # Features in float32: 16 products and 40 samples, 4 layers.
        "common_feature_alignment": (np.array(feature), angle_w + 4 * 56**0.5 * EPS),
    }


@pytest.mark.parametrize("every", [1, 7, 50])
def test_columns_in_training_keep_the_documented_error(every: int) -> None:
    bounds = []
    for look, (before, after, records, batch) in enumerate(trained(30, every)):
        of_w, of_dw = tops(before, after, min(3 * every, 200) if look else 200)
        for name, (values, bound) in expected(of_w, of_dw, mean_inputs(before, batch)).items():
            assert (np.abs(records[name] - values) <= bound).all(), (name, look)
            bounds.append(bound)
    assert np.median(bounds) < 1e-3  # so that there is something to keep


def test_with_plain_sgd_the_update_is_as_strong_as_the_gradient() -> None:
    (before, _, records, batch) = next(trained(1))

    def loss(weights: list[jax.Array]) -> jax.Array:
        h = batch.x
        for weight in weights[:-1]:
            h = jax.nn.relu(h @ weight)
        log_p = jax.nn.log_softmax(h @ weights[-1])
        return -jnp.mean(jnp.take_along_axis(log_p, batch.y[:, None], axis=1))

    with jax.enable_x64(True):
        grads = jax.grad(loss)([jnp.asarray(kernel) for kernel in kernels(before)])
        exact = strengths([np.asarray(g) for g in grads])
    # The first look iterates long; what is left is float32's rounding of the gradient.
    np.testing.assert_allclose(records["common_strength_dw"], exact, rtol=1e-4)


def test_a_bare_step_keeps_the_memory_as_it_is() -> None:
    trainer = Trainer(Network(RUN, (D,), K, K), has_momentum=False, metrics=("common_direction",))
    _, carry, _, batch = next(trained(1))
    after, _ = jax.jit(trainer.step)(carry, Hyper.of(RUN), batch)
    kept = jax.tree.map(np.array_equal, carry.metric_state, after.metric_state)
    assert all(jax.tree.leaves(kept))
    assert not np.array_equal(kernels(carry)[0], kernels(after)[0])
