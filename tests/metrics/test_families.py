"""The contract of a metric family, for every file in the folder, with a memory or without."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax import registry
from tfc_jax.schema import Column
from tfc_jax.snapshot import OnLayers, Snapshot, Traits, Values

Make = Callable[..., Snapshot]
FAMILIES = registry.names("metrics")
WITH_MEMORY = [name for name in FAMILIES if hasattr(registry.module("metrics", name), "init")]
LAYERS = 3
STATIC = {"n_classes", "euler", "dense"}
TENSORS = [f.name for f in fields(Snapshot) if f.name not in {"step", "labels", *STATIC}]


def compute(family: str, snapshot: Snapshot) -> dict[str, Any]:
    """The columns at the first step."""
    return jax.jit(first_look, static_argnums=0)(family, snapshot)


def first_look(family: str, snapshot: Snapshot) -> dict[str, Any]:
    module = registry.module("metrics", family)
    if family in WITH_MEMORY:
        return module.update(snapshot, module.init(snapshot.weights))[0]
    return module.compute(snapshot)


def columns(family: str) -> dict[str, Column]:
    return {column.name: column for column in registry.module("metrics", family).COLUMNS}


def on_every_layer(values: Values) -> np.ma.MaskedArray:
    """The values as they are stored: masked where the column is not defined."""
    if not isinstance(values, OnLayers):
        return np.ma.asarray(values)
    full = np.ma.masked_all(LAYERS, np.float32)
    full[np.array(values.layers) - 1] = values.values
    return full


def with_layer(snapshot: Snapshot, layer: int, value: float) -> Snapshot:
    """One entry of every array of a layer, of the inputs, and both scalars, set to `value`."""

    def spoil(x: jax.Array) -> jax.Array:
        return x.at[(0,) * x.ndim].set(value)

    changed: dict[str, Any] = {}
    for name in TENSORS:
        old = getattr(snapshot, name)
        if isinstance(old, tuple):
            changed[name] = tuple(spoil(x) if i == layer else x for i, x in enumerate(old, 1))
        elif name != "inputs" or layer == 1:
            changed[name] = spoil(old)
    return replace(snapshot, **changed)


def test_families_with_a_memory_and_without_are_found() -> None:
    assert {"gradients", "norms", "similarity", "units", "weight_gradients"} <= set(FAMILIES)
    assert "common_direction" in WITH_MEMORY


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_measures_one_way(family: str) -> None:
    module = registry.module("metrics", family)
    assert hasattr(module, "compute") != hasattr(module, "update")
    assert hasattr(module, "init") == hasattr(module, "update")


@pytest.mark.parametrize("family", FAMILIES)
def test_columns_say_what_they_are(family: str) -> None:
    found = registry.module("metrics", family).COLUMNS
    assert found
    for column in found:
        assert isinstance(column, Column)
        assert column.name.isidentifier()
        assert column.table in ("steps", "layers")
        assert column.unit
        assert len(column.meaning) > 10


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_says_what_share_of_a_bare_step_it_costs(family: str) -> None:
    cost = registry.module("metrics", family).COST
    assert isinstance(cost, float)
    assert 0 < cost < 3


def test_no_column_belongs_to_two_families() -> None:
    names = [column.name for f in FAMILIES for column in registry.module("metrics", f).COLUMNS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_column_has_its_shape_and_is_a_number(family: str, make_snapshot: Make) -> None:
    found, declared = compute(family, make_snapshot()), columns(family)
    assert found.keys() == declared.keys()
    for name, value in found.items():
        assert value.shape == ((LAYERS,) if declared[name].table == "layers" else ())
        assert value.dtype == declared[name].dtype
        assert np.isfinite(value).all(), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dense", [(), (3,), (1, 3)])
def test_where_layers_are_not_dense_values_are_null_or_the_same(
    family: str, make_snapshot: Make, dense: tuple[int, ...]
) -> None:
    everywhere, deltas = compute(family, make_snapshot()), make_snapshot().deltas
    partly = tuple(d if layer != 2 else None for layer, d in enumerate(deltas, start=1))
    found = compute(family, make_snapshot(dense=dense, deltas=partly))
    assert found.keys() <= everywhere.keys()
    for name, values in found.items():
        if isinstance(values, OnLayers):
            assert values.values.shape == (len(values.layers),)
            assert list(values.layers) == sorted(set(values.layers) & {1, 2, 3})
        stored = on_every_layer(values)
        expected = np.ma.masked_array(everywhere[name], stored.mask)
        # Sums in another order, as below.
        np.testing.assert_allclose(stored.compressed(), expected.compressed(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_regression_returns_declared_columns_only(family: str, make_snapshot: Make) -> None:
    snapshot = make_snapshot(labels=jnp.zeros(24, jnp.int32), n_classes=1)
    found = compute(family, snapshot)
    assert found.keys() <= columns(family).keys()
    assert all(np.isfinite(value).all() for value in found.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_runs_mapped_together_give_what_they_give_alone(family: str, make_snapshot: Make) -> None:
    alone = [make_snapshot(seed) for seed in range(4)]
    alone[1] = jax.tree.map(lambda x: x * 1e-25 if x.dtype == jnp.float32 else x, alone[1])
    together = jax.tree.map(lambda *x: jnp.stack(x), *alone)
    mapped = jax.jit(jax.vmap(lambda snapshot: first_look(family, snapshot)))(together)
    for run, snapshot in enumerate(alone):
        for name, value in compute(family, snapshot).items():
            # Sums in another order: a few roundings of numbers which are at most a few times one.
            np.testing.assert_allclose(mapped[name][run], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_layer_gives_nan_and_spoils_no_other(
    family: str, make_snapshot: Make, layer: int, value: float
) -> None:
    found = compute(family, with_layer(make_snapshot(), layer, value))
    for name, column in found.items():
        if columns(family)[name].table == "steps":
            assert not np.isfinite(column)  # handed on as it came
            continue
        assert np.isnan(column[layer - 1]), name
        if name != "euler_gap":  # every layer reads the one product with the logits
            # The layer above reads the spoilt feature.
            others = np.delete(column, [layer - 1, min(layer, LAYERS - 1)])
            assert np.isfinite(others).all(), name


@pytest.mark.parametrize("family", WITH_MEMORY)
def test_a_memory_keeps_its_structure_shapes_and_dtypes(family: str, make_snapshot: Make) -> None:
    module, snapshot = registry.module("metrics", family), make_snapshot()
    before = module.init(snapshot.weights)
    _, after = jax.jit(module.update)(snapshot, before)
    structures: list[Any] = [jax.tree.structure(state) for state in (before, after)]
    assert structures[0] == structures[1]

    def kind(leaf: jax.Array) -> tuple[Any, ...]:
        return leaf.shape, leaf.dtype, leaf.weak_type

    assert jax.tree.map(kind, before) == jax.tree.map(kind, after)


@pytest.mark.parametrize("family", WITH_MEMORY)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bad_step_is_not_remembered(family: str, make_snapshot: Make, value: float) -> None:
    module, snapshot = registry.module("metrics", family), make_snapshot()
    look = jax.jit(module.update)
    _, state = look(snapshot, module.init(snapshot.weights))
    for layer in (1, 2, 3):
        _, state = look(with_layer(snapshot, layer, value), state)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    assert all(np.isfinite(column).all() for column in look(snapshot, state)[0].values())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_one_sample_has_no_value_where_that_is_declared(
    family: str, make_snapshot: Make
) -> None:
    module = registry.module("metrics", family)
    is_empty = all(np.isnan(x).all() for x in compute(family, make_snapshot(batch=1)).values())
    traits = Traits(LAYERS, 3, 1, (1, 2, 3), reads_last_feature=True)
    assert is_empty == bool(hasattr(module, "lacks") and module.lacks(traits))
