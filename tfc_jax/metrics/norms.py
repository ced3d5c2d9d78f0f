"""Sizes of features, gradients, weights and updates, and a self-check of the engine."""

import itertools

import jax.numpy as jnp
from jax import Array

from tfc_jax.metrics._rows import (
    Columns,
    by_shape,
    each,
    frobenius,
    root_mean_square,
    unit_rows,
)
from tfc_jax.schema import Column
from tfc_jax.snapshot import Snapshot, Values, on_layers

COST = 0.14  # share of a bare step: bench/metrics.py

COLUMNS = (
    Column("feature_norm", "layers", "1", "Root mean square over samples of the feature's norm"),
    Column(
        "delta_norm",
        "layers",
        "loss",
        "Root mean square over samples of the norm of the loss's gradient in W_l h_{l-1}; null "
        "where a layer (of a recurrent network, a transformer) has no such place",
    ),
    Column("weight_norm", "layers", "1", "Frobenius norm of W_l"),
    Column("grad_norm", "layers", "loss", "Frobenius norm of the data loss's gradient in W_l"),
    Column("update_ratio", "layers", "1", "Norm of the update of W_l over the norm of W_l"),
    Column(
        "euler_gap",
        "layers",
        "1",
        "|<W_l, g_l> - mean_i <z_i, d loss_i/d z_i>| / (|W_l| |g_l|), g_l the data loss's "
        "gradient: 0 by Euler's identity up to rounding; null where bias, norm or activation "
        "break it",
    ),
    Column(
        "grad_norm_total", "steps", "loss", "Norm of the data loss's gradient in all parameters"
    ),
)


def compute(snapshot: Snapshot) -> dict[str, Values]:
    """Norms, each (L,) and >= 0, but grad_norm_total (); none underflows down to 1e-37."""
    deltas = snapshot.delta_by_layer
    tensors = (
        tuple(deltas.values()),
        snapshot.weights,
        snapshot.weight_grads,
        snapshot.updates,
    )
    ends = list(itertools.accumulate(map(len, tensors)))[:-1]
    delta_l, weight_L, grad_L, update_L = jnp.split(frobenius(sum(tensors, ())), ends)
    root_batch = snapshot.labels.shape[0] ** 0.5
    columns: dict[str, Values] = {
        **by_shape(_feature_norm, snapshot.features),
        "delta_norm": on_layers(delta_l * root_batch, tuple(deltas), len(weight_L)),
        "weight_norm": weight_L,
        "grad_norm": grad_L,
        "update_ratio": update_L / weight_L,
        "grad_norm_total": snapshot.grad_norm_total,
    }
    if snapshot.euler:
        columns["euler_gap"] = _gap(snapshot) / (weight_L * grad_L)
    return columns


def _feature_norm(rows_lxBxH: Array) -> Columns:
    return {"feature_norm": root_mean_square(unit_rows(rows_lxBxH).norm)}


def _gap(snapshot: Snapshot) -> Array:
    inner_L = each(lambda w, g: jnp.sum(w * g), snapshot.weights, snapshot.weight_grads)
    return jnp.abs(inner_L - snapshot.logit_dot_grad)
