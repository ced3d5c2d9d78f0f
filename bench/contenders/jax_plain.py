"""The networks in plain JAX, as one writes them by hand: one jitted function for all of them."""

from abc import abstractmethod
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bench.child import Contender
from bench.problem import Inputs

Weights = list[Array]


class Plain(Contender):
    """One row, `all`: T steps of all R networks in one call, the losses of every step kept."""

    rows = ("all",)

    def prepare(self) -> None:
        inputs = Inputs(self.folder)
        self.weights = [jnp.asarray(w) for w in inputs.weights]
        self.data = (jnp.asarray(inputs.x_NxD), jnp.asarray(inputs.y_N))
        self.indices = jnp.asarray(inputs.indices_RxTxB)
        self.multiplier = inputs.multiplier
        self.call = jax.jit(self.train, donate_argnums=0)

    def losses(self) -> dict[str, np.ndarray]:
        return {"all": np.asarray(self._advance())}

    def repeat(self, row: str) -> float:
        jax.block_until_ready((self._advance(), self.weights))
        return self.problem.runs * self.problem.steps

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__}

    @abstractmethod
    def train(
        self, weights_R: Weights, indices_RxTxB: Array, *data: Array
    ) -> tuple[Weights, Array]:
        """Returns the weights after T steps, and the losses (R, T)."""

    def step(self, data: Any, weights: Weights, rows_B: Array) -> tuple[Weights, Array]:
        """One step of one network; the loss is that before the update."""
        x_NxD, y_N = data
        x_BxD = x_NxD[rows_B].astype(jnp.float32) * self.multiplier
        loss, grads = jax.value_and_grad(_loss)(weights, x_BxD, y_N[rows_B])
        rate = self.problem.learning_rate
        return [w - rate * g for w, g in zip(weights, grads, strict=True)], loss

    def _advance(self) -> Array:
        self.weights, losses = self.call(self.weights, self.indices, *self.data)
        return losses


class ScanVmap(Plain):
    """jit(scan(vmap)): all networks step together."""

    def train(
        self, weights_R: Weights, indices_RxTxB: Array, *data: Array
    ) -> tuple[Weights, Array]:
        together = jax.vmap(partial(self.step, data))
        weights_R, losses_TxR = jax.lax.scan(together, weights_R, indices_RxTxB.swapaxes(0, 1))
        return weights_R, losses_TxR.T


class VmapScan(Plain):
    """jit(vmap(scan)): the training of one network, over networks."""

    def train(
        self, weights_R: Weights, indices_RxTxB: Array, *data: Array
    ) -> tuple[Weights, Array]:
        return jax.vmap(lambda w, rows: jax.lax.scan(partial(self.step, data), w, rows))(
            weights_R, indices_RxTxB
        )


class MapScan(Plain):
    """jit(map(scan)): one network after the other."""

    def train(
        self, weights_R: Weights, indices_RxTxB: Array, *data: Array
    ) -> tuple[Weights, Array]:
        return jax.lax.map(
            lambda lane: jax.lax.scan(partial(self.step, data), *lane), (weights_R, indices_RxTxB)
        )


def _loss(weights: Weights, h: Array, y_B: Array) -> Array:
    """Mean cross-entropy of a batch."""
    *hidden, last = weights
    for weight in hidden:
        h = jax.nn.relu(h @ weight)
    log_p_BxK = jax.nn.log_softmax(h @ last)
    return -jnp.take_along_axis(log_p_BxK, y_B[:, None], axis=1).mean()
