"""Ranks against constructed spectra and dense float64 twins."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.probes import rank
from tfc_jax.probes.rank import EPSILONS

Look = Callable[..., dict[str, np.ndarray]]
N, H = 40, 12
RATIOS = ("erank", "stable_rank", "participation_ratio")
# An eigenvalue 5 % beside a threshold of 1e-8 has a singular value 2.5e-6 beside 1e-4, which is
# 40 roundings (2^-24) of the largest; those of an SVD are off by a few.
BESIDE = 0.05
# Singular values are off by a few roundings of the largest, and ratios average H of them.
RTOL = 4 * H * 2.0**-24


def orthonormal(seed: int, n: int, k: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, k)))[0]


def with_spectrum(eigenvalues: np.ndarray) -> np.ndarray:
    """Features (N, H) whose Gram matrix, a mean over samples, has these eigenvalues."""
    k = len(eigenvalues)
    left, right = orthonormal(0, N, k), orthonormal(1, H, k)
    return left * np.sqrt(N * np.asarray(eigenvalues)) @ right.T


def measure(look: Look, rows: np.ndarray, x: np.ndarray | None = None) -> dict[str, float]:
    inputs = {} if x is None else {"train_inputs": jnp.asarray(x[:, None], jnp.float32)}
    found = look(rank, {"features": (jnp.asarray(rows, jnp.float32),), **inputs})
    return {name: float(value[0]) for name, value in found.items()}


def twin(rows: np.ndarray) -> dict[str, float]:
    """Every column from a dense Gram matrix or SVD in float64."""
    f = rows.astype(np.float32).astype(np.float64)
    gram = f.T @ f / len(f)
    values = np.linalg.eigvalsh(gram)[::-1]
    sigma = np.linalg.svd(f, compute_uv=False)
    kept = sigma[sigma > max(f.shape) * 2.0**-23 * sigma[0]]
    share = kept / kept.sum()
    energy = np.cumsum(sigma**2) / np.sum(sigma**2)
    found = {f"eps_rank_abs_{name}": np.sum(values > eps) for name, eps in EPSILONS.items()}
    found |= {f"eps_rank_rel_{k}": np.sum(values > eps * values[0]) for k, eps in EPSILONS.items()}
    return {name: float(count) for name, count in found.items()} | {
        "erank": float(np.exp(-np.sum(share * np.log(share)))),
        "stable_rank": float(np.trace(gram) / values[0]),
        "participation_ratio": float(np.trace(gram) ** 2 / np.sum(gram**2)),
        "rank99": float(np.argmax(energy >= 0.99) + 1),
    }


def straddling() -> np.ndarray:
    pairs = [eps * (1 + side) for eps in EPSILONS.values() for side in (BESIDE, -BESIDE)]
    return np.array([1.0, *pairs])


def test_eigenvalues_beside_each_threshold_fall_on_their_side(look: Look) -> None:
    found = measure(look, with_spectrum(straddling()))
    assert [found[f"eps_rank_abs_{name}"] for name in EPSILONS] == [2, 4, 6, 8]
    assert [found[f"eps_rank_rel_{name}"] for name in EPSILONS] == [2, 4, 6, 8]


def test_scale_moves_absolute_ranks_only(look: Look) -> None:
    rows = with_spectrum(straddling())
    found = measure(look, 10 * rows)  # every eigenvalue times 100
    assert [found[f"eps_rank_abs_{name}"] for name in EPSILONS] == [4, 6, 8, 9]
    assert [found[f"eps_rank_rel_{name}"] for name in EPSILONS] == [2, 4, 6, 8]
    tiny = measure(look, 1e-25 * rows)
    assert [tiny[f"eps_rank_abs_{name}"] for name in EPSILONS] == [0, 0, 0, 0]
    assert [tiny[f"eps_rank_rel_{name}"] for name in EPSILONS] == [2, 4, 6, 8]


@pytest.mark.parametrize("kind", ["tall", "wide", "with dead rows and units"])
def test_every_column_matches_a_dense_twin(look: Look, kind: str) -> None:
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((H, N) if kind == "wide" else (N, H)) + 0.5
    if kind == "with dead rows and units":
        rows = np.maximum(rows, 0)
        rows[[0, 5]], rows[:, [3, 4]] = 0, 0
    assert measure(look, rows) == pytest.approx(twin(rows), rel=RTOL)


def test_ratios_keep_their_digits_at_1e_25(look: Look) -> None:
    rows = np.random.default_rng(3).standard_normal((N, H))
    expected = {name: twin(rows)[name] for name in (*RATIOS, "rank99")}
    found = measure(look, 1e-25 * rows)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize("r", [1, 5, H])
def test_r_equal_directions_have_rank_r_by_every_measure(look: Look, r: int) -> None:
    found = measure(look, with_spectrum(np.ones(r)))
    assert [found[name] for name in RATIOS] == pytest.approx([r] * 3, rel=RTOL)
    assert found["eps_rank_rel_1em8"] == found["eps_rank_abs_1em8"] == found["rank99"] == r


def test_energy_of_99_percent_is_counted(look: Look) -> None:
    found = measure(look, with_spectrum(np.array([0.7, 0.2, 0.095, 0.005])))
    assert found["rank99"] == 3


def test_order_copies_and_rotations_change_nothing(look: Look) -> None:
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((N, H))
    moved = np.concatenate([rows, rows])[rng.permutation(2 * N)] @ orthonormal(5, H, H)
    # Copies double the size that rounding counts; nothing is near a threshold.
    assert measure(look, moved) == pytest.approx(measure(look, rows), rel=2 * RTOL)


def test_dead_layers_have_rank_0_and_no_ratios(look: Look) -> None:
    found = measure(look, np.zeros((N, H)))
    assert np.isnan([found.pop(name) for name in RATIOS]).all()
    assert set(found.values()) == {0.0}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_layer_gives_nan_and_spoils_no_other(look: Look, value: float) -> None:
    rows = np.random.default_rng(6).standard_normal((N, H)).astype(np.float32)
    bad = rows.copy()
    bad[3, 4] = value
    found = look(rank, {"features": (jnp.asarray(bad), jnp.asarray(rows))})
    alone = look(rank, {"features": (jnp.asarray(rows),)})
    for name, column in found.items():
        assert np.isnan(column[0]), name
        assert column[1] == alone[name][0]


def test_integrals_over_an_even_grid_have_the_eigenvalues_of_sines(look: Look) -> None:
    """The trapezoid rule is exact for products of sin(k pi x) over full periods: int sin^2 = 1."""
    x = np.random.default_rng(7).permutation(np.linspace(-1, 1, 101))
    scale = np.sqrt(straddling())
    rows = np.sin(np.pi * x[:, None] * np.arange(1, len(scale) + 1)) * scale
    found = measure(look, rows, x)
    assert [found[f"eps_rank_integral_{name}"] for name in EPSILONS] == [2, 4, 6, 8]


def test_uneven_inputs_are_weighted_by_the_trapezoid_rule(look: Look) -> None:
    rng = np.random.default_rng(8)
    x = np.concatenate([rng.uniform(-1, -0.9, N), rng.uniform(-0.9, 1, N)])
    rows = np.tanh(8 * (x[:, None] - np.linspace(-1, 1, H)))
    order = np.argsort(x)
    products = rows[order, :, None] * rows[order, None, :]
    values = np.linalg.eigvalsh(np.trapezoid(products, x[order], axis=0))
    found = measure(look, rows, x)
    expected = [float(np.sum(values > eps)) for eps in EPSILONS.values()]
    assert [found[f"eps_rank_integral_{name}"] for name in EPSILONS] == expected
    # The check is one: no eigenvalue is near a threshold, and unweighted ranks are others.
    assert min(abs(np.log(values / eps)).min() for eps in EPSILONS.values()) > BESIDE
    assert expected != [found[f"eps_rank_abs_{name}"] for name in EPSILONS]


def test_integrals_are_left_out_of_other_than_one_dimensional_inputs(look: Look) -> None:
    found = look(rank, {}, widths=(2, 4, 3))
    assert not any("integral" in name for name in found)
