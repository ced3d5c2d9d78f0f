"""What the engine asks of an architecture, asked of every file of tfc_jax/models."""

from dataclasses import dataclass, replace
from functools import cache, partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy.stats import binomtest

from tfc_jax import data, registry
from tfc_jax.functional import Functional
from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.losses import data_loss
from tfc_jax.network import Network
from tfc_jax.sampling import Batch, batch_indices
from tfc_jax.train import Trainer

EPS = 2.0**-23
SHAPE, K, B = (8, 8, 1), 3, 4
D = 64
NAMES = registry.names("models")
CHANGES: list[dict[str, Any]] = [
    {},
    {"norm": "none", "activation": "abs"},
    {"norm": "layer", "bias": True},
    {"norm": "batch", "bias": True, "depth": 8},
    {"norm": "none", "depth": 1},
]
X = np.random.default_rng(0).standard_normal((B, D)).astype(np.float32)
Y = np.arange(B, dtype=np.int32) % K


def module(name: str) -> ModuleType:
    return registry.module("models", name)


def example(name: str, **changes: Any) -> Run:
    return Run(architecture=name, **module(name).EXAMPLE | changes)


def accepted(name: str) -> list[Run]:
    """The architecture's example, and variants of it that it does not refuse."""
    runs = dict.fromkeys(example(name, **changes) for changes in CHANGES)
    return [run for run in runs if not module(name).misfits(run, SHAPE)]


def label(run: Run) -> str:
    return f"{run.architecture}-depth{run.depth}-{run.norm}-{run.activation}-{run.bias}"


RUNS = [run for name in NAMES for run in accepted(name)]
of_every_architecture = pytest.mark.parametrize("name", NAMES)
of_every_variant = pytest.mark.parametrize("run", RUNS, ids=label)


def functional(run: Run) -> Functional:
    return Functional(Network(run, SHAPE, K, K))


# Compiling takes most of the time of what runs once.
compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@dataclass(frozen=True)
class Pass:
    """A forward and a backward pass of a network at step 0; gradients are of the mean loss."""

    state_after: dict
    taps: dict[str, np.ndarray]
    tap_grads: dict[str, np.ndarray]
    logits: np.ndarray
    kernel_grads: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Seen:
    """What one compiled function returns of a network; `order`: taps as they passed."""

    params: dict
    state: dict
    kernels: tuple[np.ndarray, ...]
    training: Pass
    alone: Pass  # the first sample, in evaluation mode
    evaluated: np.ndarray  # logits of the samples in reverse order, in evaluation mode
    order: tuple[str, ...]


def one_pass(net: Functional, params: dict, state: dict, x: Array, train: bool) -> dict[str, Any]:
    def objective(params: dict, bumps: dict[str, Array]) -> tuple[Array, Any]:
        taps: dict[str, Array] = {}

        def tap(name: str, value: Array) -> Array:
            assert name not in taps
            taps[name] = value
            return value + bumps[name]

        logits, after = net.apply(params, state, x, train=train, tap=tap)
        loss = data_loss(net.network.run.loss, logits, jnp.asarray(Y[: len(x)]))
        return loss, (logits, after, taps)

    differentiate = jax.grad(objective, argnums=(0, 1), has_aux=True)
    (grads, tap_grads), (logits, after, taps) = differentiate(params, net.zero_taps(x))
    kernel_grads = net.kernels(grads)
    return {
        "state_after": after,
        "taps": taps,
        "tap_grads": tap_grads,
        "logits": logits,
        "kernel_grads": kernel_grads,
    }


@cache
def seen_of(run: Run) -> Seen:
    net, order = functional(run), list[str]()

    def note(name: str, value: Array) -> Array:
        order.append(name)
        return value

    def everything(hyper: Hyper, x: Array) -> dict[str, Any]:
        params, state = net.init(hyper)
        return {
            "params": params,
            "state": state,
            "kernels": net.kernels(params),
            "training": one_pass(net, params, state, x, True),
            "alone": one_pass(net, params, state, x[:1], False),
            "evaluated": net.apply(params, state, x[::-1], train=False, tap=note)[0],
        }

    found = jax.tree.map(np.asarray, compiled(everything)(Hyper.of(run), jnp.asarray(X)))
    found |= {name: Pass(**found[name]) for name in ("training", "alone")}
    return Seen(**found, order=tuple(order))


def feature_names(run: Run) -> list[str]:
    return [*(f"feature_{layer}" for layer in range(1, run.depth)), f"linear_{run.depth}"]


def below(one: Pass, layer: int) -> np.ndarray:
    """What layer `layer` reads, flattened."""
    x = X[: len(one.logits)]
    return x if layer == 1 else one.taps[f"feature_{layer - 1}"].reshape(len(x), -1)


@of_every_architecture
def test_its_own_example_is_accepted(name: str) -> None:
    assert example(name) in RUNS


@of_every_variant
def test_sizes_count_what_is_trained(run: Run) -> None:
    seen = seen_of(run)
    sizes = module(run.architecture).sizes(run, SHAPE, K)
    assert sizes.n_params == sum(leaf.size for leaf in jax.tree.leaves(seen.params))
    hidden = feature_names(run)[:-1]
    assert sizes.n_units == sum(seen.training.taps[name][0].size for name in hidden)


@of_every_variant
def test_every_layer_passes_its_taps_once(run: Run) -> None:
    seen = seen_of(run)
    linear = [f"linear_{layer}" for layer in range(1, run.depth)]
    assert len(seen.order) == len(set(seen.order))
    assert [name for name in seen.order if name not in linear] == feature_names(run)
    assert all(value.shape[0] == B for value in seen.training.taps.values())
    assert seen.training.logits.shape == (B, K)
    assert np.array_equal(seen.training.logits, seen.training.taps[f"linear_{run.depth}"])


@of_every_variant
def test_what_a_tap_returns_is_what_the_layer_goes_on_with(run: Run) -> None:
    # The loss has a gradient to what the tap returns only if the logits depend on it.
    for name, grad in seen_of(run).training.tap_grads.items():
        assert np.abs(grad).max() > 1e-6, name


@of_every_variant
def test_kernels_are_weights_with_units_in_columns(run: Run) -> None:
    seen = seen_of(run)
    paths = module(run.architecture).kernel_paths(run)
    assert len(set(paths)) == len(seen.kernels) == run.depth
    for layer, (path, kernel) in enumerate(zip(paths, seen.kernels, strict=True), start=1):
        leaf: Any = seen.params
        for name in path:
            leaf = leaf[name]
        assert isinstance(leaf, np.ndarray)  # a leaf, not a subtree
        assert leaf.ndim >= 2
        assert kernel.shape == (leaf.size // leaf.shape[-1], leaf.shape[-1])
        if f"linear_{layer}" in seen.order:
            assert seen.training.taps[f"linear_{layer}"].shape[-1] == kernel.shape[1]
    assert seen.kernels[-1].shape[1] == K


def biases(run: Run, params: dict) -> list[np.ndarray | float]:
    """The biases beside W_1..W_L."""
    found: list[np.ndarray | float] = []
    for path in module(run.architecture).kernel_paths(run):
        owner: Any = params
        for name in path[:-1]:
            owner = owner[name]
        found.append(owner.get("bias", 0.0))
    return found


@of_every_variant
def test_dense_layers_multiply_the_whole_feature_below(run: Run) -> None:
    seen = seen_of(run)
    for layer in module(run.architecture).dense_layers(run):
        h, kernel = below(seen.training, layer).astype(np.float64), seen.kernels[layer - 1]
        expected = h @ kernel + biases(run, seen.params)[layer - 1]
        a = seen.training.taps[f"linear_{layer}"]
        # A float32 sum of `len(kernel)` products.
        scale = np.abs(h) @ np.abs(kernel)
        assert np.all(np.abs(a - expected) <= (len(kernel) + 2) * EPS * scale.max())


@of_every_variant
def test_a_samples_gradient_of_dense_weights_is_an_outer_product(run: Run) -> None:
    one = seen_of(run).alone
    for layer in module(run.architecture).dense_layers(run):
        delta = one.tap_grads[f"linear_{layer}"][0]
        outer = np.outer(below(one, layer)[0], delta)
        # One product of float32 numbers, perhaps fused.
        assert np.allclose(one.kernel_grads[layer - 1], outer, rtol=4 * EPS, atol=1e-30)


@of_every_architecture
def test_the_seed_alone_fixes_initial_directions(name: str) -> None:
    run, net = example(name), functional(example(name))
    init = compiled(lambda hyper: net.kernels(net.init(hyper)[0]))
    hyper = Hyper.of(run)
    halved = replace(hyper, init_scale=jnp.float32(0.5))
    elsewhere = replace(hyper, seed=jnp.uint32(1))
    for first, again, half, other in zip(
        *map(init, (hyper, hyper, halved, elsewhere)), strict=True
    ):
        assert np.array_equal(first, again)
        assert np.array_equal(0.5 * first, half)  # halving is exact
        assert not np.allclose(first, other)


@of_every_variant
def test_layers_start_from_different_weights(run: Run) -> None:
    # Every draw of one shape differs from every other, though only by its key.
    leaves = [leaf for leaf in jax.tree.leaves(seen_of(run).params) if leaf.ndim > 1]
    for i, leaf in enumerate(leaves):
        for other in leaves[:i]:
            assert leaf.shape != other.shape or not np.allclose(leaf, other)


@pytest.mark.parametrize(
    "run", [run for run in RUNS if module(run.architecture).euler_holds(run)], ids=label
)
def test_eulers_identity_holds_where_it_is_promised(run: Run) -> None:
    """<W_l, dL/dW_l> = mean_i <z_i, dl_i/dz_i> for every l."""
    net = functional(run)

    def kernels_and_pass(hyper: Hyper, x: Array) -> tuple[Any, dict[str, Any]]:
        params, state = net.init(hyper)
        return net.kernels(params), one_pass(net, params, state, x, True)

    with jax.enable_x64():
        hyper = Hyper.of(run, np.float64)
        kernels, one = compiled(kernels_and_pass)(hyper, jnp.asarray(X, np.float64))
        kernels, one = jax.tree.map(np.asarray, (kernels, one))
    assert one["logits"].dtype == np.float64
    expected = np.sum(one["logits"] * one["tap_grads"][f"linear_{run.depth}"])
    assert abs(expected) > 1e-6
    for kernel, grad in zip(kernels, one["kernel_grads"], strict=True):
        # Sums of some hundreds of float64 products.
        gap = abs(np.sum(kernel * grad) - expected)
        assert gap <= 1e-12 * np.linalg.norm(kernel) * np.linalg.norm(grad)


@of_every_architecture
def test_eulers_identity_is_not_promised_where_it_fails(name: str) -> None:
    holds = module(name).euler_holds
    plain = example(name, norm="none")
    for change in ({"activation": "tanh"}, {"bias": True}, {"norm": "batch"}, {"norm": "layer"}):
        assert not holds(replace(plain, **change))


@of_every_variant
def test_only_training_with_batch_norm_moves_the_state(run: Run) -> None:
    seen = seen_of(run)

    def moves(one: Pass) -> bool:
        pairs = zip(jax.tree.leaves(seen.state), jax.tree.leaves(one.state_after), strict=True)
        return any(not np.array_equal(before, after) for before, after in pairs)

    assert moves(seen.training) == (run.norm == "batch" and run.depth > 1)
    assert not moves(seen.alone)


@of_every_variant
def test_in_evaluation_a_sample_does_not_see_the_others(run: Run) -> None:
    seen = seen_of(run)
    # Products of another size may be summed in another order: some tens of roundings a layer.
    tolerance = 100 * run.depth * EPS * np.abs(seen.evaluated).max()
    assert np.abs(seen.evaluated[-1] - seen.alone.logits[0]).max() < tolerance


@of_every_architecture
def test_flat_inputs_are_refused_where_images_are_needed(name: str) -> None:
    run = example(name)
    found = module(name).misfits(run, (D,))
    assert len(found) <= 1
    for sentence in found:
        assert name in sentence
        assert run.dataset in sentence
        assert "image" in sentence
        assert sentence.endswith(".")
    lifted = replace(run, fourier_features=D // 2)
    assert [name in sentence for sentence in module(name).misfits(lifted, (D,))] == [
        True for _ in found
    ]
    if not found:
        net = Functional(Network(run, (D,), K, K))
        params, state = net.init(Hyper.of(run))
        assert net.apply(params, state, jnp.asarray(X), train=True)[0].shape == (B, K)


@of_every_architecture
def test_structured_weights_are_for_perceptrons_alone(name: str) -> None:
    run = example(name, init="structured", bias=True)
    refused = [s for s in module(name).misfits(run, SHAPE) if s.startswith("init: structured")]
    assert len(refused) == 1


N_STEPS, BATCH = 200, 50


@pytest.mark.slow
@of_every_architecture
def test_every_architecture_learns_digits_in_a_short_run(name: str) -> None:
    """At least twice chance: the lower 95 % bound on 360 test samples is 0.2 or more."""
    digits = data.load("digits")
    run = example(name, batch_size=BATCH, steps=N_STEPS)
    trainer = Trainer(Network(run, digits.input_shape, 10, 10), has_momentum=False, metrics=())
    x, x_test = (
        jnp.asarray(raw.reshape(len(raw), -1) / digits.max_value, jnp.float32)
        for raw in (digits.x_train, digits.x_test)
    )

    def correct(hyper: Hyper, y: Array) -> Array:
        def step(carry: Any, rows: Array) -> tuple[Any, None]:
            return trainer.step(carry, hyper, Batch(x[rows], y[rows]))[0], None

        order = batch_indices(hyper.seed, jnp.int32(0), N_STEPS, len(x), BATCH)
        carry, _ = jax.lax.scan(step, trainer.init(hyper), order)
        logits, _ = trainer.net.apply(carry.params, carry.model_state, x_test, train=False)
        return jnp.sum(jnp.argmax(logits, axis=1) == digits.y_test)

    n_correct = int(jax.jit(correct)(Hyper.of(run), jnp.asarray(digits.y_train)))
    share = binomtest(n_correct, len(x_test)).proportion_ci(0.95, method="wilson")
    assert share.low >= 0.2
