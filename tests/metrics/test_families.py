"""The contract of a metric family, for every file in the folder."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax import registry
from tfc_jax.schema import Column
from tfc_jax.snapshot import Snapshot

Make = Callable[..., Snapshot]
FAMILIES = registry.names("metrics")
LAYERS = 3
TENSORS = [f.name for f in fields(Snapshot) if f.name not in ("labels", "n_classes", "euler")]


def compute(family: str, snapshot: Snapshot) -> dict[str, jax.Array]:
    return jax.jit(registry.module("metrics", family).compute)(snapshot)


def columns(family: str) -> dict[str, Column]:
    return {column.name: column for column in registry.module("metrics", family).COLUMNS}


def with_first_layer(snapshot: Snapshot, value: float) -> Snapshot:
    """One entry of every array of layer 1, and both scalars, set to `value`."""

    def spoil(x: jax.Array) -> jax.Array:
        return x.at[(0,) * x.ndim].set(value)

    changed: dict[str, Any] = {}
    for name in TENSORS:
        old = getattr(snapshot, name)
        changed[name] = (spoil(old[0]), *old[1:]) if isinstance(old, tuple) else spoil(old)
    return replace(snapshot, **changed)


def test_the_four_families_are_found() -> None:
    assert {"gradients", "norms", "similarity", "units"} <= set(FAMILIES)


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
    mapped = jax.jit(jax.vmap(registry.module("metrics", family).compute))(together)
    for run, snapshot in enumerate(alone):
        for name, value in compute(family, snapshot).items():
            # Sums in another order: a few roundings of numbers which are at most a few times one.
            np.testing.assert_allclose(mapped[name][run], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_layer_gives_nan_and_spoils_no_other(
    family: str, make_snapshot: Make, value: float
) -> None:
    found = compute(family, with_first_layer(make_snapshot(), value))
    for name, column in found.items():
        if columns(family)[name].table == "steps":
            assert not np.isfinite(column)  # handed on as it came
        else:
            assert np.isnan(column[0]), name
            if name != "euler_gap":  # every layer reads the one product with the logits
                assert np.isfinite(column[1:]).all(), name
