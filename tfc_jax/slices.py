"""A pack of more runs than its program has lanes: one slice after the other, chunk by chunk.

So a pack goes on that its device cannot hold. The device holds one slice at a time, the host the
states of those that wait; a slice's bits are those of a pack of these runs at this width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np

from tfc_jax import timetable
from tfc_jax.chunk import Chunk
from tfc_jax.engine import PackEngine
from tfc_jax.timetable import Span
from tfc_jax.train import Carry

Carries = tuple[Carry, ...]  # of every slice, on the host


@dataclass(frozen=True)
class Slices:
    """What `PackEngine` does, for a pack whose `engine` has fewer lanes than runs."""

    engine: PackEngine

    @cached_property
    def parts(self) -> tuple[PackEngine, ...]:
        """The engine of each slice, in the order of the runs; all call the same executables."""
        runs, width = self.engine.runs, self.engine.width
        groups = [runs[first : first + width] for first in range(0, len(runs), width)]
        return tuple(replace(self.engine, runs=group) for group in groups)

    def init(self) -> Carries:
        """Returns the state of every slice at step 0."""
        return tuple(part.fetch_carry(part.init()) for part in self.parts)

    def restored(self, arrays: Mapping[str, np.ndarray]) -> Carries:
        """Returns the states that a checkpoint holds, one entry per run or more.

        Raises:
          ValueError: it is the state of another program.
        """
        width = self.engine.width
        return tuple(
            part.restored({name: a[i * width :] for name, a in arrays.items()})
            for i, part in enumerate(self.parts)
        )

    def probe(self, carries: Carries) -> dict[str, np.ndarray] | None:
        """Returns the probe columns (R,) of a state; None when the sweep asks for no probe."""
        probes = [part.probe(own) for part, own in zip(self.parts, carries, strict=True)]
        return _joined_probes(probes)

    def train(
        self,
        carry: Carries,
        start: int,
        stop: int,
        want_carry: Callable[[Span], bool],
        should_stop: Callable[[], bool] = lambda: False,
        ends: AbstractSet[int] = frozenset(),
    ) -> Iterator[Chunk]:
        """Trains steps start..stop-1 and yields each chunk, as `PackEngine.train` does."""
        for span in timetable.spans(self.engine.record, start, stop, self.engine.cuts | ends):
            chunks = [
                _only_chunk(part, own, span) for part, own in zip(self.parts, carry, strict=True)
            ]
            carry = tuple(chunk.carry for chunk in chunks)
            is_last = span.stop == stop or should_stop()
            kept = self.fetch_carry(carry) if is_last or want_carry(span) else None
            yield _joined(chunks, kept)
            if is_last:
                return

    def fetch_carry(self, carry: Carries) -> Carry:
        """Joins the states of the slices, padding left out."""
        real = [_lanes(own, len(part.runs)) for part, own in zip(self.parts, carry, strict=True)]
        joined: Carry = jax.tree.map(lambda *slices: np.concatenate(slices), *real)
        return joined

    def compile(self) -> None:
        """Compiles everything that training this pack calls, and runs nothing of it."""
        max(self.parts, key=lambda part: len(part.cuts)).compile()

    def memory_bytes(self) -> int:
        """Returns XLA's count of what the chunk of one slice needs."""
        return self.parts[0].memory_bytes()


def fitting(engine: PackEngine) -> PackEngine | Slices:
    """Returns what trains a pack: slices of it where it has more runs than lanes."""
    return Slices(engine) if len(engine.runs) > engine.width else engine


def _only_chunk(part: PackEngine, carry: Carry, span: Span) -> Chunk:
    """Trains one chunk of one slice; nothing of it is on the device afterwards."""
    (chunk,) = part.train(carry, span.start, span.stop, want_carry=lambda _: False)
    return chunk


def _lanes(carry: Carry, n: int) -> Any:
    return jax.tree.map(lambda a: a[:n], carry)


def _joined(chunks: Sequence[Chunk], carry: Carry | None) -> Chunk:
    return Chunk(
        span=chunks[0].span,
        every_step=_joined_columns([chunk.every_step for chunk in chunks]),
        measured=_joined_columns([chunk.measured for chunk in chunks]),
        probe=_joined_probes([chunk.probe for chunk in chunks]),
        carry=carry,
    )


def _joined_probes(
    probes: Sequence[dict[str, np.ndarray] | None],
) -> dict[str, np.ndarray] | None:
    """A probe is due in all slices or in none."""
    known = [probe for probe in probes if probe is not None]
    return _joined_columns(known) if known else None


def _joined_columns(slices: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: _concatenated([own[name] for own in slices]) for name in slices[0]}


def _concatenated(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Along the lanes; layers on which a column is not defined stay masked."""
    is_masked = isinstance(arrays[0], np.ma.MaskedArray)
    joined: np.ndarray = np.ma.concatenate(arrays) if is_masked else np.concatenate(arrays)
    return joined
