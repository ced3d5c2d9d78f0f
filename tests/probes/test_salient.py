"""Which units and samples the table of features shows."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.probes import salient
from tfc_jax.schema import MOST_UNITS

Look = Callable[..., dict[str, np.ndarray]]
N, H, K = 24, 5, 3


def measure(
    look: Look, rows: np.ndarray, labels: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    layers = (jnp.zeros((len(rows), 3)), jnp.asarray(rows, jnp.float32), jnp.zeros((len(rows), K)))
    if labels is None:
        return look(salient, {"features": layers}, regression=True)
    targets = jnp.asarray(labels, jnp.int32)
    return look(salient, {"features": layers, "train_targets": targets}, n_classes=K)


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((N, H)).astype(np.float32)


def test_the_first_two_samples_of_each_class_are_shown(look: Look, rows: np.ndarray) -> None:
    labels = np.random.default_rng(1).integers(0, K, N)
    found = measure(look, rows, labels)
    first = np.concatenate([np.flatnonzero(labels == c)[:2] for c in range(K)])
    np.testing.assert_array_equal(found["feature"], rows[first].T)
    np.testing.assert_array_equal(found["sample_class"], np.tile(labels[first], (H, 1)))


def test_samples_that_the_probe_has_not_are_nan(look: Look, rows: np.ndarray) -> None:
    labels = np.zeros(N, int)
    labels[9] = 2  # class 1 is missing, class 2 has one sample
    found = measure(look, rows, labels)["feature"]
    np.testing.assert_array_equal(np.isnan(found[0]), [False, False, True, True, False, True])
    np.testing.assert_array_equal(found[:, 4], rows[9])


def test_variances_are_over_the_whole_probe_and_name_the_salient_units(
    look: Look, rows: np.ndarray
) -> None:
    rows *= np.array([1, 4, 2, 5, 3])
    found = measure(look, rows, np.arange(N) % K)["unit_variance"]
    expected = np.var(rows.astype(np.float64), axis=0)
    # Sums of N squares in float32, of deviations from a mean that is off by a rounding.
    np.testing.assert_allclose(found[:, 0], expected, rtol=N * 2.0**-23)
    assert (found == found[:, :1]).all()
    assert np.argsort(-found[:, 0]).tolist() == [3, 1, 4, 2, 0]


def test_a_large_common_value_does_not_drown_the_variance(look: Look) -> None:
    values = 1000 + np.arange(N) % 2  # exact in float32
    found = measure(look, np.tile(values[:, None], (1, H)), np.arange(N) % K)
    # Mean off by N/2 roundings of 1000, which enter squared.
    assert found["unit_variance"][0, 0] == pytest.approx(0.25, abs=(N * 1000 * 2.0**-24) ** 2)


def test_a_regression_shows_evenly_spaced_samples_without_a_class(look: Look) -> None:
    rows = np.arange(96, dtype=np.float32)[:, None]
    found = measure(look, rows)
    assert found.keys() == {"feature", "unit_variance"}
    np.testing.assert_array_equal(found["feature"][0], np.arange(0, 96, 5))


def test_a_small_regression_probe_shows_each_sample_once(look: Look) -> None:
    rows = np.arange(7, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(measure(look, rows)["feature"][0], np.arange(7))


def test_wide_layers_are_cut(look: Look) -> None:
    rows = np.tile(np.arange(MOST_UNITS + 3, dtype=np.float32), (6, 1))
    found = measure(look, rows, np.arange(6) % K)
    assert {value.shape for value in found.values()} == {(MOST_UNITS, 2 * K)}
    assert found["feature"][-1, 0] == MOST_UNITS - 1


@pytest.mark.parametrize(("depth", "middle"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_the_middle_layer_is_half_the_depth_rounded_up(look: Look, depth: int, middle: int) -> None:
    layers = tuple(jnp.full((30, 4), layer, jnp.float32) for layer in range(1, depth + 1))
    assert (look(salient, {"features": layers})["feature"] == middle).all()
