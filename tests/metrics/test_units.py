"""Counts of samples and units that are on."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.metrics import units
from tfc_jax.snapshot import Snapshot

Make = Callable[..., Snapshot]


def measure(make: Make, *layers: object) -> dict[str, list[float]]:
    features = tuple(jnp.asarray(layer, jnp.float32) for layer in layers)
    found = jax.jit(units.compute)(make(batch=len(features[0]), features=features))
    return {name: [float(value) for value in column] for name, column in found.items()}


def test_a_layer_by_hand(make_snapshot: Make) -> None:
    found = measure(make_snapshot, [[1, 0, 0, 2], [0, 0, 0, 0], [3, 0, 0, 0], [-1, 0, 0, 0]])
    assert found == {
        "alive": [3],
        "active_fraction": [3 / 16],
        "dead_units": [0.5],
        "dead_samples": [0.25],
    }


def test_counts_match_numpy_in_layers_of_different_width(make_snapshot: Make) -> None:
    rng = np.random.default_rng(0)
    layers = [np.maximum(rng.standard_normal((30, width)) - 1.5, 0) for width in (12, 5)]
    found = measure(make_snapshot, *layers)
    assert found["alive"] == [np.any(x > 0, axis=1).sum() for x in layers]
    expected = {
        "active_fraction": [np.mean(x > 0) for x in layers],
        "dead_units": [np.mean(~np.any(x > 0, axis=0)) for x in layers],
        "dead_samples": [np.mean(~np.any(x > 0, axis=1)) for x in layers],
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=2.0**-23)  # one rounding of a share


def test_a_row_of_1e_25_is_alive(make_snapshot: Make) -> None:
    found = measure(make_snapshot, [[1e-25, 0], [0, 0], [1, 1]])
    assert (found["alive"], found["active_fraction"]) == ([2], [0.5])


def test_a_dead_layer_is_counted_and_is_no_nan(make_snapshot: Make) -> None:
    found = measure(make_snapshot, np.zeros((4, 3)))
    expected = {"alive": [0], "active_fraction": [0], "dead_units": [1], "dead_samples": [1]}
    assert found == expected


def test_order_of_samples_and_units_does_not_matter(make_snapshot: Make) -> None:
    rng = np.random.default_rng(1)
    layer = np.maximum(rng.standard_normal((20, 9)) - 1.5, 0)
    moved = layer[rng.permutation(20)][:, rng.permutation(9)]
    assert measure(make_snapshot, moved) == measure(make_snapshot, layer)


def test_scale_does_not_matter(make_snapshot: Make) -> None:
    layer = np.maximum(np.random.default_rng(2).standard_normal((20, 9)) - 1, 0)
    assert measure(make_snapshot, 1e-30 * layer) == measure(make_snapshot, layer)
