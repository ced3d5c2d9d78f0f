"""Which samples and units are on."""

import jax.numpy as jnp
from jax import Array

from tfc_jax.metrics._rows import Columns, by_shape, matmul, unit_rows
from tfc_jax.schema import Column
from tfc_jax.snapshot import Snapshot

COST = 0.06  # share of a bare step: bench/metrics.py

COLUMNS = (
    Column("alive", "layers", "samples", "Samples whose feature is not all zero"),
    Column("active_fraction", "layers", "1", "Share of (sample, unit) pairs above 0"),
    Column("dead_units", "layers", "1", "Share of units above 0 for no sample of the batch"),
    Column("dead_samples", "layers", "1", "Share of samples whose feature is all zero"),
)


def compute(snapshot: Snapshot) -> dict[str, Array]:
    """Counts and shares, each (L,); NaN where a feature is not finite."""
    return by_shape(_of_rows, snapshot.features)


def _of_rows(rows_lxBxH: Array) -> Columns:
    _, batch, width = rows_lxBxH.shape
    dtype = rows_lxBxH.dtype
    active_lxH = jnp.sum(rows_lxBxH > 0, axis=1, dtype=jnp.int32).astype(dtype)
    off_l = jnp.sum((active_lxH == 0).astype(dtype), axis=1)
    # As a product: two sums in a row would be merged into a second one over all rows.
    active_l = matmul(active_lxH, jnp.ones(width, dtype))
    alive_l = jnp.sum(unit_rows(rows_lxBxH).alive, axis=1)
    poison_l = 0 * alive_l  # comparisons with NaN are false: a diverged run would look dead
    return {
        "alive": alive_l,
        "active_fraction": active_l / (batch * width) + poison_l,
        "dead_units": off_l / width + poison_l,
        "dead_samples": (batch - alive_l) / batch,
    }
