"""What the tests of probes share: networks by hand as a probe sees them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from tfc_jax.losses import data_loss
from tfc_jax.snapshot import ProbeView

Weights = tuple[Array, ...]


class Case(NamedTuple):
    """A bias-free ReLU network and its samples; `loss` and K are read off the targets."""

    weights: Weights
    inputs: Array
    targets: Array


MakeCase = Callable[..., Case]
MakeView = Callable[..., ProbeView]
Columns = dict[str, np.ndarray]
Look = Callable[..., Columns]


def features_of(weights: Weights, x_NxD: Array) -> Weights:
    features, h = [], x_NxD
    for layer, weight in enumerate(weights, start=1):
        h = jnp.matmul(h, weight, precision="highest")
        h = jax.nn.relu(h) if layer < len(weights) else h
        features.append(h)
    return tuple(features)


def view_of(case: Case) -> ProbeView:
    weights, inputs, targets = case
    loss = "cross_entropy" if targets.ndim == 1 else "mse"
    features = features_of(weights, inputs)
    return ProbeView(
        train_inputs=inputs,
        train_logits=features[-1],
        train_targets=targets,
        test_logits=features[-1][::-1],
        test_targets=targets,
        features=features,
        weights=weights,
        params=weights,
        train_loss=lambda params: data_loss(loss, features_of(params, inputs)[-1], targets),
        outputs=lambda x: features_of(weights, x)[-1],
        loss=loss,
        n_classes=weights[-1].shape[1] if targets.ndim == 1 else 0,
    )


@pytest.fixture(scope="session")
def as_view() -> Callable[[Case], ProbeView]:
    """`as_view(case)`, pure: what a probe sees of a network and its samples."""
    return view_of


@pytest.fixture(scope="session")
def make_case() -> MakeCase:
    """`make_case(seed, n, widths, regression)`: a random He network and random samples."""

    def make(
        seed: int = 0,
        n: int = 30,
        widths: Sequence[int] = (2, 7, 6, 3),
        regression: bool = False,
        dtype: Any = np.float32,
    ) -> Case:
        rng = np.random.default_rng(seed)
        shapes = list(pairwise(widths))
        weights = [rng.standard_normal(shape) * np.sqrt(2 / shape[0]) for shape in shapes]
        inputs = rng.uniform(-1, 1, (n, widths[0]))
        targets = rng.standard_normal((n, widths[-1])) if regression else np.arange(n) % widths[-1]
        kind = dtype if regression else np.int32
        return Case(
            tuple(jnp.asarray(weight, dtype) for weight in weights),
            jnp.asarray(inputs, dtype),
            jnp.asarray(targets, kind),
        )

    return make


@pytest.fixture(scope="session")
def make_view(make_case: MakeCase) -> MakeView:
    """`make_view(**of make_case, **fields of ProbeView)`."""

    def make(
        seed: int = 0,
        n: int = 30,
        widths: Sequence[int] = (2, 7, 6, 3),
        regression: bool = False,
        **fields: Any,
    ) -> ProbeView:
        return replace(view_of(make_case(seed, n, widths, regression)), **fields)

    return make


@pytest.fixture(scope="session")
def look(make_view: MakeView) -> Look:
    """`look(probe, arrays, **static)`: a probe's columns of a view with these fields.

    Compiled once for each shape, with the arrays as arguments: XLA would compute constants itself,
    in another order.
    """

    @cache
    def compiled(probe: ModuleType, static: tuple[tuple[str, Any], ...]) -> Callable[..., Columns]:
        return jax.jit(lambda arrays: probe.compute(make_view(**dict(static), **arrays)))

    def run(probe: ModuleType, arrays: dict[str, Any], **static: Any) -> Columns:
        found = compiled(probe, tuple(static.items()))(arrays)
        return {name: np.asarray(value) for name, value in found.items()}

    return run
