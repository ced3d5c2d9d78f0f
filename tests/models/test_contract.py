"""What the engine asks of an architecture, asked of every file of tfc_jax/models."""

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from tfc_jax import registry
from tfc_jax.keys import Run
from tfc_jax.sizes import Sizes
from tfc_jax.train import Trainer

D, K, B = 6, 3, 4
NAMES = registry.names("models")
VARIANTS = [
    Run(depth=1),
    Run(depth=2, width=5),
    Run(depth=5, width=4, bias=True, norm="batch"),
    Run(depth=4, width=7, norm="layer"),
]
X = jnp.asarray(np.random.default_rng(0).standard_normal((B, D)), jnp.float32)

pytestmark = pytest.mark.parametrize("name", NAMES)
with_variants = pytest.mark.parametrize("variant", VARIANTS, ids=lambda run: f"depth{run.depth}")


def trainer(name: str, variant: Run) -> Trainer:
    run = replace(variant, architecture=name)
    return Trainer(run, D, K, K, has_momentum=False, metrics=())


def hyper(seed: int = 0, init_scale: float = 1.0) -> Hyper:
    others = {f.name: jnp.float32(0) for f in fields(Hyper)}
    return Hyper(
        **others | {"seed": jnp.uint32(seed), "init_scale": jnp.float32(init_scale)},
    )


def module(name: str) -> ModuleType:
    return registry.module("models", name)


def forward(one: Trainer, tap: Callable[[str, Array], Array]) -> Array:
    carry = one.init(hyper())
    return one.net.apply(carry.params, carry.model_state, X, train=True, tap=tap)[0]


@with_variants
def test_sizes_count_what_is_trained(name: str, variant: Run) -> None:
    one = trainer(name, variant)
    sizes: Sizes = module(name).sizes(one.run, D, K)
    params = one.init(hyper()).params
    assert sizes.n_params == sum(leaf.size for leaf in jax.tree.leaves(params))
    assert sizes.flops_per_sample > 0
    assert sizes.activations_per_sample > 0


@with_variants
def test_units_are_the_hidden_features(name: str, variant: Run) -> None:
    one = trainer(name, variant)
    seen: dict[str, int] = {}

    def tap(name: str, value: Array) -> Array:
        seen[name] = value.size // B
        return value

    forward(one, tap)
    hidden = sum(size for name, size in seen.items() if name.startswith("feature_"))
    assert module(name).sizes(one.run, D, K).n_units == hidden


@with_variants
def test_every_layer_passes_the_tap_once(name: str, variant: Run) -> None:
    seen: list[str] = []

    def tap(name: str, value: Array) -> Array:
        seen.append(name)
        assert value.shape[0] == B
        return value

    logits = forward(trainer(name, variant), tap)
    linear = [f"linear_{layer}" for layer in range(1, variant.depth + 1)]
    feature = [f"feature_{layer}" for layer in range(1, variant.depth)]
    assert sorted(seen) == sorted(linear + feature)
    assert logits.shape == (B, K)


@with_variants
def test_what_a_tap_returns_is_what_the_layer_goes_on_with(name: str, variant: Run) -> None:
    one = trainer(name, variant)
    seen: list[str] = []

    def note(name: str, value: Array) -> Array:
        seen.append(name)
        return value

    logits = forward(one, note)
    rng = np.random.default_rng(1)
    for tapped in seen:

        def disturb(name: str, value: Array, tapped: str = tapped) -> Array:
            bump = jnp.asarray(rng.uniform(1, 2, value.shape), jnp.float32)
            return value + bump if name == tapped else value

        assert not np.allclose(forward(one, disturb), logits), tapped


@with_variants
def test_kernels_are_the_weights_of_every_layer(name: str, variant: Run) -> None:
    one = trainer(name, variant)
    params = one.init(hyper()).params
    kernels = module(name).kernels(params)
    assert len(kernels) == variant.depth
    fans = [D, *[k.shape[1] for k in kernels]]
    assert [k.shape for k in kernels] == list(pairwise(fans))
    assert fans[-1] == K
    leaves = [id(leaf) for leaf in jax.tree.leaves(params)]
    assert all(id(k) in leaves for k in kernels)


def test_the_seed_alone_fixes_initial_directions(name: str) -> None:
    one = trainer(name, VARIANTS[1])
    kernels = module(name).kernels
    first, again, scaled, other = (
        kernels(one.init(hyper(seed, scale)).params)
        for seed, scale in [(0, 1.0), (0, 1.0), (0, 0.5), (1, 1.0)]
    )
    for layer in range(VARIANTS[1].depth):
        assert np.array_equal(first[layer], again[layer])
        assert np.array_equal(0.5 * first[layer], scaled[layer])  # halving is exact
        assert not np.allclose(first[layer], other[layer])


def test_layers_start_from_different_weights(name: str) -> None:
    one = trainer(name, Run(depth=4, width=D))
    second, third = module(name).kernels(one.init(hyper()).params)[1:3]
    assert not np.allclose(second, third)


def test_eulers_identity_is_not_promised_where_it_fails(name: str) -> None:
    holds = module(name).euler_holds
    assert holds(Run(architecture=name))
    for change in ({"activation": "tanh"}, {"bias": True}, {"norm": "batch"}, {"norm": "layer"}):
        assert not holds(replace(Run(architecture=name), **change))
