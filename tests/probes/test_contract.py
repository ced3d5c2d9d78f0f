"""What the engine asks of a probe, asked of every file of tfc_jax/probes."""

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax import registry
from tfc_jax.schema import PROBE_TABLES, Column
from tfc_jax.sizes import Sizes
from tfc_jax.snapshot import ProbeView

Make = Callable[..., Any]
AsView = Callable[[Any], ProbeView]
NAMES = registry.names("probes")
N, WIDTHS = 30, (2, 7, 6, 3)
L, K, MIDDLE = 3, 3, 6
SHAPES = {"probe": (), "probe_layers": (L,), "classes": (L, K, K), "features": (MIDDLE, 2 * K)}
KINDS: dict[str, dict[str, Any]] = {
    "classes": {},
    "one input": {"widths": (1, 7, 6, 3)},
    "many inputs": {"widths": (9, 7, 6, 3)},
    "regression": {"widths": (1, 7, 6, 2), "regression": True},
    "no hidden layer": {"widths": (2, 3)},
}

each_probe = pytest.mark.parametrize("name", NAMES)


def columns(name: str) -> dict[str, Column]:
    return {column.name: column for column in registry.module("probes", name).COLUMNS}


@pytest.fixture(scope="module")
def look(as_view: AsView) -> Callable[[str, Any], dict[str, jax.Array]]:
    """`look(name, case)`: the columns of a probe, compiled once for each shape."""

    @cache
    def compiled(name: str) -> Callable[[Any], dict[str, jax.Array]]:
        return jax.jit(lambda case: registry.module("probes", name).compute(as_view(case)))

    return lambda name, case: compiled(name)(case)


@each_probe
def test_columns_say_what_they_are(name: str) -> None:
    found = registry.module("probes", name).COLUMNS
    assert found
    for column in found:
        assert isinstance(column, Column)
        assert column.name.isidentifier()
        assert column.table in PROBE_TABLES
        assert column.unit
        assert len(column.meaning) > 10


def test_no_column_belongs_to_two_probes_or_to_a_metric() -> None:
    declared = Counter(
        column.name
        for package in ("probes", "metrics")
        for name in registry.names(package)
        for column in registry.module(package, name).COLUMNS
    )
    assert max(declared.values()) == 1


@each_probe
def test_two_dimensional_classes_have_every_column_in_its_shape(
    name: str, make_case: Make, look: Make
) -> None:
    found, declared = look(name, make_case(n=N, widths=WIDTHS)), columns(name)
    missing = declared.keys() - found.keys()
    assert found.keys() <= declared.keys()
    assert all("integral" in column for column in missing)
    for column, value in found.items():
        assert value.shape == SHAPES[declared[column].table], column
        assert value.dtype == declared[column].dtype, column
        assert np.isfinite(value).all(), column


@each_probe
@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_one_table_have_one_shape_whatever_the_task(
    name: str, kind: str, make_case: Make, look: Make
) -> None:
    found, declared = look(name, make_case(n=N, **KINDS[kind])), columns(name)
    assert found.keys() <= declared.keys()
    shapes = {(declared[column].table, value.shape) for column, value in found.items()}
    assert len(shapes) == len({table for table, _ in shapes})
    assert all(np.isfinite(value).all() for value in found.values())


@each_probe
@pytest.mark.parametrize("regression", [False, True])
def test_runs_mapped_together_give_what_they_give_alone(
    name: str, regression: bool, make_case: Make, as_view: AsView, look: Make
) -> None:
    alone = [make_case(seed, N, WIDTHS, regression) for seed in range(3)]
    together = jax.tree.map(lambda *x: jnp.stack(x), *alone)
    mapped = jax.jit(jax.vmap(lambda c: registry.module("probes", name).compute(as_view(c))))
    found = mapped(together)
    for run, case in enumerate(alone):
        for column, value in look(name, case).items():
            # Sums in another order: a few roundings of numbers which are at most a few times one.
            np.testing.assert_allclose(found[column][run], value, rtol=1e-5, atol=1e-6)


@each_probe
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("regression", [False, True])
def test_a_diverged_network_gives_nan(
    name: str, value: float, regression: bool, make_case: Make, look: Make
) -> None:
    case = make_case(n=N, widths=WIDTHS, regression=regression)
    first = case.weights[0].at[:].set(value)
    found = look(name, case._replace(weights=(first, *case.weights[1:])))
    for column, values in found.items():
        if column == "sample_class":
            assert (values[0] == np.repeat(np.arange(K), 2)).all()
        elif column == "nc_valid":
            assert values == 0
        elif name == "salient":  # handed on as it came
            assert not np.isfinite(values).all()
        else:
            assert np.isnan(values).all(), column


@each_probe
def test_a_diverged_run_spoils_no_neighbour(
    name: str, make_case: Make, as_view: AsView, look: Make
) -> None:
    good, bad = make_case(0, N, WIDTHS), make_case(1, N, WIDTHS)
    bad = bad._replace(weights=jax.tree.map(lambda w: w * jnp.nan, bad.weights))
    together = jax.tree.map(lambda *x: jnp.stack(x), bad, good)
    compute = registry.module("probes", name).compute
    found = jax.jit(jax.vmap(lambda c: compute(as_view(c))))(together)
    for column, value in look(name, good).items():
        # As for runs mapped together.
        np.testing.assert_allclose(found[column][1], value, rtol=1e-5, atol=1e-6)


@each_probe
def test_a_look_is_priced_and_costs_more_of_a_larger_network(name: str) -> None:
    price = registry.module("probes", name).flops
    small, large = Sizes(100, 10, 600.0, 20), Sizes(10_000, 100, 60_000.0, 200)
    assert 0 < price(64, small) < price(64, large)
    assert price(64, small) < price(128, small)
