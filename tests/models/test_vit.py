"""The vision transformer: against a hand-written one, and against what its parts imply."""

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from tests.networks import (
    Case,
    K,
    in_float64,
    learned,
    numbers,
    side_by_side,
    tap_slopes,
)
from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.models import vit

EPS32 = 2.0**-23
SHAPE, H, B = (8, 12, 2), 16, 3  # 4 x 4 patches of 2 x 3 pixels, two heads
T, PIXELS = 16, 12
PLAIN = Run(
    architecture="vit",
    depth=4,
    width=H,
    activation="gelu",
    norm="layer",
    bias=True,
    init="torch_default",  # draws biases that are not zero
    residual_alpha=0.7,
)


@cache
def case_of(**keys: Any) -> Case:
    return Case(replace(PLAIN, **keys), SHAPE)


def spread(params: Any) -> Any:
    """Moves the scales and shifts of norms off 1 and 0, where they could hide."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: leaf if leaf.ndim == 2 else leaf + rng.uniform(0, 0.5, leaf.shape), params
    )


def affine(layer: dict, x: np.ndarray) -> np.ndarray:
    return x @ layer["kernel"] + layer.get("bias", 0.0)


def layer_norm(norm: dict, x: np.ndarray) -> np.ndarray:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-6) * norm["scale"] + norm["bias"]


def attention(block: dict, x: np.ndarray, n_heads: int) -> np.ndarray:
    """One sample (T, H): softmax(q k^T / sqrt(d)) v, head by head."""
    width, mixed = x.shape[1], []
    q, k, v = np.split(affine(block["qkv"], x), 3, axis=1)
    for head in np.split(np.arange(width), n_heads):
        scores = q[:, head] @ k[:, head].T / np.sqrt(width / n_heads)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        mixed.append(weights / weights.sum(1, keepdims=True) @ v[:, head])
    return affine(block["out"], np.concatenate(mixed, axis=1))


def one_sample(run: Run, params: dict, image: np.ndarray, n_heads: int) -> list[np.ndarray]:
    """Tokens (T, H) of every hidden layer and the logits: arXiv 2010.11929, equations 1-4."""
    tokens = [
        image[2 * i : 2 * i + 2, 3 * j : 3 * j + 3].ravel() for i in range(4) for j in range(4)
    ]
    h = affine(params["embed"], np.stack(tokens)) + params["positions"]
    found = [h]
    for block in params["blocks"].values():
        h = h + run.residual_alpha * attention(block, layer_norm(block["norms"][0], h), n_heads)
        a = affine(block["up"], layer_norm(block["norms"][1], h))
        h = h + run.residual_alpha * affine(block["down"], a * (1 + erf(a / np.sqrt(2))) / 2)
        found.append(h)
    return [*found, affine(params["head"], layer_norm(params["norm"], h).mean(axis=0))]


@pytest.mark.parametrize("bias", [True, False])
def test_the_network_is_the_hand_written_one(bias: bool) -> None:
    case = case_of(bias=bias)
    params, x = spread(case.initial[0]), case.images(B)
    exact, images = numbers(params), x.reshape(B, *SHAPE).astype(np.float64)
    run = replace(case.run, residual_alpha=float(np.float32(case.run.residual_alpha)))
    expected = [one_sample(run, exact, image, n_heads=2) for image in images]
    with in_float64((params, x)) as (params64, x64):
        _, seen = case.forward(x64, params=params64)
    for layer, key in enumerate(case.trainer.net.feature_names):
        wanted = np.stack([sample[layer] for sample in expected])
        # Exact but for softmax, which JAX takes in float32: its weights are off by a few EPS32,
        # and so are values mixed by them, in two blocks.
        tolerance = 1e-14 if layer == 0 else 10 * EPS32
        assert np.abs(np.asarray(seen[key]) - wanted).max() < tolerance * np.abs(wanted).max()


def test_every_layer_passes_its_tokens_once() -> None:
    case = case_of()
    logits, seen = case.forward(case.images(B))
    shapes = {f"feature_{layer}": (B, T, H) for layer in (1, 2, 3)} | {"linear_4": (B, K)}
    assert {key: value.shape for key, value in seen.items()} == shapes
    assert np.array_equal(logits, seen["linear_4"])


def test_what_a_tap_returns_is_what_the_layer_goes_on_with() -> None:
    case = case_of()
    logits, seen = case.forward(case.images(B))
    for tapped, value in seen.items():
        bump = jnp.asarray(np.random.default_rng(1).uniform(1, 2, value.shape), jnp.float32)
        disturbed, _ = case.forward(case.images(B), {tapped: bump})
        assert np.abs(disturbed - logits).max() > 0.01, tapped


def permuted(x: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Images whose patches stand in another order."""
    found = np.empty_like(x).reshape(B, *SHAPE)
    images = x.reshape(B, *SHAPE)
    for to, source in enumerate(order):
        (i, j), (k, m) = divmod(to, 4), divmod(int(source), 4)
        found[:, 2 * i : 2 * i + 2, 3 * j : 3 * j + 3] = images[
            :, 2 * k : 2 * k + 2, 3 * m : 3 * m + 3
        ]
    return found.reshape(B, -1)


def test_patches_and_their_positions_may_change_places_together() -> None:
    case, order = case_of(), np.random.default_rng(2).permutation(T)
    params, x = spread(case.initial[0]), case.images(B)
    params["positions"] = 50 * params["positions"]  # of the size of what is embedded
    together = params | {"positions": params["positions"][order]}
    logits, seen = case.forward(x, params=params)
    moved, moved_seen = case.forward(permuted(x, order), params=together)
    # Sums over 16 tokens in another order, of which the features are a few units.
    assert np.abs(moved - logits).max() < 16 * 4 * EPS32
    for layer in (1, 2, 3):
        key = f"feature_{layer}"
        assert np.abs(moved_seen[key] - seen[key][:, order]).max() < 16 * 4 * EPS32
    patches_alone, _ = case.forward(permuted(x, order), params=params)
    assert np.abs(patches_alone - logits).max() > 0.01


def test_blocks_without_branches_pass_tokens_on() -> None:
    case = case_of(residual_alpha=0.0)
    _, seen = case.forward(case.images(B))
    assert np.array_equal(seen["feature_1"], seen["feature_2"])
    assert np.array_equal(seen["feature_1"], seen["feature_3"])


@pytest.mark.parametrize(
    ("shape", "n"),
    [
        ((8, 8, 1), 4),
        ((28, 28, 1), 7),
        ((32, 32, 3), 8),
        ((12, 8, 1), 4),
        ((9, 9, 1), 3),
        ((64, 6, 1), 2),
        ((3, 3, 1), 1),
        ((29, 29, 1), 1),
    ],
)
def test_the_grid_is_the_finest_that_fits(shape: tuple[int, ...], n: int) -> None:
    assert vit.grid(shape) == n


def test_heads_are_at_least_eight_wide() -> None:
    found = [vit.heads(width) for width in (1, 8, 15, 16, 20, 24, 32, 36, 64, 128, 130)]
    assert found == [1, 1, 1, 2, 2, 2, 4, 4, 8, 8, 2]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("depth", [2, 3, 5])
def test_sizes_count_what_is_trained_and_recorded(depth: int, bias: bool) -> None:
    for shape, width in (((8, 8, 1), 10), (SHAPE, 16)):
        case = Case(replace(PLAIN, depth=depth, width=width, bias=bias), shape)
        net, sizes = case.trainer.net, case.trainer.network.sizes
        params, _ = jax.eval_shape(net.init, Hyper.of(case.run))
        taps = net.zero_taps(jnp.asarray(case.images(1)))
        hidden = [value for key, value in taps.items() if key.startswith("feature_")]
        assert sizes.n_params == sum(leaf.size for leaf in jax.tree.leaves(params))
        assert sizes.n_units == sum(value.size for value in hidden)
        assert sizes.activations_per_sample > sizes.n_units


def test_kernels_are_the_first_map_of_each_layer() -> None:
    case = case_of()
    kernels = case.trainer.net.kernels(case.initial[0])
    fans = [(PIXELS, H), (H, 3 * H), (H, 3 * H), (H, K)]
    assert [kernel.shape for kernel in kernels] == fans
    assert case.trainer.net.dense == ()


def test_queries_keys_and_values_are_drawn_as_matrices_of_their_own() -> None:
    params = case_of(init="orthogonal", depth=3).initial[0]
    maps = np.split(numbers(params["blocks"][0]["qkv"]["kernel"]), 3, axis=1)
    for each in maps:
        assert np.abs(each.T @ each - np.eye(H)).max() < 40 * EPS32  # a float32 QR of 16 columns
    assert np.abs(maps[0] - maps[1]).max() > 0.1
    assert np.abs(maps[0] - maps[2]).max() > 0.1


def test_halving_the_scale_halves_every_initial_weight() -> None:
    case = case_of()
    whole = case.initial[0]
    half, _ = case.init(Hyper.of(replace(case.run, init_scale=0.5)))
    for (path, a), b in zip(jax.tree.leaves_with_path(whole), jax.tree.leaves(half), strict=True):
        of_norm = "norm" in jax.tree_util.keystr(path)
        assert np.array_equal(a if of_norm else 0.5 * a, b)  # halving is exact
        assert of_norm or np.any(a)


def test_positions_start_small() -> None:
    positions = np.asarray(case_of().initial[0]["positions"])
    assert positions.shape == (T, H)
    # 256 normal numbers: their deviation has a relative standard error of 1/sqrt(512).
    assert abs(positions.std() / 0.02 - 1) < 4 / np.sqrt(2 * T * H)


def test_nothing_but_alpha_stands_beside_the_weights() -> None:
    state = case_of().initial[1]
    assert state == {"alpha": np.float32(0.7)}


def test_gradients_at_taps_are_finite_differences() -> None:
    case, step = case_of(), 0.05
    with in_float64((case.initial[0], case.images(2))) as (params, x):
        exact, differences = tap_slopes(case, params, x, T * H + 6, step)
    assert np.abs(exact).min() > 1e-3  # so that a gradient of zero would be seen
    # The softmax's float32 leaves EPS32 / step; fourth order leaves step^4 / 30 times the fifth
    # derivative, below 1 where a token is one of 16.
    assert np.abs(exact - differences).max() < EPS32 / step + step**4


def test_samples_do_not_see_each_other() -> None:
    case = case_of()
    x = case.images(B)
    together, alone = case.forward(x)[0], [case.forward(x[i : i + 1])[0] for i in range(B)]
    # A product of another shape may sum in another order: four layers of sums of up to 64 terms.
    assert np.abs(together - np.concatenate(alone)).max() < 4 * 64 * EPS32


def test_runs_side_by_side_are_the_runs_alone() -> None:
    case = case_of()
    together, alone = side_by_side(case, case.images(B), (3, 4))
    # As above: a batched product may sum in another order.
    assert np.abs(together - alone).max() < 4 * 64 * EPS32
    assert np.abs(together[0] - together[1]).max() > 0.01


def test_what_does_not_fit_is_named_once() -> None:
    assert vit.misfits(PLAIN, SHAPE) == []
    for norm in ("none", "batch"):
        (found,) = vit.misfits(replace(PLAIN, norm=norm), SHAPE)
        assert found.startswith(f"norm: {norm} came, but vit is built with layer norm")
    for depth in (1, 2):
        (found,) = vit.misfits(replace(PLAIN, depth=depth), SHAPE)
        assert found.startswith(f"depth: {depth} came, but vit has a block between")
    (found,) = vit.misfits(replace(PLAIN, init="structured"), SHAPE)
    assert found.startswith("init: structured came, but it is for architecture mlp")
    for shape in ((64,), (29, 29, 1)):
        (found,) = vit.misfits(PLAIN, shape)
        assert str(shape) in found


@pytest.mark.slow
def test_digits_are_learned() -> None:
    accuracy, n = learned("vit", n_steps=150)
    assert accuracy - 1.96 * np.sqrt(accuracy * (1 - accuracy) / n) >= 0.2  # twice chance
