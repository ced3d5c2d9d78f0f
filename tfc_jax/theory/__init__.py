"""Exact mathematics of wide random networks, and of chains that learn (SCIENCE.md section 4).

NumPy and SciPy only, float64. A "wide limit" is that of infinitely many units per layer; weights
have independent entries of mean 0 and variance `weight_variance` / fan_in, biases of variance
`bias_variance`. `variance` is that of a pre-activation.
"""

from tfc_jax.theory.chains import (
    chain_steps,
    chain_time,
    chain_time_far_from_target,
    decades_per_layer,
    phase_one_product,
)
from tfc_jax.theory.cosines import (
    abs_cosine,
    batch_norm_relu_cosine,
    cosines_by_depth,
    leaky_relu_cosine,
    next_cosine,
    relu_cosine,
)
from tfc_jax.theory.finite_width import (
    angle_drift,
    angle_log_variance,
    log_norm_mean,
    log_norm_variance,
    relu_cosine_variance,
)
from tfc_jax.theory.gaussian import ACTIVATIONS, Activation, mean, mean_product
from tfc_jax.theory.rank_bound import rank_loss_bound
from tfc_jax.theory.residual import (
    residual_cosine,
    residual_growth,
    residual_simple_by_depth,
    residual_simple_step,
)
from tfc_jax.theory.variances import (
    BATCH_NORM_GRADIENT_GROWTH,
    WEIGHT_VARIANCES,
    depth_scale,
    fixed_variance,
    next_covariance,
    next_variance,
    relu_growth,
    susceptibility,
    tanh_critical_weight_variance,
    trainable_depth,
    variances_by_depth,
)

__all__ = [
    "ACTIVATIONS",
    "BATCH_NORM_GRADIENT_GROWTH",
    "WEIGHT_VARIANCES",
    "Activation",
    "abs_cosine",
    "angle_drift",
    "angle_log_variance",
    "batch_norm_relu_cosine",
    "chain_steps",
    "chain_time",
    "chain_time_far_from_target",
    "cosines_by_depth",
    "decades_per_layer",
    "depth_scale",
    "fixed_variance",
    "leaky_relu_cosine",
    "log_norm_mean",
    "log_norm_variance",
    "mean",
    "mean_product",
    "next_cosine",
    "next_covariance",
    "next_variance",
    "phase_one_product",
    "rank_loss_bound",
    "relu_cosine",
    "relu_cosine_variance",
    "relu_growth",
    "residual_cosine",
    "residual_growth",
    "residual_simple_by_depth",
    "residual_simple_step",
    "susceptibility",
    "tanh_critical_weight_variance",
    "trainable_depth",
    "variances_by_depth",
]
