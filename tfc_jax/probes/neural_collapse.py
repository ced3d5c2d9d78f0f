"""How far the last hidden layer is from neural collapse (SCIENCE.md section 2)."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from tfc_jax.metrics._rows import class_matrix, matmul
from tfc_jax.schema import Column
from tfc_jax.sizes import Sizes
from tfc_jax.snapshot import ProbeView, Traits

_OF = "of the centred class means of the last hidden layer"

COLUMNS = (
    Column(
        "nc1",
        "probe",
        "1",
        "Tr(S_W S_B^+) / K of the last hidden layer: covariance within classes against between",
    ),
    Column("nc2_equinorm", "probe", "1", f"Deviation over mean of the lengths {_OF}"),
    Column("nc2_equiangular", "probe", "1", f"Mean |cosine + 1/(K-1)| over the pairs {_OF}"),
    Column(
        "nc3",
        "probe",
        "1",
        "|W/|W| - M/|M|| in Frobenius norms: W the last layer's weights, M the centred class means "
        "of what it reads, in [0, 2]; null where their sizes differ",
    ),
    Column(
        "nc4",
        "probe",
        "share",
        "Training samples of the probe whose nearest class mean is not the network's answer",
    ),
    Column(
        "nc_valid",
        "probe",
        "1",
        "0 in total collapse, where the class means are equal within rounding and nc1 to nc4 NaN",
    ),
)


class Classes(NamedTuple):
    """The classes of a layer, at a scale where its squares stay in float32's range.

    Attributes:
      members: (K, N) 1 where a sample is of a class.
      present: (K,) 1 for the classes that the probe holds.
      rows: (N, H) features less a common one.
      means: (K, H) of the rows of each class; zeros for an absent one.
      centred: (K, H) the means less the mean of the present ones; zeros for an absent one.
      rounding: () what rounding can make of a centred mean of length 0.
    """

    members: Array
    present: Array
    rows: Array
    means: Array
    centred: Array
    rounding: Array


def compute(view: ProbeView) -> dict[str, Array]:
    """Returns the columns, each (); left out for a regression. Without hidden layer, of the inputs.

    Classes are the run's noisy labels; K counts those that the probe holds, the others are left out
    of all means. With mu_c the class means and mu the mean of these (not of the samples: ours):
    S_B = mean_c (mu_c - mu)(mu_c - mu)^T, S_W = mean_i (h_i - mu_c(i))(h_i - mu_c(i))^T. nc4 lies
    in [0, 1]; a singular value of the class means that is not above their rounding counts as 0.

    Source: Papyan, Han and Donoho, 2020.
    """
    if not view.n_classes:
        return {}
    feature_NxH = view.features[-2] if len(view.features) > 1 else view.train_inputs
    of = _classes(feature_NxH, view.train_targets, view.n_classes)
    nc1, valid = _within_over_between(of)
    valid &= jnp.isfinite(view.train_logits).all()
    columns = {
        "nc1": nc1,
        "nc2_equinorm": _equinorm(of),
        "nc2_equiangular": _equiangular(of),
        "nc4": _disagreement(of, view.train_logits),
    }
    weight = view.weights[-1]
    if weight.shape == (feature_NxH.shape[1], view.n_classes):
        columns["nc3"] = _self_duality(of, weight.T)
    columns = {name: jnp.where(valid, value, jnp.nan) for name, value in columns.items()}
    return columns | {"nc_valid": valid.astype(nc1.dtype)}


def lacks(traits: Traits) -> str:
    """Why there is nothing for such a network; empty if there is something."""
    return "" if traits.n_classes else "a regression has no classes"


def flops(n_samples: int, sizes: Sizes) -> float:
    """One forward pass, and sums over classes and directions: some 60 operations per feature."""
    return n_samples * (sizes.flops_per_sample / 3 + 60 * sizes.n_units)


def _classes(feature_NxH: Array, labels_N: Array, n_classes: int) -> Classes:
    n_samples, eps = len(feature_NxH), jnp.finfo(feature_NxH.dtype).eps
    members_KxN = class_matrix(labels_N, n_classes, feature_NxH.dtype)
    count_K = jnp.sum(members_KxN, axis=1)
    present_K = (count_K > 0).astype(feature_NxH.dtype)
    largest = jnp.max(jnp.abs(feature_NxH))
    scaled_NxH = feature_NxH / jnp.where(largest == 0, 1, largest)
    # A common row cancels in the centred means, but not before it has rounded them.
    rows_NxH = scaled_NxH - jnp.mean(scaled_NxH, axis=0)[None, :]
    means_KxH = matmul(members_KxN, rows_NxH) / jnp.maximum(count_K, 1)[:, None]
    center_H = jnp.sum(means_KxH, axis=0) / jnp.sum(present_K)
    centred_KxH = present_K[:, None] * (means_KxH - center_H[None, :])
    # Features come rounded, at best to eps/2; a mean of N rows is off by N eps/2 of the largest.
    longest, deviation = (jnp.max(_norms(x)) for x in (scaled_NxH, rows_NxH))
    rounding = eps * (longest + n_samples * deviation)
    return Classes(members_KxN, present_K, rows_NxH, means_KxH, centred_KxH, rounding)


def _within_over_between(of: Classes) -> tuple[Array, Array]:
    """nc1, and whether the class means differ.

    With centred means M = U S V^T (K, H), S_B^+ = K V S^-2 V^T: no H x H matrix is formed.
    """
    finite = jnp.isfinite(of.centred).all()
    _, size_k, direction_kxH = jnp.linalg.svd(jnp.where(finite, of.centred, 0), full_matrices=False)
    # Errors of K rows change singular values by at most sqrt(K) times the longest (Weyl).
    is_kept_k = size_k > jnp.sum(of.present) ** 0.5 * of.rounding
    deviation_NxH = of.rows - matmul(of.members.T, of.means)
    energy_k = jnp.mean(matmul(deviation_NxH, direction_kxH.T) ** 2, axis=0)
    ratio_k = jnp.where(is_kept_k, energy_k / jnp.where(is_kept_k, size_k, 1) ** 2, 0)
    return jnp.sum(ratio_k), finite & jnp.any(is_kept_k)


def _equinorm(of: Classes) -> Array:
    n_present, norm_K = jnp.sum(of.present), _norms(of.centred)
    mean = jnp.sum(norm_K) / n_present
    return jnp.sqrt(jnp.sum(of.present * (norm_K - mean) ** 2) / n_present) / mean


def _equiangular(of: Classes) -> Array:
    norm_K = _norms(of.centred)
    unit_KxH = of.centred / jnp.where(norm_K == 0, 1, norm_K)[:, None]
    n_present = jnp.sum(of.present)
    pair_KxK = of.present[:, None] * of.present[None, :] * (1 - jnp.eye(len(of.present)))
    gap_KxK = jnp.abs(matmul(unit_KxH, unit_KxH.T) + 1 / (n_present - 1))
    return jnp.sum(pair_KxK * gap_KxK) / jnp.sum(pair_KxK)


def _self_duality(of: Classes, weight_KxH: Array) -> Array:
    present = of.present[:, None] > 0
    pair = [_at_norm_one(jnp.where(present, x, 0)) for x in (weight_KxH, of.centred)]
    return jnp.linalg.norm(pair[0] - pair[1])


def _disagreement(of: Classes, logits_NxK: Array) -> Array:
    square_K = jnp.sum(of.means**2, axis=1)
    distance_NxK = square_K[None, :] - 2 * matmul(of.rows, of.means.T)
    distance_NxK = jnp.where(of.present[None, :] > 0, distance_NxK, jnp.inf)
    differs_N = jnp.argmin(distance_NxK, axis=1) != jnp.argmax(logits_NxK, axis=1)
    return jnp.mean(differs_N.astype(of.rows.dtype))


def _at_norm_one(x: Array) -> Array:
    scaled = x / jnp.max(jnp.abs(x))
    return scaled / jnp.linalg.norm(scaled)


def _norms(rows: Array) -> Array:
    return jnp.sqrt(jnp.sum(rows**2, axis=1))
