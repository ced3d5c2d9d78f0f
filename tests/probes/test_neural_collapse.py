"""Neural collapse against its dense definition in float64, and where it is complete or void."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.probes import neural_collapse
from tfc_jax.snapshot import ProbeView

Make = Callable[..., ProbeView]
Look = Callable[..., dict[str, np.ndarray]]
N, H, K = 60, 9, 4
NAMES = ("nc1", "nc2_equinorm", "nc2_equiangular", "nc3", "nc4")
# Class means are sums of N/K rows, off by sqrt(N/K) roundings of the rows at random signs; rows are
# a few times as long as the centred means, and nc1 squares both.
RTOL = 16 * (N / K) ** 0.5 * 2.0**-24


def measure(
    look: Look, rows: np.ndarray, labels: np.ndarray, weight: np.ndarray, logits: np.ndarray
) -> dict[str, float]:
    features = (jnp.asarray(rows, jnp.float32), jnp.asarray(logits, jnp.float32))
    arrays = {
        "features": features,
        "train_logits": features[1],
        "weights": (jnp.zeros((2, rows.shape[1])), jnp.asarray(weight, jnp.float32)),
        "train_targets": jnp.asarray(labels, jnp.int32),
    }
    found = look(neural_collapse, arrays, n_classes=K)
    return {name: float(value) for name, value in found.items()}


def twin(
    rows: np.ndarray, labels: np.ndarray, weight: np.ndarray, logits: np.ndarray
) -> dict[str, float]:
    """The definitions word for word, with H x H matrices and a pseudo-inverse."""
    h = rows.astype(np.float32).astype(np.float64)
    present = np.unique(labels)
    k = len(present)
    mu = {c: h[labels == c].mean(axis=0) for c in present}
    centred = np.stack([mu[c] for c in present])
    centred = centred - centred.mean(axis=0)
    between = centred.T @ centred / k
    residual = h - np.stack([mu[c] for c in labels])
    within = residual.T @ residual / len(h)
    norms = np.linalg.norm(centred, axis=1)
    cosines = centred @ centred.T / np.outer(norms, norms)
    w = weight.T[present] / np.linalg.norm(weight.T[present])
    distance = np.stack([np.linalg.norm(h - mu[c], axis=1) for c in present], axis=1)
    return {
        "nc1": np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / k,
        "nc2_equinorm": norms.std() / norms.mean(),
        "nc2_equiangular": np.abs(cosines + 1 / (k - 1))[~np.eye(k, dtype=bool)].mean(),
        "nc3": np.linalg.norm(w - centred / np.linalg.norm(centred)),
        "nc4": np.mean(present[distance.argmin(axis=1)] != logits.argmax(axis=1)),
        "nc_valid": 1.0,
    }


def random_arrays(kind: str = "") -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.minimum(rng.integers(0, K + 2, N), K - 1)  # unbalanced
    rows = rng.standard_normal((K, H))[labels] + rng.standard_normal((N, H)) + 3
    weight, logits = rng.standard_normal((H, K)), rng.standard_normal((N, K))
    if kind == "a class missing":
        labels[labels == 1] = 2
    if kind == "dead rows and units":
        rows = np.maximum(rows - 3, 0)
        rows[:4], rows[:, 5] = 0, 0
    if kind == "two classes":
        labels[labels > 1] = 0
    return rows, labels, weight, logits


@pytest.mark.parametrize("kind", ["all", "a class missing", "two classes", "dead rows and units"])
@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25])
def test_every_column_matches_its_dense_definition(look: Look, kind: str, scale: float) -> None:
    rows, labels, weight, logits = random_arrays(kind)
    found = measure(look, scale * rows, labels, scale * weight, logits)
    expected = twin(rows, labels, weight, logits)
    # Of gaps that may be near 0, the terms are of size 1.
    assert found == pytest.approx(expected, rel=RTOL, abs=RTOL)


def test_more_units_than_samples_need_no_square_matrix(look: Look) -> None:
    rng = np.random.default_rng(1)
    _, labels, _, logits = random_arrays()
    rows, weight = rng.standard_normal((N, 3 * N)), rng.standard_normal((3 * N, K))
    found = measure(look, rows, labels, weight, logits)
    expected = twin(rows, labels, weight, logits)
    assert found == pytest.approx(expected, rel=RTOL, abs=RTOL)


def test_directions_in_which_class_means_hardly_differ_count(look: Look) -> None:
    """S_B's eigenvalues span 1 to 1e-7, where its matrix in float32 would be rounding."""
    rng = np.random.default_rng(2)
    labels = np.arange(N) % K
    size = np.array([1.0, 1e-2, 3e-4, *[0] * (H - 3)])
    rows = (rng.standard_normal((K, H))[labels] + 0.1 * rng.standard_normal((N, H))) * size
    weight, logits = rng.standard_normal((H, K)), np.eye(K)[labels]
    found = measure(look, rows, labels, weight, logits)["nc1"]
    # Means are off by (N/K)^(1/2) roundings of the rows, 1/3e-4 times as much of the least ones.
    assert found == pytest.approx(twin(rows, labels, weight, logits)["nc1"], rel=RTOL / 3e-4)


def test_rotations_scales_and_shifts_change_nothing(look: Look) -> None:
    rows, labels, weight, logits = random_arrays()
    rng = np.random.default_rng(3)
    rotation = np.linalg.qr(rng.standard_normal((H, H)))[0]
    moved = 7 * rows @ rotation + rng.standard_normal(H)
    before = measure(look, rows, labels, weight, logits)
    after = measure(look, moved, labels, rotation.T @ weight, logits)
    assert after == pytest.approx(before, rel=2 * RTOL, abs=2 * RTOL)  # of two measurements


def test_a_simplex_is_neural_collapse(look: Look) -> None:
    labels = np.arange(N) % K
    simplex = (np.eye(K) - 1 / K) @ np.linalg.qr(np.random.default_rng(4).standard_normal((H, K)))[
        0
    ].T
    found = measure(look, simplex[labels] + 2, labels, 5 * simplex.T, np.eye(K)[labels])
    assert found.pop("nc_valid") == 1
    assert list(found.values()) == pytest.approx([0] * 5, abs=RTOL)


def test_opposite_weights_are_farthest_from_duality(look: Look) -> None:
    labels = np.arange(N) % K
    means = np.eye(K, H) - 1 / K * np.ones(K) @ np.eye(K, H)
    found = measure(look, means[labels], labels, -means.T, np.eye(K)[labels])
    assert found["nc3"] == pytest.approx(2, abs=RTOL)


def test_answers_other_than_the_nearest_mean_are_counted(look: Look) -> None:
    labels = np.arange(N) % K
    answers = np.eye(K)[labels]
    answers[:9] = np.roll(answers[:9], 1, axis=1)
    rows = np.eye(K, H)[labels]
    found = measure(look, rows, labels, np.ones((H, K)), answers)
    assert found["nc4"] == np.float32(9 / N)


def collapsed(kind: str) -> np.ndarray:
    rng = np.random.default_rng(5)
    common = np.ones((N, 1)) * (3 + rng.random(H))
    if kind == "equal but for a rounding":
        rows = common.astype(np.float32)
        return np.where(rng.random((N, H)) < 0.5, rows, np.nextafter(rows, np.float32(9)))
    return {"equal": common, "dead": 0 * common, "tiny": 1e-25 * common}[kind]


@pytest.mark.parametrize("kind", ["equal", "equal but for a rounding", "dead", "tiny"])
def test_total_collapse_is_marked_and_not_measured(look: Look, kind: str) -> None:
    found = measure(look, collapsed(kind), *random_arrays()[1:])
    assert found.pop("nc_valid") == 0
    assert np.isnan(list(found.values())).all()


def test_class_means_that_differ_by_more_than_rounding_are_measured(look: Look) -> None:
    """The bound is no more than 10 roundings of a feature where samples hardly deviate."""
    labels = np.arange(N) % K
    rows = 1 + 16 * 2.0**-23 * np.eye(K, H)[labels] * H**0.5
    found = measure(look, rows, labels, np.ones((H, K)), np.eye(K)[labels])
    assert found["nc_valid"] == 1
    assert found["nc1"] < RTOL**2  # rows are off their class mean by roundings, and squared


def test_one_class_alone_has_no_others_to_differ_from(look: Look) -> None:
    rows, _, weight, logits = random_arrays()
    found = measure(look, rows, np.full(N, 2), weight, logits)
    assert found.pop("nc_valid") == 0
    assert np.isnan(list(found.values())).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_bad_number_makes_it_void(look: Look, value: float) -> None:
    for position in (0, 3):  # in the features, in the logits
        arrays = list(random_arrays())
        arrays[position] = arrays[position].copy()
        arrays[position][5, 1] = value
        found = measure(look, *arrays)
        assert found.pop("nc_valid") == 0
        assert np.isnan(list(found.values())).all()


def test_weights_of_another_size_have_no_duality(look: Look) -> None:
    rows, labels, _, logits = random_arrays()
    found = measure(look, rows, labels, np.ones((H + 1, K)), logits)
    assert set(NAMES) - set(found) == {"nc3"}


def test_without_hidden_layer_the_inputs_are_judged(look: Look, make_view: Make) -> None:
    view = make_view(n=N, widths=(H, K))
    found = look(neural_collapse, {}, n=N, widths=(H, K))
    x, weight = np.asarray(view.train_inputs), np.asarray(view.weights[0], np.float64)
    labels, logits = np.asarray(view.train_targets), np.asarray(view.train_logits)
    expected = twin(x, labels, weight, logits)
    # Rows are several times as long as the centred means.
    assert found == pytest.approx(expected, rel=4 * RTOL)


def test_a_regression_has_no_classes(look: Look) -> None:
    assert look(neural_collapse, {}, regression=True) == {}
