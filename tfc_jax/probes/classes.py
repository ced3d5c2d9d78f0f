"""How alike the features of each pair of classes are, layer by layer (SCIENCE.md section 2)."""

import jax.numpy as jnp
from jax import Array

from tfc_jax.metrics._rows import (
    Columns,
    by_shape,
    class_matrix,
    class_sums,
    matmul,
    unit_rows,
)
from tfc_jax.schema import Column
from tfc_jax.sizes import Sizes
from tfc_jax.snapshot import ProbeView, Traits

COLUMNS = (
    Column(
        "class_cos",
        "classes",
        "1",
        "Mean cosine of the features of two distinct training samples of the probe, one of class_a "
        "and one of class_b, that are not all zero",
    ),
)


def compute(view: ProbeView) -> dict[str, Array]:
    """Symmetric matrices of mean cosines, (L, K, K), in [-1, 1]; left out for a regression.

    NaN where there is no such pair, and in a layer with a feature that is not finite. Classes are
    the run's noisy labels. Cost O(N H K): through class sums S of unit rows, S_a S_b counts every
    pair at once, and on the diagonal each of the n_a samples with itself.

    Error: below 1e-6 in float32 for N <= 4096 (test_classes.py).
    Source: pairs and averaging are ours.
    """
    if not view.n_classes:
        return {}

    def cosines(rows_lxNxH: Array) -> Columns:
        features = unit_rows(rows_lxNxH)
        classes_KxN = class_matrix(view.train_targets, view.n_classes, rows_lxNxH.dtype)
        sums_lxKxH = class_sums(features, classes_KxN)
        alive_lxK = matmul(features.alive, classes_KxN.T)
        products_lxKxK = matmul(sums_lxKxH, jnp.swapaxes(sums_lxKxH, 1, 2))
        self_lxKxK = jnp.eye(view.n_classes)[None] * alive_lxK[:, :, None]
        pairs_lxKxK = alive_lxK[:, :, None] * alive_lxK[:, None, :] - self_lxKxK
        some = pairs_lxKxK > 0
        means_lxKxK = (products_lxKxK - self_lxKxK) / jnp.where(some, pairs_lxKxK, 1)
        return {"class_cos": jnp.where(some, means_lxKxK, jnp.nan)}

    return by_shape(cosines, view.features)


def lacks(traits: Traits) -> str:
    """Why there is nothing for such a network; empty if there is something."""
    return "" if traits.n_classes else "a regression has no classes"


def flops(n_samples: int, sizes: Sizes) -> float:
    """One forward pass and class sums: some 30 operations per feature."""
    return n_samples * (sizes.flops_per_sample / 3 + 30 * sizes.n_units)
