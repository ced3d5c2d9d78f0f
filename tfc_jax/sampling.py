"""Which samples a step sees: a pure function of seed and step, so batch order needs no state."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

# What a run draws from its seed.
WEIGHTS, BATCHES, LABELS, REDRAW, SHAM = range(5)


def stream(seed: Array | int, purpose: int) -> Array:
    """Returns the PRNG key of one purpose of the run with this seed."""
    return jax.random.fold_in(jax.random.key(seed), purpose)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Data:
    """A data set on the device, as stored (uint8 or float32); scaled inside the step.

    Attributes:
      x_train, x_test: (N, D), raw.
      y_train, y_test: (N,) int32 classes or (N, O) float32 targets.
      offset, multiplier: () or (D,); the network sees (raw - offset) * multiplier.
    """

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    offset: Array
    multiplier: Array

    def scaled(self, raw: Array) -> Array:
        """Returns the float32 inputs of the network for raw rows."""
        offset, multiplier = (
            jnp.broadcast_to(a, raw.shape) for a in (self.offset, self.multiplier)
        )
        return (raw.astype(jnp.float32) - offset) * multiplier


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch:
    """Inputs (B, D), scaled, and labels (B,) or targets (B, O)."""

    x: Array
    y: Array


def batch_indices(seed: Array, start: Array, n_steps: int, n: int, batch_size: int) -> Array:
    """Returns the sample indices (n_steps, B) of steps start, start+1, ...

    Every epoch is a fresh order of the n samples, of which the last n mod B are left out, so within
    an epoch no sample comes twice. The order is a function of seed and epoch alone: the samples
    sorted by one draw of 32 bits each (ties, one in 2^32 pairs, keep their order).
    """
    per_epoch = n // batch_size
    most_epochs = (n_steps - 1) // per_epoch + 2  # a chunk may start late in an epoch
    first_epoch = start // per_epoch
    n_epochs = (start + n_steps - 1) // per_epoch - first_epoch + 1
    key = stream(seed, BATCHES)

    def add_epoch(i: Array, batches: Array) -> Array:
        order = stable_order(jax.random.bits(jax.random.fold_in(key, first_epoch + i), (n,)))
        rows = order[: per_epoch * batch_size].reshape(per_epoch, batch_size)
        return jax.lax.dynamic_update_index_in_dim(batches, rows, i, axis=0)

    batches = jnp.zeros((most_epochs, per_epoch, batch_size), jnp.int32)
    batches = jax.lax.fori_loop(0, n_epochs, add_epoch, batches)  # sorts no epoch in vain
    offset = start - first_epoch * per_epoch
    return jax.lax.dynamic_slice_in_dim(batches.reshape(-1, batch_size), offset, n_steps)


def stable_order(bits_N: Array) -> Array:
    """Returns the int32 permutation that sorts 32-bit numbers, equal ones in their order: (N,).

    Each number is sorted as the upper half of one of 64 bits whose lower half is its place. One
    sort of such numbers takes a tenth of the time that XLA:CPU takes for `jnp.argsort`, which
    compares pairs.
    """
    with jax.enable_x64(True):
        place_N = jax.lax.iota(jnp.uint64, bits_N.shape[0])
        upper_N = jax.lax.convert_element_type(bits_N, jnp.uint64) << jnp.uint64(32)
        sorted_N = jax.lax.sort(upper_N | place_N, is_stable=False)
        return jax.lax.convert_element_type(sorted_N & jnp.uint64(2**32 - 1), jnp.int32)


def noisy_labels(seed: Array, y: Array, label_noise: Array, n_classes: int) -> Array:
    """Returns labels, each redrawn uniformly over the K classes with probability `label_noise`.

    Nested: a sample redrawn at one rate is redrawn, to the same class, at every higher rate.
    Targets of a regression are returned as they are.
    """
    if n_classes == 0:
        return y
    when, which = jax.random.split(stream(seed, LABELS))
    redrawn = jax.random.randint(which, y.shape, 0, n_classes, y.dtype)
    return jnp.where(jax.random.uniform(when, y.shape) < label_noise, redrawn, y)
