"""Which samples and labels a step sees: a function of seed and step, and of nothing else."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.sampling import (
    BATCHES,
    LABELS,
    WEIGHTS,
    Data,
    batch_indices,
    noisy_labels,
    stable_order,
    stream,
)

N, B = 23, 5  # 4 batches an epoch, 3 samples left out
PER_EPOCH = N // B
CHUNK = 6 * PER_EPOCH
jitted = jax.jit(batch_indices, static_argnums=(2, 3, 4))


def indices(seed: int, start: int = 0, n_steps: int = CHUNK, n: int = N) -> np.ndarray:
    return np.asarray(jitted(jnp.uint32(seed), jnp.int32(start), n_steps, n, B))


def test_no_sample_comes_twice_within_an_epoch() -> None:
    epochs = indices(3).reshape(6, -1)
    assert all(len(set(epoch)) == PER_EPOCH * B for epoch in epochs.tolist())
    assert epochs.min() >= 0
    assert epochs.max() < N


def test_every_epoch_has_an_order_of_its_own() -> None:
    epochs = indices(3).reshape(6, -1)
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 6
    # Those left out change too: 6 epochs of 3 out of 23 are all the same with chance 1771^-5.
    assert len({frozenset(range(N)) - frozenset(epoch) for epoch in epochs.tolist()}) > 1


@pytest.mark.parametrize("n_steps", [1, 10])
def test_batches_do_not_depend_on_where_a_chunk_starts_and_ends(n_steps: int) -> None:
    starts = jnp.arange(CHUNK - n_steps + 1)
    part = partial(batch_indices, jnp.uint32(7), n_steps=n_steps, n=N, batch_size=B)
    for start, found in enumerate(np.asarray(jax.jit(jax.vmap(part))(starts))):
        assert np.array_equal(found, indices(7)[start : start + n_steps])


def test_an_order_is_that_of_a_stable_sort_of_all_32_bits() -> None:
    largest = 2**32 - 1
    bits = np.array([[5, largest, 0, 5, 2**31, largest, 0], [7, 7, 7, 1, 1, 1, 0]], np.uint32)
    found = jax.jit(jax.vmap(stable_order))(bits)
    assert found.dtype == jnp.int32
    assert np.array_equal(found, np.argsort(bits, axis=1, kind="stable"))


def test_a_batch_may_be_the_whole_data_set() -> None:
    batches = indices(0, start=5, n_steps=3, n=B)
    assert np.array_equal(np.sort(batches, axis=1), np.tile(np.arange(B), (3, 1)))


def test_the_seed_changes_the_order() -> None:
    assert np.array_equal(indices(1), indices(1))
    assert not np.array_equal(indices(1), indices(2))
    assert not np.array_equal(indices(1), indices(2**32 - 1))


def test_every_sample_comes_equally_often_at_every_place() -> None:
    n_epochs = 2000
    chunks = [indices(11, start) for start in range(0, n_epochs * PER_EPOCH, CHUNK)]
    epochs = np.concatenate(chunks)[: n_epochs * PER_EPOCH].reshape(n_epochs, -1)
    share = np.bincount(epochs[:, 0], minlength=N) / n_epochs
    # 4.5 standard errors of a binomial share: 23 of them stay inside but for 2e-4.
    assert np.abs(share - 1 / N).max() < 4.5 * np.sqrt(1 / N * (1 - 1 / N) / n_epochs)


def test_weights_batches_and_labels_draw_from_streams_of_their_own() -> None:
    keys = [stream(5, purpose) for purpose in (WEIGHTS, BATCHES, LABELS)]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 3


def test_inputs_are_scaled_as_float32() -> None:
    offset, multiplier = (np.array(a, np.float32) for a in ([1, 2, 3], [0.5, 2, 0.25]))
    raw = np.array([[0, 255, 7], [3, 1, 16]], np.uint8)
    none = np.zeros((0, 3), np.uint8)
    data = Data(*map(jnp.asarray, (raw, none[:, 0], none, none[:, 0], offset, multiplier)))
    assert data.scaled(data.x_train).dtype == jnp.float32
    # Numbers of few bits: exact.
    assert np.array_equal(data.scaled(data.x_train), (raw - offset) * multiplier)
    one = Data(*map(jnp.asarray, (raw, none[:, 0], none, none[:, 0], 1.0, 0.5)))
    assert np.array_equal(one.scaled(one.x_train), (raw.astype(np.float32) - 1) * 0.5)


K, N_LABELS = 10, 20_000
LABELS_N = np.arange(N_LABELS, dtype=np.int32) % K


jitted_noise = jax.jit(noisy_labels, static_argnums=3)


def noisy(rate: float, seed: int = 0) -> np.ndarray:
    return np.asarray(jitted_noise(jnp.uint32(seed), LABELS_N, jnp.float32(rate), K))


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
def test_label_noise_changes_the_stated_share_of_labels(rate: float) -> None:
    changed = np.mean(noisy(rate) != LABELS_N)
    expected = rate * (K - 1) / K  # a redrawn label is the old one once in K times
    assert abs(changed - expected) < 4 * np.sqrt(expected * (1 - expected) / N_LABELS)


def test_redrawn_labels_are_uniform_over_the_classes_whatever_the_label_was() -> None:
    counts = np.zeros((K, K))
    np.add.at(counts, (LABELS_N, noisy(1.0)), 1)
    expected = N_LABELS / K**2
    # Variance of chi-square with K(K-1) degrees of freedom: twice those.
    freedom = K * (K - 1)
    chi_square = np.sum((counts - expected) ** 2) / expected
    assert abs(chi_square - freedom) < 4 * np.sqrt(2 * freedom)


def test_without_label_noise_labels_stay() -> None:
    assert np.array_equal(noisy(0.0), LABELS_N)


def test_a_label_redrawn_at_one_rate_is_redrawn_alike_at_every_higher_rate() -> None:
    rates = [0.05, 0.2, 0.6, 1.0]
    labels = [noisy(rate) for rate in rates]
    for lower, higher in pairwise(labels):
        redrawn = lower != LABELS_N
        assert np.array_equal(higher[redrawn], lower[redrawn])
        assert (higher != lower).any()


def test_label_noise_depends_on_the_seed() -> None:
    assert not np.array_equal(noisy(0.5, seed=0), noisy(0.5, seed=1))


def test_targets_of_a_regression_stay() -> None:
    targets = jnp.linspace(0.0, 1.0, 6).reshape(3, 2)
    assert np.array_equal(noisy_labels(jnp.uint32(0), targets, jnp.float32(1.0), 0), targets)
