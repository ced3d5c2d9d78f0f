"""How alike the features of different samples are (SCIENCE.md section 2, after the TFC paper)."""

from collections.abc import Sequence

from jax import Array

from tfc_jax.metrics._rows import (
    Columns,
    by_shape,
    centered,
    class_matrix,
    class_sums,
    deficit,
    pair_cosines,
    unit_rows,
)
from tfc_jax.schema import Column
from tfc_jax.snapshot import Snapshot, Traits

_NULL = "; null for a regression"
_OF = "of the features (after the nonlinearity; logits in the last layer) of two distinct samples"

COST = 0.17  # share of a bare step: bench/metrics.py

COLUMNS = (
    Column("feature_cos", "layers", "1", f"Mean cosine {_OF} that are not all zero"),
    Column(
        "feature_cos_within",
        "layers",
        "1",
        f"Mean cosine {_OF} of one class{_NULL}",
    ),
    Column(
        "feature_cos_between",
        "layers",
        "1",
        f"Mean cosine {_OF} of different classes{_NULL}",
    ),
    Column("feature_deficit", "layers", "1", f"1 - mean cosine {_OF}, resolved down to 1e-10"),
    Column(
        "feature_cos_within_centered",
        "layers",
        "1",
        f"Mean cosine {_OF} of one class, after the batch's mean feature is subtracted{_NULL}",
    ),
    Column(
        "feature_cos_between_centered",
        "layers",
        "1",
        f"Mean cosine {_OF} of different classes, after the batch's mean feature is subtracted"
        f"{_NULL}",
    ),
)


def compute(snapshot: Snapshot) -> dict[str, Array]:
    """Cosines over pairs of distinct alive samples of the batch, each (L,), in [-1, 1].

    Pairs and averaging are ours. NaN where there is no such pair, and where a feature is not
    finite. Class-conditional columns are absent for regression.
    """
    return of_features(snapshot.features, snapshot.labels, snapshot.n_classes)


def lacks(traits: Traits) -> str:
    """Why there is nothing for such a network; empty if there is something."""
    return "a batch of one sample has no pairs" if traits.batch_size == 1 else ""


def of_features(layers: Sequence[Array], labels_B: Array, n_classes: int) -> Columns:
    """The columns of any features (B, H_l), one per layer; n_classes is 1 for regression."""

    def columns(rows_lxBxH: Array) -> Columns:
        features = unit_rows(rows_lxBxH)
        classes_KxB = class_matrix(labels_B, n_classes, rows_lxBxH.dtype)
        sums_lxKxH = class_sums(features, classes_KxB)
        raw = pair_cosines(features, classes_KxB, sums_lxKxH)
        found = {"feature_cos": raw.everywhere, "feature_deficit": deficit(features, sums_lxKxH)}
        if n_classes == 1:
            return found
        residual = centered(features)
        about_mean = pair_cosines(residual, classes_KxB, class_sums(residual, classes_KxB))
        return found | {
            "feature_cos_within": raw.within,
            "feature_cos_between": raw.between,
            "feature_cos_within_centered": about_mean.within,
            "feature_cos_between_centered": about_mean.between,
        }

    return by_shape(columns, layers)
