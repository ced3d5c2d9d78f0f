"""Which samples and units are on."""

import jax.numpy as jnp
from jax import Array

from tfc_jax.metrics._rows import matmul, stack, unit_rows
from tfc_jax.schema import Column
from tfc_jax.snapshot import Snapshot

COST = 0.08  # share of a bare step: bench/metrics.py

COLUMNS = (
    Column("alive", "layers", "samples", "Samples whose feature is not all zero"),
    Column("active_fraction", "layers", "1", "Share of (sample, unit) pairs above 0"),
    Column("dead_units", "layers", "1", "Share of units above 0 for no sample of the batch"),
    Column("dead_samples", "layers", "1", "Share of samples whose feature is all zero"),
)


def compute(snapshot: Snapshot) -> dict[str, Array]:
    """Counts and shares, each (L,); NaN where a feature is not finite."""
    features = unit_rows(stack(snapshot.features))
    _, batch, padded = features.rows.shape
    dtype = features.rows.dtype
    width_L = jnp.array([layer.shape[1] for layer in snapshot.features], dtype)
    active_LxH = jnp.sum(features.rows > 0, axis=1, dtype=jnp.int32).astype(dtype)
    off_L = jnp.sum((active_LxH == 0).astype(dtype), axis=1) - (padded - width_L)
    # As a product: two sums in a row would be merged into a second one over all rows.
    active_L = matmul(active_LxH, jnp.ones(padded, dtype))
    alive_L = jnp.sum(features.alive, axis=1)
    poison_L = 0 * alive_L  # comparisons with NaN are false: a diverged run would look dead
    return {
        "alive": alive_L,
        "active_fraction": active_L / (batch * width_L) + poison_L,
        "dead_units": off_L / width_L + poison_L,
        "dead_samples": (batch - alive_L) / batch,
    }
