"""Init and step of ONE run: arrays in, arrays out. The engine maps them over hundreds of runs."""

from dataclasses import dataclass, replace
from types import ModuleType

import jax
import jax.numpy as jnp
import optax
from jax import Array

from tfc_jax import registry
from tfc_jax.functional import Functional, Tree, flat
from tfc_jax.hyper import Hyper
from tfc_jax.interventions import intervene
from tfc_jax.losses import accuracy, data_loss, prior_entropy
from tfc_jax.metrics._rows import total_norm
from tfc_jax.network import Network
from tfc_jax.ordering import after
from tfc_jax.sampling import Batch
from tfc_jax.snapshot import Snapshot, Values

Records = dict[str, Values]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Carry:
    """Everything a run takes from one step to the next, hence all that a checkpoint holds.

    Batch order needs no state: it is a function of the seed and the step (sampling.py).
    `metric_state` is what a metric keeps between measured steps, by its name.
    """

    params: Tree
    model_state: Tree
    opt_state: optax.OptState
    metric_state: dict[str, Tree]
    step: Array
    first_bad_step: Array  # -1 while every loss was finite


@dataclass(frozen=True)
class Trainer:
    """What the static keys of a program fix: the network, the optimizer, what is recorded."""

    network: Network
    has_momentum: bool
    metrics: tuple[str, ...]

    def init(self, hyper: Hyper) -> Carry:
        """Returns the state of one run at step 0."""
        params, model_state = self.net.init(hyper)
        step = jnp.int32(0)
        return Carry(
            params=params,
            model_state=model_state,
            opt_state=self._optimizer(hyper, step).init(params),
            metric_state={
                name: family.init(self.net.kernels(params))
                for name, family in self._families().items()
                if hasattr(family, "init")
            },
            step=step,
            first_bad_step=jnp.int32(-1),
        )

    def step(self, carry: Carry, hyper: Hyper, batch: Batch) -> tuple[Carry, Records]:
        """One bare step: sample, forward and backward, update.

        Returns:
          The carry after the update; loss, accuracy and prior_entropy before it, each ().
        """

        def objective(params: Tree) -> tuple[Array, tuple[Array, Tree]]:
            logits, state = self.net.apply(params, carry.model_state, batch.x, train=True)
            return self._loss(logits, batch), (logits, state)

        (loss, (logits, state)), grads = jax.value_and_grad(objective, has_aux=True)(carry.params)
        updates, opt_state = self._updates(carry, hyper, grads)
        moved = self._moved(carry, loss, after(updates, grads))
        moved = replace(moved, model_state=state, opt_state=opt_state)
        return moved, self._always(loss, logits, batch)

    def measured_step(self, carry: Carry, hyper: Hyper, batch: Batch) -> tuple[Carry, Records]:
        """The same step, whose backward pass also returns what the metrics read.

        Returns:
          The carry after the update; the records of `step` and every metric, () or (L,).
        """

        def objective(params: Tree, taps: Tree) -> tuple[Array, tuple[Array, Tree, Tree]]:
            features: dict[str, Array] = {}

            def tap(name: str, value: Array) -> Array:
                features[name] = value
                return value + taps[name]

            logits, state = self.net.apply(params, carry.model_state, batch.x, train=True, tap=tap)
            return self._loss(logits, batch), (logits, state, features)

        (loss, (logits, state, features)), (grads, tap_grads) = jax.value_and_grad(
            objective, argnums=(0, 1), has_aux=True
        )(carry.params, self.net.zero_taps(batch.x))
        updates, opt_state = self._updates(carry, hyper, grads)
        snapshot = self._snapshot(batch, carry, grads, updates, features, tap_grads)
        columns, metric_state = self._measure(snapshot, carry.metric_state)
        moved = self._moved(carry, loss, after(updates, grads, columns))
        moved = replace(moved, model_state=state, opt_state=opt_state, metric_state=metric_state)
        return moved, self._always(loss, logits, batch) | columns

    def intervene(self, carry: Carry, hyper: Hyper, x_NxD: Array) -> Carry:
        """Returns the carry after the run's intervention.

        Args:
          x_NxD: fixed training inputs, by whose features means and dead units are judged.
        """
        params = intervene(self.net, carry.params, carry.model_state, hyper, x_NxD)
        return replace(carry, params=params)

    @property
    def net(self) -> Functional:
        """The network's functions."""
        return Functional(self.network)

    def _updates(self, carry: Carry, hyper: Hyper, grads: Tree) -> tuple[Tree, optax.OptState]:
        """Returns what the optimizer adds to the parameters, and its next state."""
        updates, opt_state = self._optimizer(hyper, carry.step).update(
            grads, carry.opt_state, carry.params
        )
        return updates, opt_state

    def _moved(self, carry: Carry, loss: Array, updates: Tree) -> Carry:
        """Returns the carry of the next step, but for what the other states become."""
        is_first_bad = (carry.first_bad_step < 0) & ~jnp.isfinite(loss)
        return replace(
            carry,
            params=optax.apply_updates(carry.params, updates),
            step=carry.step + 1,
            first_bad_step=jnp.where(is_first_bad, carry.step, carry.first_bad_step),
        )

    def _optimizer(self, hyper: Hyper, step: Array) -> optax.GradientTransformation:
        """Coupled L2, then the update rule; built inside the step, so that its numbers trace."""
        run = self.network.run
        if run.optimizer == "adam":
            rule = optax.adam(hyper.learning_rate)
        else:
            momentum = hyper.momentum_at(step) if self.has_momentum else None
            dtype = jnp.dtype(run.momentum_dtype)
            rule = optax.sgd(hyper.learning_rate, momentum, accumulator_dtype=dtype)
        return optax.chain(optax.add_decayed_weights(hyper.weight_decay), rule)

    def _loss(self, logits: Array, batch: Batch) -> Array:
        return data_loss(self.network.run.loss, logits, batch.y)

    def _always(self, loss: Array, logits: Array, batch: Batch) -> Records:
        records: Records = {"loss": loss}
        if self.network.n_classes:
            records["accuracy"] = accuracy(logits, batch.y)
            records["prior_entropy"] = prior_entropy(batch.y, self.network.n_classes)
        return records

    def _measure(self, snapshot: Snapshot, states: dict[str, Tree]) -> tuple[Records, Tree]:
        """Returns the columns of every family, and what the families keep for their next look."""
        records: Records = {}
        for name, family in self._families().items():
            if hasattr(family, "init"):
                columns, state = family.update(snapshot, states[name])
                states = {**states, name: state}
            else:
                columns = family.compute(snapshot)
            records |= columns
        return records, states

    def _snapshot(
        self,
        batch: Batch,
        carry: Carry,
        grads: Tree,
        updates: Tree,
        features: dict[str, Array],
        tap_grads: dict[str, Array],
    ) -> Snapshot:
        net = self.net
        rows = {name: flat(grad) for name, grad in tap_grads.items()}
        logits = net.feature_names[-1]
        return Snapshot(
            step=carry.step,
            inputs=batch.x,
            features=tuple(flat(features[name]) for name in net.feature_names),
            feature_grads=tuple(rows[name] for name in net.feature_names),
            deltas=tuple(rows.get(name) for name in net.linear_names),
            weights=net.kernels(carry.params),
            weight_grads=net.kernels(grads),
            updates=net.kernels(updates),
            labels=batch.y if self.network.n_classes else jnp.zeros(len(batch.x), jnp.int32),
            logit_dot_grad=jnp.sum(features[logits] * tap_grads[logits]),
            grad_norm_total=total_norm(jax.tree.leaves(grads)),
            n_classes=max(self.network.n_classes, 1),
            euler=self.network.architecture.euler_holds(self.network.run),
            dense=net.dense,
        )

    def _families(self) -> dict[str, ModuleType]:
        return {name: registry.module("metrics", name) for name in self.metrics}
