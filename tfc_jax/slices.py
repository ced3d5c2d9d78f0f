"""A pack of more runs than its program has lanes: they take turns, chunk by chunk.

So a pack goes on that its device cannot hold, and a pack that is cut for more chips than there are.
In a turn a slice of the pack width is trained on each chip; its bits are those of a pack of these
runs at this width. The states of those that wait stay on the device where it has room for them,
else on the host.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np

from tfc_jax import chips, loop, timetable
from tfc_jax.chunk import Chunk
from tfc_jax.engine import PackEngine
from tfc_jax.loop import Fetch
from tfc_jax.record import Record
from tfc_jax.timetable import Span
from tfc_jax.train import Carry

Carries = tuple[Carry, ...]  # of every turn, on the device or on the host
ROOM = 0.9  # share of the device's memory that XLA's count may fill: it leaves gaps


@dataclass(frozen=True)
class Slices:
    """What `PackEngine` does, for a pack whose `engine` has fewer lanes than runs.

    Attributes:
      is_short: the device has just run out of memory: nothing waits there.
    """

    engine: PackEngine
    is_short: bool = False

    @property
    def record(self) -> Record:
        """What is measured, and when."""
        return self.engine.record

    @property
    def cuts(self) -> set[int]:
        """Steps before which a run of the pack has its intervention."""
        return self.engine.cuts

    @cached_property
    def waits_on_host(self) -> bool:
        """Whether states that wait are on the host."""
        limit = chips.memory()
        if self.is_short or limit is None:
            return self.is_short
        return self.parts[0].memory_bytes(len(self.parts)) > ROOM * limit

    @cached_property
    def parts(self) -> tuple[PackEngine, ...]:
        """The engine of each turn, in the order of the runs; all call the same executables."""
        runs, lanes = self.engine.runs, self.engine.lanes
        turns = [runs[first : first + lanes] for first in range(0, len(runs), lanes)]
        return tuple(replace(self.engine, runs=turn) for turn in turns)

    def init(self) -> Carries:
        """Returns the state of every turn at step 0."""
        return tuple(self._waiting(part, part.init()) for part in self.parts)

    def restored(self, arrays: Mapping[str, np.ndarray]) -> Carries:
        """Returns the states that a checkpoint holds, one entry per run or more.

        Raises:
          ValueError: it is the state of another program.
        """
        lanes = self.engine.lanes
        return tuple(
            self._waiting(part, part.restored({name: a[i * lanes :] for name, a in arrays.items()}))
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
        """Trains steps start..stop-1 and yields each chunk, as `loop.train` does."""
        if not self.waits_on_host:
            yield from loop.train(self, carry, start, stop, want_carry, should_stop, ends)
            return
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

    def advance(self, carry: Carries, span: Span) -> tuple[Carries, Fetch]:
        """Dispatches the steps of a span for all turns; what they return stays on the device."""
        both = [part.advance(own, span) for part, own in zip(self.parts, carry, strict=True)]
        fetches = [fetch for _, fetch in both]

        def fetch(kept: Carry | None) -> Chunk:
            return _joined([one(None) for one in fetches], kept)

        return tuple(own for own, _ in both), fetch

    def fetch_carry(self, carry: Carries) -> Carry:
        """Joins the states of all turns on the host, padding left out."""
        real = [_lanes(own, len(part.runs)) for part, own in zip(self.parts, carry, strict=True)]
        joined: Carry = jax.tree.map(lambda *slices: np.concatenate(slices), *real)
        return joined

    def _waiting(self, part: PackEngine, carry: Carry) -> Carry:
        return part.copied(carry) if self.waits_on_host else carry

    def compile(self) -> None:
        """Compiles everything that training this pack calls, and runs nothing of it."""
        max(self.parts, key=lambda part: len(part.cuts)).compile()

    def memory_bytes(self) -> int:
        """Returns XLA's count of what the chunk of one turn needs on each chip."""
        return self.parts[0].memory_bytes()


def fitting(engine: PackEngine, *, is_short: bool = False) -> PackEngine | Slices:
    """Returns what trains a pack: in turns where it has more runs than lanes."""
    return Slices(engine, is_short) if len(engine.runs) > engine.lanes else engine


def _only_chunk(part: PackEngine, carry: Carry, span: Span) -> Chunk:
    """Trains one chunk of one turn; all of it is on the host afterwards, padding too."""
    carry, fetch = part.advance(part.placed(carry), span)
    return fetch(part.copied(carry))


def _lanes(carry: Carry, n: int) -> Any:
    return jax.tree.map(lambda a: np.asarray(a)[:n], carry)


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
