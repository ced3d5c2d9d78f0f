"""A loss that features of low epsilon-rank cannot get below, beside the loss (RANK; ours)."""

import jax
import jax.numpy as jnp
from jax import Array

from tfc_jax.probes.rank import EPSILONS
from tfc_jax.schema import Column
from tfc_jax.sizes import Sizes
from tfc_jax.snapshot import ProbeView, Traits

_BOUND = (
    "Lower bound on output_rmse: distance of the targets from what the last hidden layer's Gram "
    "eigenfunctions with eigenvalues above {:g}, and constants, span, less {:g} times the norm of "
    "the last weights; vacuous if not positive; null unless layer L reads the feature of layer L-1"
)
COLUMNS = (
    Column(
        "output_rmse",
        "probe",
        "outputs",
        "Root mean squared difference of outputs and targets over samples and outputs of the "
        "training probe; classes count as one-hot targets; null as rank_bound is",
    ),
    *(
        Column(f"rank_bound_{name}", "probe", "outputs", _BOUND.format(eps, eps**0.5))
        for name, eps in EPSILONS.items()
    ),
)


def compute(view: ProbeView) -> dict[str, Array]:
    """Returns the loss and its bound for each epsilon, each (); NaN where one is not finite.

      output_rmse >= dist(target, span) - sqrt(epsilon) |W_L|_F / sqrt(K)

    holds exactly, on these samples, whatever the biases.

    Error: a few roundings of the targets' size and of sqrt(epsilon) |W_L|; the constant may stand
    in the span already, and a direction of pure rounding is then taken out in its place, which can
    only lower the bound.
    Source: ours (SCIENCE.md section 4), after RANK; `theory.rank_loss_bound` in float64.
    """
    if len(view.features) < 2 or view.weights[-1].shape[0] != view.features[-2].shape[1]:
        return {}
    target_NxK, logit_NxK = _targets(view), view.train_logits
    n_samples, n_outputs = logit_NxK.shape
    left_NxR, root_R = _eigenfunctions(view.features[-2])
    readout = jnp.linalg.norm(view.weights[-1]) / n_outputs**0.5
    poison = 0 * jnp.sum(logit_NxK) + 0 * readout
    constant_N = jnp.full((n_samples,), n_samples**-0.5, logit_NxK.dtype)
    rmse = jnp.sqrt(jnp.mean((logit_NxK - target_NxK) ** 2))
    columns = {"output_rmse": rmse + 0 * root_R[0]}
    for name, epsilon in EPSILONS.items():
        kept_NxR = jnp.where(root_R[None, :] > epsilon**0.5, left_NxR, 0 * left_NxR)
        one_Nx1 = _outside(kept_NxR, constant_N[:, None])
        one_Nx1 = one_Nx1 / jnp.maximum(jnp.linalg.norm(one_Nx1), jnp.finfo(one_Nx1.dtype).tiny)
        rest_NxK = _outside(one_Nx1, _outside(kept_NxR, target_NxK))
        distance = jnp.linalg.norm(rest_NxK) / (n_samples * n_outputs) ** 0.5
        columns[f"rank_bound_{name}"] = distance - epsilon**0.5 * readout + poison + 0 * root_R[0]
    return columns


def lacks(traits: Traits) -> str:
    """Why there is nothing for such a network; empty if there is something."""
    if traits.depth == 1:
        return "there is no hidden layer"
    return "" if traits.reads_last_feature else "the last layer reads no whole feature"


def flops(n_samples: int, sizes: Sizes) -> float:
    """One forward pass, and singular vectors of one layer: some 10 N H min(N, H) <= 10 N^2 H."""
    return n_samples * (sizes.flops_per_sample / 3 + 10.0 * n_samples * sizes.n_units)


def _targets(view: ProbeView) -> Array:
    if view.train_targets.ndim == 2:
        return view.train_targets
    return jax.nn.one_hot(view.train_targets, view.n_classes, dtype=view.train_logits.dtype)


def _eigenfunctions(feature_NxH: Array) -> tuple[Array, Array]:
    """Orthonormal columns (N, R), and roots of their eigenvalues (R,), NaN where not finite."""
    largest = jnp.max(jnp.abs(feature_NxH))
    finite = jnp.isfinite(largest)
    safe = jnp.where(finite & (largest > 0), largest, 1)
    scaled_NxH = jnp.where(finite, feature_NxH / safe, 0)  # LAPACK need not end on NaN
    left_NxR, sigma_R, _ = jnp.linalg.svd(scaled_NxH, full_matrices=False)
    root_R = jnp.where(finite, largest, jnp.nan) * sigma_R / len(feature_NxH) ** 0.5
    return left_NxR, root_R


def _outside(basis_NxR: Array, x_NxK: Array) -> Array:
    """What is left of x outside the span of orthonormal (or zero) columns."""
    inner_RxK = jnp.matmul(basis_NxR.T, x_NxK, precision="highest")
    return x_NxK - jnp.matmul(basis_NxR, inner_RxK, precision="highest")
