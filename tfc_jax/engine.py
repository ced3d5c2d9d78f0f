"""A pack on one device: dispatches chunks ahead of fetching them, and hands out host arrays."""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import stages

from tfc_jax import timetable
from tfc_jax.carry import from_arrays, refilled
from tfc_jax.chunk import Chunk
from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.program import Outputs, Program, Timetable
from tfc_jax.record import Record
from tfc_jax.sampling import Data
from tfc_jax.snapshot import OnLayers, Values
from tfc_jax.timetable import Span
from tfc_jax.train import Carry, Records


@dataclass(frozen=True)
class PackEngine:
    """One pack of runs: `width` lanes, the first len(runs) of them real.

    With fewer lanes than runs it only stands for its slices (slices.py).
    """

    program: Program
    record: Record
    runs: tuple[Run, ...]
    width: int
    data: Data

    def init(self) -> Carry:
        """Returns the state of all lanes at step 0."""
        return self.program.init(self._n_lanes, self._hyper)

    def restored(self, arrays: Mapping[str, np.ndarray]) -> Carry:
        """Returns the state that a checkpoint holds, of a program of any width.

        Raises:
          ValueError: it is the state of another program.
        """
        lanes = refilled(arrays, len(self.runs), self.width)
        carry: Carry = from_arrays(self._traced_init.out_info, lanes)
        return carry

    def probe(self, carry: Carry) -> dict[str, np.ndarray] | None:
        """Returns the probe columns (R,) of a state; None when the sweep asks for no probe."""
        if not self.program.probes:
            return None
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
        """Trains steps start..stop-1 and yields each chunk while the next one is running.

        Args:
          carry: the state at `start`; it is donated, hence gone afterwards.
          want_carry: asked after each dispatch whether the state after that chunk is needed on the
            host, for a checkpoint. Answering yes waits for the chunk.
          should_stop: asked after each dispatch; yes makes that chunk the last, with its state.
          ends: steps before which a chunk has to end, besides where chunks end anyway.
        """
        pending: Callable[[], Chunk] | None = None
        for span in timetable.spans(self.record, start, stop, self.cuts | ends):
            if span.start in self.cuts:
                carry = self.program.intervene(
                    self._n_lanes, carry, self._hyper, self.data, jnp.int32(span.start)
                )
            carry, outputs = self.program.chunk(
                self._n_lanes, carry, self._hyper, self.data, self._timetable(span)
            )
            probe = self._due_probe(span, carry)
            is_last = span.stop == stop or should_stop()
            kept = self.fetch_carry(carry) if is_last or want_carry(span) else None
            if pending is not None:
                yield pending()
            pending = self._fetcher(span, outputs, probe, kept)
            if is_last:
                break
        if pending is not None:
            yield pending()

    def train_chunk(self, carry: Carry, span: Span) -> tuple[Carry, Chunk]:
        """Trains one chunk alone, without its probe; waits for its records.

        Args:
          carry: the state at `span.start`; it is donated, hence gone afterwards.
        """
        carry, outputs = self.program.chunk(
            self._n_lanes, carry, self._hyper, self.data, self._timetable(span)
        )
        return carry, self._fetcher(span, outputs, probe=None, carry=None)()

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
            self.program.intervene.lower(*state, jnp.int32(0)).compile()

    def memory_bytes(self) -> int:
        """Compiles the chunk and returns XLA's count of its arguments, results and temporaries."""
        memory: Any = self._lowered_chunk.compile().memory_analysis()
        return (
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            + memory.temp_size_in_bytes
            - memory.alias_size_in_bytes
        )

    def fetch_carry(self, carry: Carry) -> Carry:
        """Copies a state to the host; a view would change when the buffers are donated."""
        return jax.tree.map(lambda a: np.array(a, copy=True), carry)

    def _due_probe(self, span: Span, carry: Carry) -> Any:
        if not self.program.probes or span.stop % self.record.probe_every:
            return None
        return self.program.probe(self._n_lanes, carry, self._hyper, self.data)

    def _fetcher(
        self, span: Span, outputs: Outputs, probe: Any, carry: Carry | None
    ) -> Callable[[], Chunk]:
        def fetch() -> Chunk:
            n_steps, n_measured = span.stop - span.start, len(span.measured)
            return Chunk(
                span=span,
                every_step={k: a[:, :n_steps] for k, a in self._fetch(outputs.every_step).items()},
                measured={k: a[:, :n_measured] for k, a in self._fetch(outputs.measured).items()},
                probe=None if probe is None else self._fetch(probe),
                carry=carry,
            )

        return fetch

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

    @property
    def _n_lanes(self) -> jax.Array:
        return jnp.int32(len(self.runs))

    @property
    def _hyper(self) -> Hyper:
        """The traced keys, padded with copies of the first run (which are never stored)."""
        runs = self.runs + self.runs[:1] * (self.width - len(self.runs))
        return Hyper.stacked(runs)

    def _timetable(self, span: Span) -> Timetable:
        gaps = np.zeros(self.program.chunk_records, np.int32)
        gaps[: len(span.gaps)] = span.gaps
        return Timetable(
            start=jnp.int32(span.start),
            lead=jnp.int32(span.lead),
            n_records=jnp.int32(len(span.measured)),
            gaps=jnp.asarray(gaps),
        )


def _on_host(values: Values, depth: int) -> np.ndarray:
    """Returns a host array; layers on which the column is not defined are masked."""
    if not isinstance(values, OnLayers):
        return np.asarray(values)
    known = np.asarray(values.values)
    full = np.ma.zeros((*known.shape[:-1], depth), known.dtype)
    full[...] = np.ma.masked
    full[..., np.array(values.layers) - 1] = known
    return full
