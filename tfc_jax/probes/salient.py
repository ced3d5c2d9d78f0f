"""What the units of the middle layer say about a few samples (SCIENCE.md section 2, TFC fig. 1b).

Salient units are those of the highest variance over the probe at the last step (ours). All units
are stored. Of the rows `f` of table `features` of one run, those of the ten salient units are

    f[f.unit.isin(f[f.step == f.step.max()].groupby("unit").unit_variance.max().nlargest(10).index)]
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

from tfc_jax.schema import MOST_UNITS, SHOWN_OF_REGRESSION, SHOWN_PER_CLASS, Column
from tfc_jax.sizes import Sizes
from tfc_jax.snapshot import ProbeView

COLUMNS = (
    Column(
        "feature",
        "features",
        "1",
        "Value of a unit of the middle layer ceil(L/2), after the nonlinearity, for a training "
        "sample of the probe: the first two of each class, or 20 of a regression",
    ),
    Column(
        "sample_class",
        "features",
        "class",
        "Class of the sample, from 0; null for a regression",
        "int32",
    ),
    Column(
        "unit_variance",
        "features",
        "1",
        "Variance of the unit over the training probe; 0 where float32 underflows, below 1e-38",
    ),
)


def compute(view: ProbeView) -> dict[str, Array]:
    """Returns the columns, each (units, samples); the first 4096 units of a wider layer.

    Sample 2c + j is the j-th of class c in the probe, by the run's noisy labels, and its values are
    NaN where the probe has no such sample. Of a regression, up to 20 samples at evenly spaced
    places of the probe, without a class.
    """
    feature_NxH = view.features[(len(view.features) + 1) // 2 - 1][:, :MOST_UNITS]
    if view.n_classes:
        shown_SxH = _first_of_each_class(feature_NxH, view.train_targets, view.n_classes)
    else:
        shown_SxH = feature_NxH[_evenly_spaced(len(feature_NxH))]
    columns = {
        "feature": shown_SxH.T,
        "unit_variance": jnp.broadcast_to(jnp.var(feature_NxH, axis=0)[:, None], shown_SxH.T.shape),
    }
    if view.n_classes:
        class_S = jnp.repeat(jnp.arange(view.n_classes, dtype=jnp.int32), SHOWN_PER_CLASS)
        columns["sample_class"] = jnp.broadcast_to(class_S[None, :], shown_SxH.T.shape)
    return columns


def flops(n_samples: int, sizes: Sizes) -> float:
    """One forward pass and the variances of at most all units."""
    return n_samples * (sizes.flops_per_sample / 3 + 4 * sizes.n_units)


def _first_of_each_class(feature_NxH: Array, labels_N: Array, n_classes: int) -> Array:
    is_class_KxN = labels_N[None, :] == jnp.arange(n_classes, dtype=labels_N.dtype)[:, None]
    place_KxN = jnp.cumsum(is_class_KxN, axis=1) - 1
    nth_P = jnp.arange(SHOWN_PER_CLASS)
    is_nth_KxPxN = is_class_KxN[:, None] & (place_KxN[:, None] == nth_P[None, :, None])
    is_nth_SxN = is_nth_KxPxN.reshape(-1, len(labels_N))
    row_S, found_S = jnp.argmax(is_nth_SxN, axis=1), jnp.any(is_nth_SxN, axis=1)
    return jnp.where(found_S[:, None], feature_NxH[row_S], jnp.nan)


def _evenly_spaced(n_samples: int) -> np.ndarray:
    return np.linspace(0, n_samples - 1, min(SHOWN_OF_REGRESSION, n_samples)).round().astype(int)
