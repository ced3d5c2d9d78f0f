"""How alike the features of the probe's training samples are: metrics/similarity without noise."""

from dataclasses import replace

import jax.numpy as jnp
from jax import Array

from tfc_jax.metrics import similarity
from tfc_jax.sizes import Sizes
from tfc_jax.snapshot import ProbeView

COLUMNS = tuple(
    replace(
        column,
        name=f"probe_{column.name}",
        table="probe_layers",
        meaning=f"{column.meaning.replace('the batch', 'the probe')}; on the training probe",
    )
    for column in similarity.COLUMNS
)


def compute(view: ProbeView) -> dict[str, Array]:
    """Cosines over pairs of distinct alive samples, each (L,), as metrics/similarity.py has them.

    Class-conditional columns, by the run's noisy labels, are left out for a regression.
    """
    labels = view.train_targets if view.n_classes else jnp.zeros(len(view.train_logits), jnp.int32)
    columns = similarity.of_features(view.features, labels, max(view.n_classes, 1))
    return {f"probe_{name}": values for name, values in columns.items()}


def flops(n_samples: int, sizes: Sizes) -> float:
    """One forward pass, and class sums of raw and centred rows: some 60 operations per feature."""
    return n_samples * (sizes.flops_per_sample / 3 + 60 * sizes.n_units)
