"""Recurrent networks: against hand-written cells, and against what a sequence implies."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise, product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.networks import Case, K, in_float64, learned, numbers, side_by_side, tap_slopes
from tfc_jax import registry
from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run

EPS, EPS32 = 2.0**-52, 2.0**-23
SHAPE, H, B = (5, 4, 2), 6, 3  # steps, and what a step reads: 4 pixels of 2 channels
NAMES = ("rnn", "lstm", "gru")
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
each = pytest.mark.parametrize("name", NAMES)


def run_of(name: str, **keys: Any) -> Run:
    """torch_default draws biases that are not zero."""
    built_in: dict[str, Any] = {"activation": "tanh", "bias": True}
    small: dict[str, Any] = {"depth": 3, "width": H, "init": "torch_default"}
    return Run(architecture=name, **small | built_in | keys)


@cache
def case_of(name: str, **keys: Any) -> Case:
    return Case(run_of(name, **keys), SHAPE)


def logistic(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def rnn_step(cell: dict, act: Callable, state: tuple, x: np.ndarray) -> tuple:
    """Elman (1990), equation of his figure 2."""
    (h,) = state
    bias = cell["dense_i"].get("bias", 0.0)
    return (act(x @ cell["dense_i"]["kernel"] + bias + h @ cell["dense_h"]["kernel"]),)


def lstm_step(cell: dict, act: Callable, state: tuple, x: np.ndarray) -> tuple:
    """Gers, Schmidhuber and Cummins (2000), without peepholes; each gate from its own matrices."""
    c, h = state
    inputs, states = (np.split(cell[k]["kernel"], 4, axis=1) for k in ("dense_i", "dense_h"))
    biases = np.split(cell["dense_h"]["bias"], 4)
    i, f, g, o = (x @ w + h @ u + b for w, u, b in zip(inputs, states, biases, strict=True))
    c = logistic(f) * c + logistic(i) * np.tanh(g)
    return c, logistic(o) * np.tanh(c)


def gru_step(cell: dict, act: Callable, state: tuple, x: np.ndarray) -> tuple:
    """Cho et al. (arXiv 1406.1078), equations 5-8, with r after the product; z keeps the state."""
    (h,) = state
    w_r, w_z, w_n = np.split(cell["dense_i"]["kernel"], 3, axis=1)
    u_r, u_z, u_n = np.split(cell["dense_h"]["kernel"], 3, axis=1)
    b_r, b_z, b_n = np.split(cell["dense_i"]["bias"], 3)
    r, z = logistic(x @ w_r + b_r + h @ u_r), logistic(x @ w_z + b_z + h @ u_z)
    return ((1 - z) * np.tanh(x @ w_n + b_n + r * (h @ u_n)) + z * h,)


STEPS = {"rnn": rnn_step, "lstm": lstm_step, "gru": gru_step}
ACTS: dict[str, Callable] = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "identity": lambda a: a,
}


def twin(run: Run, params: dict, x: np.ndarray) -> list[np.ndarray]:
    """Hidden sequences (B, T, H) of every layer, and the logits."""
    step, act, found = STEPS[run.architecture], ACTS[run.activation], []
    h_BxTxD = x.reshape(len(x), SHAPE[0], -1).astype(np.float64)
    for layer in range(run.depth - 1):
        zeros = np.zeros((len(x), run.width))
        state, sequence = (zeros, zeros) if run.architecture == "lstm" else (zeros,), []
        for t in range(SHAPE[0]):
            state = step(params["layers"][layer]["cell"], act, state, h_BxTxD[:, t])
            sequence.append(state[-1])
        h_BxTxD = np.stack(sequence, axis=1)
        found.append(h_BxTxD)
    head = params["head"]
    return [*found, h_BxTxD[:, -1] @ head["kernel"] + head.get("bias", 0.0)]


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("lstm", {}),
        ("gru", {}),
        *(("rnn", {"activation": act, "bias": bias}) for act, bias in product(ACTS, (False, True))),
    ],
)
def test_the_network_is_the_hand_written_one(name: str, keys: dict) -> None:
    case = case_of(name, **keys)
    x = case.images(B)
    expected = twin(case.run, numbers(case.initial[0]), x)
    with in_float64((case.initial[0], x)) as (params, exact_x):
        _, seen = case.forward(exact_x, params=params)
    for key, wanted in zip(case.trainer.net.feature_names, expected, strict=True):
        # 10 steps on the way to the last state, each of sums of at most 14 terms; none expands.
        found, scale = np.asarray(seen[key]), max(1, np.abs(wanted).max())
        assert np.abs(found - wanted).max() < 10 * 14 * EPS * scale


@each
def test_every_layer_passes_its_whole_sequence_once(name: str) -> None:
    case = case_of(name)
    logits, seen = case.forward(case.images(B))
    sequence = (B, SHAPE[0], H)
    shapes = {"feature_1": sequence, "feature_2": sequence, "linear_3": (B, K)}
    assert {key: value.shape for key, value in seen.items()} == shapes
    assert np.array_equal(logits, seen["linear_3"])


@each
def test_the_head_reads_the_last_step_alone(name: str) -> None:
    case = case_of(name)
    logits, seen = case.forward(case.images(B))
    head, last = numbers(case.initial[0]["head"]), numbers(seen["feature_2"])[:, -1]
    expected = last @ head["kernel"] + head["bias"]
    assert np.abs(logits - expected).max() < 8 * EPS32  # sums of 7 terms below 1
    early = jnp.ones((B, SHAPE[0], H)).at[:, -1].set(0.0)
    assert np.array_equal(case.forward(case.images(B), {"feature_2": early})[0], logits)


@each
def test_what_a_tap_returns_is_what_the_layer_goes_on_with(name: str) -> None:
    case = case_of(name)
    logits, seen = case.forward(case.images(B))
    for tapped, value in seen.items():
        bump = jnp.asarray(np.random.default_rng(1).uniform(1, 2, value.shape), jnp.float32)
        disturbed, _ = case.forward(case.images(B), {tapped: bump})
        assert np.abs(disturbed - logits).max() > 0.01, tapped


@each
def test_states_do_not_depend_on_rows_to_come(name: str) -> None:
    case, t = case_of(name), 3
    x = case.images(B).reshape(B, *SHAPE)
    other = np.concatenate([x[:, :t], case.images(B, 1).reshape(B, *SHAPE)[:, t:]], axis=1)
    seen, changed = (case.forward(a.reshape(B, -1))[1] for a in (x, other))
    for key in ("feature_1", "feature_2"):
        assert np.array_equal(seen[key][:, :t], changed[key][:, :t])
        assert np.all(np.abs(seen[key] - changed[key])[:, t:].max(axis=(0, 2)) > 0.01)


@each
def test_zero_weights_keep_every_state_at_zero(name: str) -> None:
    case = case_of(name)
    zero = jax.tree.map(jnp.zeros_like, case.initial[0])
    logits, seen = case.forward(case.images(B), params=zero)
    assert not any(np.any(h) for h in seen.values())
    assert np.array_equal(logits, np.zeros((B, K)))


@each
def test_sizes_count_what_is_trained_and_recorded(name: str) -> None:
    variants = [{"depth": 2, "width": 5}, {"depth": 4, "width": 3}]
    variants += [{"depth": 3, "bias": False}] if name == "rnn" else []
    for keys, shape in product(variants, [SHAPE, (3, 7, 1)]):
        case = Case(run_of(name, **keys), shape)
        sizes = case.trainer.network.sizes
        net, x = case.trainer.net, jnp.asarray(case.images(1))
        params, _ = jax.eval_shape(net.init, Hyper.of(case.run))
        hidden = [v for key, v in net.zero_taps(x).items() if key.startswith("feature_")]
        assert sizes.n_params == sum(leaf.size for leaf in jax.tree.leaves(params))
        assert sizes.n_units == sum(value.size for value in hidden)
        assert sizes.activations_per_sample > sizes.n_units


@each
def test_kernels_are_what_each_layer_applies_to_what_it_reads(name: str) -> None:
    case = case_of(name)
    kernels = case.trainer.net.kernels(case.initial[0])
    fans = [(8, GATES[name] * H), (H, GATES[name] * H), (H, K)]
    assert [kernel.shape for kernel in kernels] == fans
    assert case.trainer.net.dense == ()


@each
def test_each_gate_is_drawn_as_a_matrix_of_its_own(name: str) -> None:
    params = case_of(name, init="orthogonal", depth=2).initial[0]
    gates = np.split(numbers(params["layers"][0]["cell"]["dense_h"]["kernel"]), GATES[name], axis=1)
    for gate in gates:
        assert np.abs(gate.T @ gate - np.eye(H)).max() < 20 * EPS32  # a float32 QR of 6 columns
    assert all(np.abs(a - b).max() > 0.1 for a, b in pairwise(gates))


@each
def test_halving_the_scale_halves_every_initial_weight(name: str) -> None:
    whole, half = (case_of(name, init_scale=scale).initial[0] for scale in (1.0, 0.5))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(half), strict=True):
        assert np.any(a)
        assert np.array_equal(0.5 * a, b)  # halving is exact


@each
def test_nothing_but_the_weights_is_kept_between_steps(name: str) -> None:
    assert jax.tree.leaves(case_of(name).initial[1]) == []


@each
def test_gradients_at_taps_are_finite_differences(name: str) -> None:
    case, step = case_of(name), 1e-2
    with in_float64((case.initial[0], case.images(2))) as (params, x):
        entry = (2 * SHAPE[0] - 1) * H + 2  # a unit of the last step of the second image
        exact, differences = tap_slopes(case, params, x, entry, step)
    assert np.abs(exact).min() > 1e-3  # so that a gradient of zero would be seen
    # Fourth order: h^4/30 times the fifth derivative; of a few units, as tanh has up to 16.
    assert np.abs(exact - differences).max() < 16 * step**4


@each
def test_samples_do_not_see_each_other(name: str) -> None:
    case = case_of(name)
    x = case.images(B)
    together, alone = case.forward(x)[0], [case.forward(x[i : i + 1])[0] for i in range(B)]
    # A product of another shape may sum in another order: 10 steps of sums of 14 terms below 1.
    assert np.abs(together - np.concatenate(alone)).max() < 10 * 14 * EPS32


@each
def test_runs_side_by_side_are_the_runs_alone(name: str) -> None:
    case = case_of(name)
    together, alone = side_by_side(case, case.images(B), (3, 4))
    # As above: a batched product may sum in another order.
    assert np.abs(together - alone).max() < 10 * 14 * EPS32
    assert np.abs(together[0] - together[1]).max() > 0.01


@each
def test_what_does_not_fit_is_named_once(name: str) -> None:
    misfits = registry.module("models", name).misfits
    run = run_of(name)
    assert misfits(run, SHAPE) == []
    changes: dict[str, Any] = {"depth": 1, "norm": "layer", "init": "structured"}
    changes |= {} if name == "rnn" else {"activation": "relu", "bias": False}
    for key, value in changes.items():
        (found,) = misfits(replace(run, **{key: value}), SHAPE)
        assert found.startswith(f"{key}: {str(value).lower()} came, but ")
        assert name in found
    (found,) = misfits(run, (64,))
    assert found.startswith(f"architecture: {name} needs images (height, width, channels), but ")
    assert len(misfits(replace(run, **changes), (64,))) == 1 + len(changes)


@pytest.mark.slow
@each
def test_digits_are_learned(name: str) -> None:
    accuracy, n = learned(name, n_steps=150)
    assert accuracy - 1.96 * np.sqrt(accuracy * (1 - accuracy) / n) >= 0.2  # twice chance
