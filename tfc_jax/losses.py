"""Losses and what is recorded beside them at every step."""

import jax
import jax.numpy as jnp
import optax
from jax import Array


def data_loss(kind: str, logits_BxK: Array, y: Array) -> Array:
    """Mean loss of a batch: cross-entropy in nats, or MSE over samples and outputs (no 1/2).

    Args:
      kind: `cross_entropy` or `mse`.
      logits_BxK: network outputs.
      y: (B,) int32 classes (one-hot targets under `mse`), or (B, K) float regression targets.
    """
    if kind == "cross_entropy":
        return optax.softmax_cross_entropy_with_integer_labels(logits_BxK, y).mean()
    target_BxK = y if y.ndim == 2 else jax.nn.one_hot(y, logits_BxK.shape[1])
    return jnp.mean((logits_BxK - target_BxK) ** 2)


def accuracy(logits_BxK: Array, y_B: Array) -> Array:
    """Share of samples whose largest logit is their class; NaN when a logit is not finite."""
    n_correct = jnp.sum(jnp.argmax(logits_BxK, axis=1) == y_B, dtype=jnp.float32)
    # A known divisor is compiled to a product with its reciprocal: 41 of 41 would be 0.99999994.
    n = jax.lax.optimization_barrier(jnp.float32(len(y_B)))
    return jnp.where(jnp.isfinite(logits_BxK).all(), n_correct / n, jnp.nan)


def prior_entropy(y_B: Array, n_classes: int) -> Array:
    """Entropy (nats) of the batch's label frequencies: the best constant predictor's loss on it."""
    p_K = jnp.mean(jax.nn.one_hot(y_B, n_classes), axis=0)
    return -jnp.sum(jax.scipy.special.xlogy(p_K, p_K))
