"""A compiled program: one run's chunk of steps, mapped over the lanes of a pack.

The chunk of one run is two nested loops: over measured steps, and over the bare steps between them.
Trip counts are arguments, so one executable serves full chunks, remainders and resumed runs, and
the bits of a step don't depend on where a chunk began. Nothing in the loops branches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial, wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax, stages
from jax.sharding import Mesh, PartitionSpec

from tfc_jax import chips, registry
from tfc_jax.functional import Tree
from tfc_jax.hyper import Hyper
from tfc_jax.losses import data_loss
from tfc_jax.sampling import Batch, Data, batch_indices, noisy_labels
from tfc_jax.snapshot import ProbeView
from tfc_jax.timetable import Schedule
from tfc_jax.train import Carry, Records, Trainer


class Timetable(NamedTuple):
    """Which steps of a chunk are measured: `lead` bare steps, then records with gaps between.

    Attributes:
      start: () int32, the chunk's first step.
      lead: () int32, bare steps before the first measured one.
      n_records: () int32, measured steps, at most M.
      gaps: (M,) int32, bare steps after each measured one.
    """

    start: Array
    lead: Array
    n_records: Array
    gaps: Array


class Outputs(NamedTuple):
    """What a chunk returns: per-step columns (C,), and metric columns (M,) or (M, L)."""

    every_step: Records
    measured: Records


# Training samples that tell an intervention the mean feature, and which units are dead. A number of
# its own: what a sweep records must not change what it trains.
INTERVENTION_SAMPLES = 512

_State = tuple[Array, Carry, Outputs]


@dataclass(frozen=True)
class Program:
    """The executables of one program of a sweep.

    Attributes:
      trainer: the step of one run.
      schedule: `lockstep` steps all lanes together (accelerators); `mapped` trains lane after lane,
        a whole chunk each, which keeps the parameters in a CPU's cache.
      chunk_steps: C, the most steps of a chunk.
      chunk_records: M, the most measured steps of a chunk.
      probes: names of files in tfc_jax/probes.
      probe_samples: how many training and test samples a probe evaluates.
      mesh: chips that each train a slice of the lanes; None: the one device trains them all.
    """

    trainer: Trainer
    schedule: Schedule
    chunk_steps: int
    chunk_records: int
    has_bare_steps: bool
    probes: tuple[str, ...]
    probe_samples: int
    mesh: Mesh | None = None

    @property
    def n_chips(self) -> int:
        """Chips that share the lanes."""
        return 1 if self.mesh is None else self.mesh.size

    # Of what follows, `n_lanes` has an entry per chip where there are several, else it is ().
    @cached_property
    def init(self) -> stages.Wrapped:
        """`init(n_lanes, hyper_R) -> carry_R`."""

        def init(n_lanes: Array, hyper_R: Hyper) -> Carry:
            return self._map(lambda _, hyper: self.trainer.init(hyper), n_lanes, None, hyper_R)

        return self._compiled(init, n_shared=2)

    @cached_property
    def chunk(self) -> stages.Wrapped:
        """`chunk(n_lanes, carry_R, hyper_R, data, timetable) -> (carry_R, outputs_R)`."""

        def chunk(
            n_lanes: Array, carry_R: Carry, hyper_R: Hyper, data: Data, timetable: Timetable
        ) -> tuple[Carry, Outputs]:
            one = partial(self._one_chunk, data=data, timetable=timetable)
            return self._map(one, n_lanes, carry_R, hyper_R, in_place=True)

        return self._compiled(chunk, n_shared=3, n_whole=2, donate_argnums=1)

    @cached_property
    def probe(self) -> stages.Wrapped:
        """`probe(n_lanes, carry_R, hyper_R, data) -> columns_R`, on a fixed set of samples."""

        def probe(n_lanes: Array, carry_R: Carry, hyper_R: Hyper, data: Data) -> Records:
            return self._map(partial(self._one_probe, data=data), n_lanes, carry_R, hyper_R)

        return self._compiled(probe, n_shared=3, n_whole=1)

    @cached_property
    def intervene(self) -> stages.Wrapped:
        """`intervene(n_lanes, carry_R, hyper_R, data, step) -> carry_R`: what is due at a step."""

        def intervene(
            n_lanes: Array, carry_R: Carry, hyper_R: Hyper, data: Data, step: Array
        ) -> Carry:
            one = partial(self._one_intervention, data=data, step=step)
            return self._map(one, n_lanes, carry_R, hyper_R, in_place=True)[0]

        return self._compiled(intervene, n_shared=3, n_whole=2, donate_argnums=1)

    def _compiled(
        self, function: Callable, *, n_shared: int, n_whole: int = 0, **options: Any
    ) -> stages.Wrapped:
        """Jits a function of lanes; every chip of the mesh calls it with its own slice of them.

        Args:
          n_shared: arguments that are cut along the lanes; they come first, `n_lanes` of all.
          n_whole: arguments that every chip gets.
        """
        if self.mesh is None:
            return jax.jit(function, **options)

        def of_slice(n_lanes: Array, *arguments: Any) -> Any:
            return function(n_lanes[0], *arguments)

        lanes, whole = PartitionSpec(chips.AXIS), PartitionSpec()
        of_all = jax.shard_map(
            of_slice,
            mesh=self.mesh,
            in_specs=(lanes,) * n_shared + (whole,) * n_whole,
            out_specs=lanes,
            check_vma=False,  # nothing passes between chips that could be checked
        )
        places = (chips.shared(self.mesh),) * n_shared + (chips.whole(self.mesh),) * n_whole
        out = chips.shared(self.mesh)
        named = wraps(function)(of_all)
        return jax.jit(named, in_shardings=places, out_shardings=out, **options)

    # Under a `jit` of its own a step is traced once, not again wherever its shapes are asked for.
    @cached_property
    def _step(self) -> stages.Wrapped:
        return jax.jit(self.trainer.step)

    @cached_property
    def _measured_step(self) -> stages.Wrapped:
        return jax.jit(self.trainer.measured_step)

    def _map(
        self,
        one: Callable,
        n_lanes: Array,
        carry_R: Carry | None,
        hyper_R: Hyper,
        in_place: bool = False,
    ) -> Any:
        """Applies `one(carry, hyper)` to every lane.

        Mapped, lanes 0..n_lanes-1 run in turn, so padding costs nothing and returns zeros. With
        `in_place`, `one` returns (carry, outputs), and the carry replaces the one it came from.
        """
        with jax.default_matmul_precision(self.trainer.network.run.precision):
            if self.schedule == "lockstep":
                return jax.vmap(one)(carry_R, hyper_R)
            one = jax.jit(one)  # traced once, for its shapes and for the loop
            first = (_lane(carry_R, 0), _lane(hyper_R, 0))
            result_R = _buffers(jax.eval_shape(one, *first), hyper_R.seed.shape[0])
            if in_place:
                result_R = (carry_R, result_R[1])

            def body(i: Array, result_R: tuple) -> tuple:
                carry = _lane(result_R[0] if in_place else carry_R, i)
                return _write(result_R, i, one(carry, _lane(hyper_R, i)))

            return lax.fori_loop(0, n_lanes, body, result_R)

    def _one_chunk(
        self, carry: Carry, hyper: Hyper, *, data: Data, timetable: Timetable
    ) -> tuple[Carry, Outputs]:
        draw = self._batches(timetable.start, hyper, data)

        def bare(_: Array, state: _State) -> _State:
            position, carry, out = state  # position: steps of the chunk so far, in every lane
            carry, row = self._step(carry, hyper, draw(position))
            out = out._replace(every_step=_write(out.every_step, position, row))
            return position + 1, carry, out

        def bare_steps(n: Array, state: _State) -> _State:
            return lax.fori_loop(0, n, bare, state) if self.has_bare_steps else state

        def measured(i: Array, state: _State) -> _State:
            position, carry, out = state
            carry, row = self._measured_step(carry, hyper, draw(position))
            always = {name: row.pop(name) for name in out.every_step}
            out = Outputs(_write(out.every_step, position, always), _write(out.measured, i, row))
            return bare_steps(timetable.gaps[i], (position + 1, carry, out))

        state = (jnp.int32(0), carry, self._empty_outputs(carry, hyper, draw))
        state = bare_steps(timetable.lead, state)
        if self.trainer.metrics:
            state = lax.fori_loop(0, timetable.n_records, measured, state)
        return state[1:]

    def _batches(self, start: Array, hyper: Hyper, data: Data) -> Callable[[Array], Batch]:
        """Draws the chunk's batches, and returns the function that gathers number `position`."""
        trainer, network = self.trainer, self.trainer.network
        n = data.x_train.shape[0]
        indices = batch_indices(hyper.seed, start, self.chunk_steps, n, network.run.batch_size)
        labels = noisy_labels(hyper.seed, data.y_train, hyper.label_noise, network.n_classes)

        def draw(position: Array) -> Batch:
            rows = indices[position]
            return Batch(trainer.net.inputs(data.scaled(data.x_train[rows])), labels[rows])

        return draw

    def _empty_outputs(self, carry: Carry, hyper: Hyper, draw: Callable[[Array], Batch]) -> Outputs:
        """Buffers of the shapes that the two kinds of step return."""

        def shapes(step: Callable) -> Records:
            return jax.eval_shape(lambda: step(carry, hyper, draw(jnp.int32(0)))[1])

        always = shapes(self._step)
        measured = shapes(self._measured_step) if self.trainer.metrics else always
        return Outputs(
            every_step=_buffers(always, self.chunk_steps),
            measured=_buffers(
                {name: s for name, s in measured.items() if name not in always}, self.chunk_records
            ),
        )

    def _one_intervention(
        self, carry: Carry, hyper: Hyper, *, data: Data, step: Array
    ) -> tuple[Carry, Records]:
        x = self.trainer.net.inputs(data.scaled(data.x_train[:INTERVENTION_SAMPLES]))
        changed = self.trainer.intervene(carry, hyper, x)
        is_due = hyper.intervene_at == step
        return jax.tree.map(partial(jnp.where, is_due), changed, carry), {}

    def _one_probe(self, carry: Carry, hyper: Hyper, *, data: Data) -> Records:
        view = self._view(carry, hyper, data)
        columns: Records = {}
        for name in self.probes:
            columns |= registry.module("probes", name).compute(view)
        return columns

    def _view(self, carry: Carry, hyper: Hyper, data: Data) -> ProbeView:
        network, net, n = self.trainer.network, self.trainer.net, self.probe_samples
        labels = noisy_labels(hyper.seed, data.y_train, hyper.label_noise, network.n_classes)[:n]
        scaled, test = (data.scaled(x[:n]) for x in (data.x_train, data.x_test))
        train = net.inputs(scaled)

        def outputs(x: Array, params: Tree = carry.params) -> Array:
            return net.apply(params, carry.model_state, x, train=False)[0]

        return ProbeView(
            train_inputs=scaled,
            train_logits=outputs(train),
            train_targets=labels,
            test_logits=outputs(net.inputs(test)),
            test_targets=data.y_test[:n],
            features=net.features(carry.params, carry.model_state, train),
            weights=net.kernels(carry.params),
            params=carry.params,
            train_loss=lambda params: data_loss(network.run.loss, outputs(train, params), labels),
            outputs=lambda raw: outputs(net.inputs(data.scaled(raw))),
            loss=network.run.loss,
            n_classes=network.n_classes,
        )


def _lane(tree_R: Any, i: Array | int) -> Any:
    """Returns the values of lane i."""
    return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, i, keepdims=False), tree_R)


def _buffers(shapes: Any, n: int) -> Any:
    """Zeros with a leading axis of size n in front of every shape."""
    return jax.tree.map(lambda s: jnp.zeros((n, *s.shape), s.dtype), shapes)


def _write(buffers: Any, i: Array, rows: Any) -> Any:
    """Puts `rows` at index i of the leading axis."""
    return jax.tree.map(
        lambda b, row: lax.dynamic_update_index_in_dim(b, row, i, axis=0), buffers, rows
    )
