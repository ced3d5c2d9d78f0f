"""How alike the feature gradients of different samples are (SCIENCE.md section 2, TFC paper)."""

from jax import Array

from tfc_jax.metrics._rows import (
    Columns,
    by_shape,
    class_matrix,
    class_sums,
    pair_cosines,
    unit_rows,
)
from tfc_jax.schema import Column
from tfc_jax.snapshot import Snapshot, Traits

_NULL = "; null for a regression"
_OF = "of the gradients of two distinct samples' losses with respect to their own features"

COST = 0.06  # share of a bare step: bench/metrics.py

COLUMNS = (
    Column("grad_cos", "layers", "1", f"Mean cosine {_OF}"),
    Column(
        "grad_cos_within",
        "layers",
        "1",
        f"Mean cosine {_OF}, samples of one class{_NULL}",
    ),
    Column(
        "grad_cos_between",
        "layers",
        "1",
        f"Mean cosine {_OF}, samples of different classes{_NULL}",
    ),
)


def lacks(traits: Traits) -> str:
    """Why there is nothing for such a network; empty if there is something."""
    return "a batch of one sample has no pairs" if traits.batch_size == 1 else ""


def compute(snapshot: Snapshot) -> dict[str, Array]:
    """Cosines over pairs of distinct samples with a non-zero gradient, each (L,), in [-1, 1].

    At a uniform softmax the logit gradients have cosine 1 within a class and -1/(K-1) between: only
    the class-conditional columns carry the paper's claim. They are absent for regression.
    """

    def columns(rows_lxBxH: Array) -> Columns:
        gradients = unit_rows(rows_lxBxH)
        classes_KxB = class_matrix(snapshot.labels, snapshot.n_classes, rows_lxBxH.dtype)
        cosines = pair_cosines(gradients, classes_KxB, class_sums(gradients, classes_KxB))
        found = {"grad_cos": cosines.everywhere}
        if snapshot.n_classes == 1:
            return found
        return found | {"grad_cos_within": cosines.within, "grad_cos_between": cosines.between}

    return by_shape(columns, snapshot.feature_grads)
