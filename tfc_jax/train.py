"""Init and step of ONE run: arrays in, arrays out. The engine maps them over hundreds of runs."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array

from tfc_jax import registry
from tfc_jax.keys import Run
from tfc_jax.losses import accuracy, data_loss, prior_entropy
from tfc_jax.metrics._rows import total_norm
from tfc_jax.sampling import WEIGHTS, Batch, stream
from tfc_jax.snapshot import Snapshot

Tree = dict
Records = dict[str, Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hyper:
    """The traced keys of one run; in a pack every leaf has a leading axis of runs."""

    seed: Array
    init_scale: Array
    learning_rate: Array
    momentum: Array
    weight_decay: Array
    label_noise: Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Carry:
    """Everything a run takes from one step to the next, hence all that a checkpoint holds.

    Batch order needs no state: it is a function of the seed and the step (sampling.py).
    """

    params: Tree
    model_state: Tree
    opt_state: optax.OptState
    step: Array
    first_bad_step: Array  # -1 while every loss was finite


@dataclass(frozen=True)
class Trainer:
    """What the static keys of a program fix: the network, the optimizer, what is recorded."""

    run: Run
    n_inputs: int
    n_outputs: int
    n_classes: int
    has_momentum: bool
    metrics: tuple[str, ...]

    def init(self, hyper: Hyper) -> Carry:
        """Returns the state of one run at step 0."""
        model = self._model(hyper)
        params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        model_state = nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))
        return Carry(
            params=params,
            model_state=model_state,
            opt_state=self._optimizer(hyper).init(params),
            step=jnp.int32(0),
            first_bad_step=jnp.int32(-1),
        )

    def step(self, carry: Carry, hyper: Hyper, batch: Batch) -> tuple[Carry, Records]:
        """One bare step: sample, forward and backward, update.

        Returns:
          The carry after the update; loss, accuracy and prior_entropy before it, each ().
        """

        def objective(params: Tree) -> tuple[Array, tuple[Array, Tree]]:
            logits, state = self.apply(params, carry.model_state, batch.x, train=True)
            return data_loss(self.run.loss, logits, batch.y), (logits, state)

        (loss, (logits, state)), grads = jax.value_and_grad(objective, has_aux=True)(carry.params)
        carry, _ = self._update(carry, hyper, loss, grads, state)
        return carry, self._always(loss, logits, batch)

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

            logits, state = self.apply(params, carry.model_state, batch.x, train=True, tap=tap)
            return data_loss(self.run.loss, logits, batch.y), (logits, state, features)

        (loss, (logits, state, features)), (grads, tap_grads) = jax.value_and_grad(
            objective, argnums=(0, 1), has_aux=True
        )(carry.params, self._zero_taps(batch.x))
        after, updates = self._update(carry, hyper, loss, grads, state)
        snapshot = self._snapshot(batch, carry.params, grads, updates, features, tap_grads)
        records = self._always(loss, logits, batch)
        for family in self._families():
            records |= family.compute(snapshot)
        return after, records

    def apply(
        self,
        params: Tree,
        model_state: Tree,
        x: Array,
        *,
        train: bool,
        tap: Callable[[str, Array], Array] = lambda name, value: value,
    ) -> tuple[Array, Tree]:
        """Returns the logits (B, K) and the model state (running statistics) after the pass."""
        model = nnx.merge(self._graph(), params, model_state, copy=True)
        logits = model(x, tap, train)
        return logits, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))

    def _update(
        self, carry: Carry, hyper: Hyper, loss: Array, grads: Tree, model_state: Tree
    ) -> tuple[Carry, Tree]:
        updates, opt_state = self._optimizer(hyper).update(grads, carry.opt_state, carry.params)
        is_first_bad = (carry.first_bad_step < 0) & ~jnp.isfinite(loss)
        after = Carry(
            params=optax.apply_updates(carry.params, updates),
            model_state=model_state,
            opt_state=opt_state,
            step=carry.step + 1,
            first_bad_step=jnp.where(is_first_bad, carry.step, carry.first_bad_step),
        )
        return after, updates

    def _optimizer(self, hyper: Hyper) -> optax.GradientTransformation:
        """Coupled L2, then the update rule; built inside the step, so that its numbers trace."""
        if self.run.optimizer == "adam":
            rule = optax.adam(hyper.learning_rate)
        else:
            dtype = jnp.dtype(self.run.momentum_dtype)
            momentum = hyper.momentum if self.has_momentum else None
            rule = optax.sgd(hyper.learning_rate, momentum, accumulator_dtype=dtype)
        return optax.chain(optax.add_decayed_weights(hyper.weight_decay), rule)

    def _always(self, loss: Array, logits: Array, batch: Batch) -> Records:
        records = {"loss": loss}
        if self.n_classes:
            records["accuracy"] = accuracy(logits, batch.y)
            records["prior_entropy"] = prior_entropy(batch.y, self.n_classes)
        return records

    def _snapshot(
        self,
        batch: Batch,
        params: Tree,
        grads: Tree,
        updates: Tree,
        features: dict[str, Array],
        tap_grads: dict[str, Array],
    ) -> Snapshot:
        depth, n_samples = self.run.depth, batch.x.shape[0]
        kernels = self._architecture().kernels
        linear = [f"linear_{layer}" for layer in range(1, depth + 1)]
        feature = [f"feature_{layer}" for layer in range(1, depth)] + linear[-1:]
        logit_dot_grad = jnp.sum(features[linear[-1]] * tap_grads[linear[-1]])
        return Snapshot(
            inputs=batch.x,
            features=tuple(features[name] for name in feature),
            feature_grads=tuple(n_samples * tap_grads[name] for name in feature),
            deltas=tuple(n_samples * tap_grads[name] for name in linear),
            weights=kernels(params),
            weight_grads=kernels(grads),
            updates=kernels(updates),
            labels=batch.y if self.n_classes else jnp.zeros(n_samples, jnp.int32),
            logit_dot_grad=logit_dot_grad,
            grad_norm_total=total_norm(jax.tree.leaves(grads)),
            n_classes=max(self.n_classes, 1),
            euler=self._architecture().euler_holds(self.run),
        )

    def _zero_taps(self, x_BxD: Array) -> Tree:
        """Zeros of the shape and dtype of everything that passes a tap."""
        shapes: dict[str, jax.ShapeDtypeStruct] = {}

        def tap(name: str, value: Array) -> Array:
            shapes[name] = jax.ShapeDtypeStruct(value.shape, value.dtype)
            return value

        def forward(x: Array) -> Array:
            return self._model(1.0)(x, tap, True)

        jax.eval_shape(forward, x_BxD)
        return {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()}

    def _model(self, hyper: Hyper | float) -> nnx.Module:
        scale, seed = (hyper.init_scale, hyper.seed) if isinstance(hyper, Hyper) else (hyper, 0)
        rngs = nnx.Rngs(params=stream(seed, WEIGHTS))
        return self._architecture().Model(self.run, self.n_inputs, self.n_outputs, scale, rngs)

    def _graph(self) -> nnx.GraphDef:
        return nnx.split(nnx.eval_shape(lambda: self._model(1.0)), nnx.Param, ...)[0]

    def _architecture(self) -> ModuleType:
        return registry.module("models", self.run.architecture)

    def _families(self) -> list[ModuleType]:
        return [registry.module("metrics", name) for name in self.metrics]
