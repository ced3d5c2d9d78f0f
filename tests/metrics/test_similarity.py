"""Feature cosines against closed forms, float64 twins over all pairs, and their invariances."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.metrics import similarity
from tfc_jax.snapshot import Snapshot

Make = Callable[..., Snapshot]
Twin = Callable[[np.ndarray, np.ndarray], Any]
B, H, K = 60, 37, 4
PAIR_COLUMNS = ("feature_cos", "feature_cos_within", "feature_cos_between")
CENTERED = ("feature_cos_within_centered", "feature_cos_between_centered")
# |S|^2 counts B^2 ordered pairs; a few roundings (2^-24) of it, spread over the B^2/K pairs within
# a class, the fewest here. The sums themselves are off by sqrt(B) roundings at random signs.
ATOL = 4 * B**0.5 * 2.0**-24 * K


def measure(
    make: Make, rows: np.ndarray, labels: np.ndarray, n_classes: int = K
) -> dict[str, float]:
    snapshot = make(
        features=(jnp.asarray(rows, jnp.float32),),
        labels=jnp.asarray(labels, jnp.int32),
        n_classes=n_classes,
    )
    return {name: float(value[0]) for name, value in jax.jit(similarity.compute)(snapshot).items()}


def random_rows(kind: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((B, H)) + rng.standard_normal(H)
    if kind == "relu":
        rows = np.maximum(rows, 0)
    if kind == "with dead rows":
        rows[[0, 7, 8, B - 1]] = 0
    if kind == "tiny and large rows":
        rows *= 10.0 ** rng.uniform(-25, 12, (B, 1))
    return rows.astype(np.float32)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(4).integers(0, K, B)


KINDS = ["signed", "relu", "with dead rows", "tiny and large rows"]


@pytest.mark.parametrize("kind", KINDS)
def test_cosines_match_a_double_loop_over_pairs(
    make_snapshot: Make, pairs: Twin, labels: np.ndarray, kind: str
) -> None:
    rows = random_rows(kind)
    found, twin = measure(make_snapshot, rows, labels), pairs(rows, labels)
    expected = [twin.everywhere, twin.within, twin.between]
    assert [found[name] for name in PAIR_COLUMNS] == pytest.approx(expected, abs=ATOL)
    assert found["feature_deficit"] == pytest.approx(1 - twin.everywhere, abs=ATOL)


@pytest.mark.parametrize("kind", KINDS)
def test_centered_cosines_match_a_double_loop_over_pairs(
    make_snapshot: Make, centered_pairs: Twin, labels: np.ndarray, kind: str
) -> None:
    rows = random_rows(kind)
    found, twin = measure(make_snapshot, rows, labels), centered_pairs(rows, labels)
    # Subtracting the mean costs a rounding of the row, which may be several times as long.
    expected = [twin.within, twin.between]
    assert [found[name] for name in CENTERED] == pytest.approx(expected, abs=4 * ATOL)


def test_orthogonal_and_opposite_rows_give_their_cosines(make_snapshot: Make) -> None:
    rows = np.array([[1, 0, 0], [-2, 0, 0], [0, 3, 0], [0, 5, 0]])
    found = measure(make_snapshot, rows, np.array([0, 0, 1, 1]))
    # Pairs: -1 and 1 within; 4 zeros between.
    assert found["feature_cos"] == pytest.approx(0, abs=1e-7)
    assert found["feature_cos_within"] == pytest.approx(0, abs=1e-7)
    assert found["feature_cos_between"] == pytest.approx(0, abs=1e-7)
    assert found["feature_deficit"] == pytest.approx(1, abs=1e-6)


def test_two_clusters_have_known_centered_cosines(make_snapshot: Make) -> None:
    rows = np.array([[5, 1], [5, 1], [5, -1], [5, -1]])
    found = measure(make_snapshot, rows, np.array([0, 0, 1, 1]))
    assert found["feature_cos_between"] == pytest.approx(24 / 26, abs=1e-6)
    assert found["feature_cos_within_centered"] == pytest.approx(1, abs=1e-6)
    assert found["feature_cos_between_centered"] == pytest.approx(-1, abs=1e-6)


def test_order_of_samples_does_not_matter(make_snapshot: Make, labels: np.ndarray) -> None:
    rows, order = random_rows("relu"), np.random.default_rng(5).permutation(B)
    before = measure(make_snapshot, rows, labels)
    after = measure(make_snapshot, rows[order], labels[order])
    assert after == pytest.approx(before, abs=ATOL)


def test_a_rotation_of_features_changes_nothing(make_snapshot: Make, labels: np.ndarray) -> None:
    rows = random_rows("with dead rows")
    rotation = np.linalg.qr(np.random.default_rng(6).standard_normal((H, H)))[0]
    before = measure(make_snapshot, rows, labels)
    after = measure(make_snapshot, rows @ rotation, labels)
    assert after == pytest.approx(before, abs=4 * ATOL)


def test_lengths_of_rows_do_not_matter(make_snapshot: Make, labels: np.ndarray) -> None:
    rows = random_rows("relu")
    factors = 10 ** np.random.default_rng(7).uniform(-30, 30, (B, 1))
    before = measure(make_snapshot, rows, labels)
    after = measure(make_snapshot, rows * factors, labels)
    for name in (*PAIR_COLUMNS, "feature_deficit"):
        assert after[name] == pytest.approx(before[name], abs=ATOL)


@pytest.mark.parametrize("scale", [1e-33, 1e-25, 1e25, 1e36])
def test_the_scale_of_a_layer_does_not_matter(
    make_snapshot: Make, labels: np.ndarray, scale: float
) -> None:
    rows = random_rows("signed")
    before = measure(make_snapshot, rows, labels)
    assert measure(make_snapshot, rows * scale, labels) == pytest.approx(before, abs=4 * ATOL)


def test_a_missing_class_is_no_class(make_snapshot: Make, pairs: Twin) -> None:
    rows, labels = random_rows("relu"), np.random.default_rng(8).choice([0, 3], B)
    found, twin = measure(make_snapshot, rows, labels), pairs(rows, labels)
    assert found["feature_cos_within"] == pytest.approx(twin.within, abs=ATOL)
    assert found["feature_cos_between"] == pytest.approx(twin.between, abs=ATOL)


def test_one_class_has_no_pair_between(make_snapshot: Make) -> None:
    found = measure(make_snapshot, random_rows("relu"), np.zeros(B, int))
    assert np.isnan(found["feature_cos_between"])
    assert np.isnan(found["feature_cos_between_centered"])
    assert found["feature_cos_within"] == pytest.approx(found["feature_cos"], abs=1e-7)


def test_one_sample_per_class_has_no_pair_within(make_snapshot: Make) -> None:
    found = measure(make_snapshot, random_rows("relu")[:K], np.arange(K))
    assert np.isnan(found["feature_cos_within"])
    assert np.isnan(found["feature_cos_within_centered"])
    assert found["feature_cos_between"] == pytest.approx(found["feature_cos"], abs=1e-6)


@pytest.mark.parametrize("alive", [0, 1])
def test_fewer_than_two_alive_rows_give_nan(make_snapshot: Make, alive: int) -> None:
    rows = np.zeros((B, H))
    rows[:alive] = 1
    found = measure(make_snapshot, rows, np.arange(B) % K)
    assert np.isnan(list(found.values())).all()


def test_copies_of_one_sample_have_deficit_0_and_no_centered_direction(
    make_snapshot: Make, labels: np.ndarray
) -> None:
    found = measure(make_snapshot, np.tile(random_rows("signed")[:1], (B, 1)), labels)
    assert found["feature_cos"] == pytest.approx(1, abs=1e-6)
    assert 0 <= found["feature_deficit"] < 1e-13  # the documented error
    assert np.isnan(found["feature_cos_within_centered"])
    assert np.isnan(found["feature_cos_between_centered"])


def test_a_deficit_of_1e_10_between_two_rows_is_resolved(make_snapshot: Make) -> None:
    t = np.float32(np.sqrt(0.5e-10))
    found = measure(make_snapshot, np.array([[1, t], [1, -t]]), np.array([0, 1]))
    expected = 2 * float(t) ** 2 / (1 + float(t) ** 2)
    assert found["feature_deficit"] == pytest.approx(expected, abs=1e-13)  # the documented error


@pytest.mark.parametrize(("batch", "n_classes"), [(100, K), (128, 1), (129, 1), (4096, 1)])
def test_a_deficit_below_1e_10_in_a_batch_is_resolved(
    make_snapshot: Make, batch: int, n_classes: int
) -> None:
    rng = np.random.default_rng(9)
    rows = (1 + rng.random(256) + 7e-6 * rng.standard_normal((batch, 256))).astype(np.float32)
    unit = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1)[:, None]
    expected = np.sum((unit - unit.mean(axis=0)) ** 2) / (batch - 1)
    assert 1e-12 < expected < 1e-10
    found = measure(make_snapshot, rows, np.arange(batch) % n_classes, n_classes)
    assert found["feature_deficit"] == pytest.approx(expected, abs=1e-13)  # the documented error


def test_large_batches_keep_six_digits(make_snapshot: Make) -> None:
    batch, n_classes = 4096, 10
    rng = np.random.default_rng(10)
    rows = np.maximum(rng.standard_normal((batch, 64)) + 0.5, 0).astype(np.float32)
    labels = rng.integers(0, n_classes, batch)
    unit = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1)[:, None]
    gram, same = unit @ unit.T, labels[:, None] == labels[None, :]
    np.fill_diagonal(gram, 0)
    expected = [gram.sum(), gram[same].sum(), gram[~same].sum()]
    n_pairs = [batch * (batch - 1), same.sum() - batch, (~same).sum()]
    found = measure(make_snapshot, rows, labels, n_classes)
    measured = [found[name] for name in PAIR_COLUMNS]
    assert measured == pytest.approx(np.divide(expected, n_pairs), abs=1e-6)  # documented


def test_regression_has_no_classes_to_compare(make_snapshot: Make) -> None:
    found = measure(make_snapshot, random_rows("signed"), np.zeros(B, int), n_classes=1)
    assert set(found) == {"feature_cos", "feature_deficit"}


def test_layers_of_different_width_do_not_mix(make_snapshot: Make) -> None:
    wide = make_snapshot(widths=(8, 8, 3))
    alone = [
        similarity.compute(make_snapshot(features=(layer,), labels=wide.labels))
        for layer in wide.features
    ]
    together = similarity.compute(wide)
    for name, column in together.items():
        apart = np.concatenate([layer[name] for layer in alone])
        np.testing.assert_allclose(column, apart, atol=1e-6)
