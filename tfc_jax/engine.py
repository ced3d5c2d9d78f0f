"""A pack on one device or a TPU host's chips: dispatches its chunks, hands out host arrays."""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from jax import stages

from tfc_jax import chips, loop
from tfc_jax.carry import from_arrays, refilled
from tfc_jax.chunk import Chunk
from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.loop import Fetch
from tfc_jax.program import Outputs, Program, Timetable
from tfc_jax.record import Record
from tfc_jax.sampling import Data
from tfc_jax.snapshot import OnLayers, Values
from tfc_jax.timetable import Span
from tfc_jax.train import Carry, Records


@dataclass(frozen=True)
class PackEngine:
    """One pack of runs: `width` lanes on each chip, the first len(runs) of all `lanes` real.

    With fewer lanes than runs it only stands for its slices (slices.py).
    """

    program: Program
    record: Record
    runs: tuple[Run, ...]
    width: int
    data: Data

    @property
    def lanes(self) -> int:
        """Lanes of all chips."""
        return self.width * self.program.n_chips

    def init(self) -> Carry:
        """Returns the state of all lanes at step 0."""
        return self.program.init(self._n_lanes, self._hyper)

    def restored(self, arrays: Mapping[str, np.ndarray]) -> Carry:
        """Returns the state that a checkpoint holds, of a program of any width.

        Raises:
          ValueError: it is the state of another program.
        """
        lanes = refilled(arrays, len(self.runs), self.lanes)
        return self.placed(from_arrays(self._traced_init.out_info, lanes))

    def placed(self, carry: Carry) -> Carry:
        """Returns a state that may come from the host where `advance` takes it without a copy."""
        return chips.in_slices(carry, self.program.mesh)

    def probe(self, carry: Carry) -> dict[str, np.ndarray] | None:
        """Returns the probe columns (R,) of a state; None when the sweep asks for no probe."""
        if not self.program.probes:
            return None
        carry = self.placed(carry)
        return self._fetch(self.program.probe(self._n_lanes, carry, self._hyper, self.data))

    def train(
        self,
        carry: Carry,
        start: int,
        stop: int,
        want_carry: Callable[[Span], bool],
        should_stop: Callable[[], bool] = lambda: False,
        ends: AbstractSet[int] = frozenset(),
    ) -> Iterator[Chunk]:
        """Trains steps start..stop-1 and yields each chunk, as `loop.train` does."""
        return loop.train(self, carry, start, stop, want_carry, should_stop, ends)

    def advance(self, carry: Carry, span: Span) -> tuple[Carry, Fetch]:
        """Dispatches what is due before a span, its steps, and the probe that is due after it.

        Args:
          carry: the state at `span.start`; it is donated, hence gone afterwards.
        Returns:
          The state after it, and what waits for its records.
        """
        if span.start in self.cuts:
            carry = self.program.intervene(
                self._n_lanes, carry, self._hyper, self.data, np.int32(span.start)
            )
        carry, outputs = self._chunk(carry, span)
        return carry, partial(self._fetched, span, outputs, self._due_probe(span, carry))

    def train_chunk(self, carry: Carry, span: Span) -> tuple[Carry, Chunk]:
        """Trains one chunk alone, without its probe; waits for its records.

        Args:
          carry: the state at `span.start`; it is donated, hence gone afterwards.
        """
        carry, outputs = self._chunk(carry, span)
        return carry, self._fetched(span, outputs, probe=None, carry=None)

    def compile(self) -> None:
        """Compiles everything that training this pack calls, and runs nothing of it.

        JAX keeps what is compiled like this for the calls that come (test_compile.py).
        """
        self._traced_init.lower().compile()
        self._lowered_chunk.compile()
        state = (self._n_lanes, self._traced_init.out_info, self._hyper, self.data)
        if self.program.probes:
            self.program.probe.lower(*state).compile()
        if self.cuts:
            self.program.intervene.lower(*state, np.int32(0)).compile()

    def memory_bytes(self, n_states: int = 1) -> int:
        """Compiles the chunk and returns XLA's count of its arguments, results and temporaries.

        Args:
          n_states: of so many packs that take turns on the device, each leaves its state there, and
            the records of two chunks that nobody has fetched yet.
        """
        memory: Any = self._lowered_chunk.compile().memory_analysis()
        state = memory.alias_size_in_bytes  # the donated carry
        records = memory.output_size_in_bytes - state
        working = memory.argument_size_in_bytes + records + memory.temp_size_in_bytes
        return int(working + (n_states - 1) * (state + 2 * records))

    def fetch_carry(self, carry: Carry) -> Carry:
        """Copies a state to the host, without what chips hold that have nothing but padding."""
        n = max(len(self.runs), self.width)
        fetched: Carry = jax.tree.map(lambda a: a[:n], self.copied(carry))
        return fetched

    def copied(self, carry: Carry) -> Carry:
        """Copies a state to the host; a view would change when the buffers are donated."""
        return jax.tree.map(lambda a: np.array(a, copy=True), carry)

    def _due_probe(self, span: Span, carry: Carry) -> Any:
        if not self.program.probes or span.stop % self.record.probe_every:
            return None
        return self.program.probe(self._n_lanes, carry, self._hyper, self.data)

    def _chunk(self, carry: Carry, span: Span) -> tuple[Carry, Outputs]:
        advanced: tuple[Carry, Outputs] = self.program.chunk(
            self._n_lanes, carry, self._hyper, self.data, self._timetable(span)
        )
        return advanced

    def _fetched(self, span: Span, outputs: Outputs, probe: Any, carry: Carry | None) -> Chunk:
        n_steps, n_measured = span.stop - span.start, len(span.measured)
        return Chunk(
            span=span,
            every_step={k: a[:, :n_steps] for k, a in self._fetch(outputs.every_step).items()},
            measured={k: a[:, :n_measured] for k, a in self._fetch(outputs.measured).items()},
            probe=None if probe is None else self._fetch(probe),
            carry=carry,
        )

    def _fetch(self, columns: Records) -> dict[str, np.ndarray]:
        depth = self.program.trainer.network.run.depth
        return {name: _on_host(a, depth)[: len(self.runs)] for name, a in columns.items()}

    @property
    def cuts(self) -> set[int]:
        """Steps before which a run of the pack has its intervention."""
        return {run.intervene_at for run in self.runs if run.intervene_at is not None}

    @property
    def _traced_init(self) -> stages.Traced:
        return self.program.init.trace(self._n_lanes, self._hyper)

    @property
    def _lowered_chunk(self) -> stages.Lowered:
        carry, span = self._traced_init.out_info, Span(0, 1, (0,))
        arguments = (self._n_lanes, carry, self._hyper, self.data, self._timetable(span))
        return self.program.chunk.lower(*arguments)

    # The next two go to the chips once: sent with every chunk they would take longer than its call.
    @cached_property
    def _n_lanes(self) -> Any:
        """Lanes that are real, of every chip where there are several."""
        if self.program.n_chips == 1:
            return np.int32(len(self.runs))
        before = self.width * np.arange(self.program.n_chips)
        real = np.clip(len(self.runs) - before, 0, self.width).astype(np.int32)
        return chips.in_slices(real, self.program.mesh)

    @cached_property
    def _hyper(self) -> Hyper:
        """The traced keys, padded with copies of the first run (which are never stored)."""
        runs = self.runs + self.runs[:1] * (self.lanes - len(self.runs))
        return chips.in_slices(Hyper.stacked(runs), self.program.mesh)

    def _timetable(self, span: Span) -> Timetable:
        gaps = np.zeros(self.program.chunk_records, np.int32)
        gaps[: len(span.gaps)] = span.gaps
        numbers = (np.int32(n) for n in (span.start, span.lead, len(span.measured)))
        arrays: tuple[Any, ...] = (*numbers, gaps)
        return Timetable(*arrays)


def _on_host(values: Values, depth: int) -> np.ndarray:
    """Returns a host array; layers on which the column is not defined are masked."""
    if not isinstance(values, OnLayers):
        return np.asarray(values)
    known = np.asarray(values.values)
    full = np.ma.zeros((*known.shape[:-1], depth), known.dtype)
    full[...] = np.ma.masked
    full[..., np.array(values.layers) - 1] = known
    return full
