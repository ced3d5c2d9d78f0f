"""Networks of image data for tests: built, fed, disturbed, differentiated and trained."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tfc_jax import data, registry
from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.network import Network
from tfc_jax.sampling import Batch
from tfc_jax.train import Trainer

K = 3
Tree = Any


@dataclass(frozen=True)
class Case:
    """One network at initialisation, and images for it.

    Attributes:
      shape: (H, W, C) of an image.
    """

    run: Run
    shape: tuple[int, ...]

    @cached_property
    def trainer(self) -> Trainer:
        return Trainer(Network(self.run, self.shape, K, K), has_momentum=False, metrics=())

    @cached_property
    def initial(self) -> tuple[Tree, Tree]:
        return self.init(Hyper.of(self.run))

    @cached_property
    def init(self) -> Callable[[Hyper], tuple[Tree, Tree]]:
        """Hyper to parameters and state; compiled, as one by one its operations take seconds."""
        return jax.jit(self.trainer.net.init)

    def images(self, n: int, seed: int = 0) -> np.ndarray:
        """Returns n flat images (n, D) of standard normal pixels."""
        rng = np.random.default_rng(seed)
        return rng.standard_normal((n, prod(self.shape))).astype(np.float32)

    def forward(
        self, x: np.ndarray, bumps: dict[str, Array] | None = None, params: Tree = None
    ) -> tuple[Array, dict[str, Array]]:
        """Returns the logits, and by its name all that passed a tap, `bumps` added."""
        zeros = self.trainer.net.zero_taps(jnp.asarray(x))
        params = self.initial[0] if params is None else params
        return self._forward(params, jnp.asarray(x), zeros | (bumps or {}))

    @cached_property
    def _forward(self) -> Callable:
        def forward(params: Tree, x: Array, bumps: Tree) -> tuple[Array, Tree]:
            seen: dict[str, Array] = {}

            def tap(name: str, value: Array) -> Array:
                assert name not in seen, f"{name} passed twice"
                seen[name] = value + bumps[name]
                return seen[name]

            state = self.initial[1]
            return self.trainer.net.apply(params, state, x, train=True, tap=tap)[0], seen

        return jax.jit(forward)


@contextmanager
def in_float64(tree: Tree) -> Iterator[Tree]:
    """Yields the tree in float64, in which JAX then computes."""
    with jax.enable_x64(True):
        yield jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), tree)


def numbers(tree: Tree) -> Tree:
    """Returns the tree as NumPy arrays in float64."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def side_by_side(case: Case, x: np.ndarray, seeds: tuple[int, ...]) -> tuple[Array, Array]:
    """Returns the logits (R, B, K) of several seeds, from one batched program and one by one."""
    hypers, net = Hyper.stacked([replace(case.run, seed=s) for s in seeds]), case.trainer.net

    def logits(hyper: Hyper) -> Array:
        return net.apply(*net.init(hyper), jnp.asarray(x), train=False)[0]

    lanes = [jax.tree.map(lambda leaf, i=i: leaf[i], hypers) for i in range(len(seeds))]
    alone = [case.forward(x, params=case.init(hyper)[0])[0] for hyper in lanes]
    return jax.jit(jax.vmap(logits))(hypers), jnp.stack(alone)


def tap_slopes(case: Case, params: Tree, x: np.ndarray, entry: int, h: float) -> np.ndarray:
    """Returns d sum(z^2)/d(entry of each hidden feature): by one backward pass, and by differences.

    The differences are central ones of fourth order, of step h; (2, L-1).
    """
    zeros = case.trainer.net.zero_taps(jnp.asarray(x))

    def objective(bumps: Tree) -> Array:
        return jnp.sum(case.forward(x, bumps, params)[0] ** 2)

    def moved(name: str, by: float) -> Tree:
        bump = zeros[name].reshape(-1).at[entry].add(by)
        return zeros | {name: bump.reshape(zeros[name].shape)}

    grads, slopes = jax.grad(objective)(zeros), []
    for name in case.trainer.net.feature_names[:-1]:
        below, near_below, near, above = (objective(moved(name, k * h)) for k in (-2, -1, 1, 2))
        difference = (below - 8 * near_below + 8 * near - above) / (12 * h)
        slopes.append([grads[name].reshape(-1)[entry], difference])
    return np.asarray(slopes).T


def learned(name: str, n_steps: int, batch_size: int = 50) -> tuple[float, int]:
    """Trains an architecture's EXAMPLE on digits; returns accuracy and size of the test set."""
    run = Run(architecture=name, batch_size=batch_size, **registry.module("models", name).EXAMPLE)
    digits = data.load("digits")
    trainer = Trainer(Network.of(run, digits), has_momentum=False, metrics=())
    rng, n = np.random.default_rng(0), len(digits.x_train)
    rows = np.stack([rng.choice(n, batch_size, replace=False) for _ in range(n_steps)])
    x, x_test = (
        jnp.asarray(a.reshape(len(a), -1) / 16, jnp.float32)
        for a in (digits.x_train, digits.x_test)
    )
    y = jnp.asarray(digits.y_train, jnp.int32)

    @jax.jit
    def logits(hyper: Hyper, rows: Array) -> Array:
        carry, _ = jax.lax.scan(
            lambda carry, i: trainer.step(carry, hyper, Batch(x[i], y[i])),
            trainer.init(hyper),
            rows,
        )
        return trainer.net.apply(carry.params, carry.model_state, x_test, train=False)[0]

    found = np.argmax(logits(Hyper.of(run), rows), axis=1)
    return float(np.mean(found == digits.y_test)), len(found)
