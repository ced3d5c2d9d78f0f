"""How many directions the features of a layer use (SCIENCE.md section 2, RANK paper)."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from tfc_jax.schema import Column
from tfc_jax.sizes import Sizes
from tfc_jax.snapshot import ProbeView

EPSILONS = {"1em2": 1e-2, "1em4": 1e-4, "1em6": 1e-6, "1em8": 1e-8}
_GRAM = "Eigenvalues of the Gram matrix mean_i phi_a(x_i) phi_b(x_i) of a layer's units"
_INTEGRAL = (
    "Eigenvalues of the Gram matrix int phi_a phi_b dx over the range of the probe's scaled inputs"
)


def _counts(kind: str, what: str, above: str) -> tuple[Column, ...]:
    return tuple(
        Column(f"eps_rank_{kind}_{name}", "probe_layers", "count", f"{what} above {above % eps}")
        for name, eps in EPSILONS.items()
    )


COLUMNS = (
    *_counts("abs", _GRAM, "%g"),
    *_counts("rel", _GRAM, "%g times the largest"),
    *_counts("integral", _INTEGRAL, "%g; null unless inputs are one-dimensional"),
    Column(
        "erank",
        "probe_layers",
        "directions",
        "Effective rank: exp of the entropy of the features' singular values, summing to 1",
    ),
    Column(
        "stable_rank",
        "probe_layers",
        "directions",
        "Sum of the squared singular values of the features over the largest of them",
    ),
    Column(
        "participation_ratio",
        "probe_layers",
        "directions",
        "(tr G)^2 / |G|_F^2 of the features' Gram matrix G",
    ),
    Column("rank99", "probe_layers", "count", "Directions that hold 99 % of the features' energy"),
)


def compute(view: ProbeView) -> dict[str, Array]:
    """Ranks of the training probe's features, not centred, each (L,) float.

    Counts are 0 and ratios NaN where all features are 0; all are NaN where one is not finite.

    Error: singular values are off by a few roundings of the largest, so eigenvalues are told from
    zero down to about 1e-13 of the largest in float32 (the Gram matrix itself would stop at 1e-7).
    Source: RANK paper (eps-rank); Roy and Vetterli, 2007 (erank).
    """
    layers = [_ranks(feature_NxH) for feature_NxH in view.features]
    if view.train_inputs.shape[1] == 1:
        weight_N = _trapezoid(view.train_inputs[:, 0])
        integrals = [_integral_ranks(feature_NxH, weight_N) for feature_NxH in view.features]
        layers = [ranks | more for ranks, more in zip(layers, integrals, strict=True)]
    return _stacked(layers)


def flops(n_samples: int, sizes: Sizes) -> float:
    """One forward pass and the singular values of each layer, 4 N H min(N, H) <= 4 N^2 H."""
    return n_samples * (sizes.flops_per_sample / 3 + 4.0 * n_samples * sizes.n_units)


def _ranks(feature_NxH: Array) -> dict[str, Array]:
    scale, sigma = _singular_values(feature_NxH)
    # Roots are compared: eigenvalues of deep, collapsed layers leave float32's range.
    root = scale * sigma / len(feature_NxH) ** 0.5
    poison = 0 * scale
    columns = {f"eps_rank_abs_{k}": _count(root > e**0.5, poison) for k, e in EPSILONS.items()}
    for name, eps in EPSILONS.items():
        columns[f"eps_rank_rel_{name}"] = _count(sigma > eps**0.5 * sigma[0], poison)
    relative = sigma / sigma[0]  # NaN where all features are 0
    energy = relative**2
    total = jnp.sum(energy)
    return columns | {
        "erank": _effective_rank(relative, max(feature_NxH.shape)) + poison,
        "stable_rank": total + poison,
        "participation_ratio": total**2 / jnp.sum(energy**2) + poison,
        "rank99": _directions(sigma, 0.99, poison),
    }


def _integral_ranks(feature_NxH: Array, weight_N: Array) -> dict[str, Array]:
    scale, sigma = _singular_values(feature_NxH * jnp.sqrt(weight_N)[:, None])
    root, poison = scale * sigma, 0 * scale
    return {f"eps_rank_integral_{k}": _count(root > e**0.5, poison) for k, e in EPSILONS.items()}


def _trapezoid(x_N: Array) -> Array:
    """Weights (N,) of the trapezoid rule on unordered points, for their range."""
    order = jnp.argsort(x_N)
    half_gaps = jnp.diff(x_N[order]) / 2
    weights = jnp.pad(half_gaps, (1, 0)) + jnp.pad(half_gaps, (0, 1))
    return jnp.zeros_like(x_N).at[order].set(weights)


def _singular_values(x_NxH: Array) -> tuple[Array, Array]:
    """A scale () >= 0, and singular values of x / scale, descending: (min(N, H),).

    The scale is NaN, and the values those of zeros, where x is not finite: LAPACK need not end.
    """
    largest = jnp.max(jnp.abs(x_NxH))
    finite = jnp.isfinite(largest)
    safe = jnp.where(finite & (largest > 0), largest, 1)
    scaled = jnp.where(finite, x_NxH / safe, 0)
    return jnp.where(finite, largest, jnp.nan), jnp.linalg.svd(scaled, compute_uv=False)


def _effective_rank(relative: Array, size: int) -> Array:
    kept = jnp.where(relative > size * jnp.finfo(relative.dtype).eps, relative, 0 * relative)
    share = kept / jnp.sum(kept)
    return jnp.exp(-jnp.sum(jnp.where(share > 0, share * jnp.log(share), 0 * share)))


def _directions(sigma: Array, share: float, poison: Array) -> Array:
    """Least number of directions whose energy is at least this share of all."""
    energy = jnp.cumsum(sigma**2)
    missing = energy < share * energy[-1]
    return jnp.where(energy[-1] > 0, 1 + _count(missing, poison), poison)


def _count(which: Array, poison: Array) -> Array:
    return jnp.sum(which.astype(poison.dtype)) + poison


def _stacked(layers: Sequence[dict[str, Array]]) -> dict[str, Array]:
    return {name: jnp.stack([layer[name] for layer in layers]) for name in layers[0]}
