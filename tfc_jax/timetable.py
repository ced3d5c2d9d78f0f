"""Where chunks begin and end, and which of their steps are measured. Plain integers, no JAX."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

from tfc_jax.record import Record

# How a pack's lanes are stepped: all together, or one after another, a whole chunk each.
Schedule = Literal["lockstep", "mapped"]
LONGEST_CHUNK = 250


@dataclass(frozen=True)
class Span:
    """Steps start..stop-1 of a chunk, of which `measured` (global step numbers) are measured."""

    start: int
    stop: int
    measured: tuple[int, ...]

    @property
    def lead(self) -> int:
        """Bare steps before the first measured one."""
        return (self.measured[0] if self.measured else self.stop) - self.start

    @property
    def gaps(self) -> tuple[int, ...]:
        """Bare steps after each measured one."""
        ends = (*self.measured[1:], self.stop)
        return tuple(end - step - 1 for step, end in zip(self.measured, ends, strict=False))


def spans(
    record: Record, start: int, stop: int, cuts: AbstractSet[int] = frozenset()
) -> Iterator[Span]:
    """Cuts steps start..stop-1 into chunks that end wherever a probe is due, and before `cuts`."""
    while start < stop:
        end = min(start + LONGEST_CHUNK, stop, *(cut for cut in cuts if cut > start))
        if record.probes:
            end = min(end, next_probe(record, start))
        measured = record.measured_steps(start, end) if record.metrics else ()
        yield Span(start, end, tuple(measured))
        start = end


def next_probe(record: Record, step: int) -> int:
    """Returns the first step after `step` at which a probe is due."""
    return (step // record.probe_every + 1) * record.probe_every


def chunk_steps(record: Record) -> int:
    """Returns the largest number of steps that a chunk can hold."""
    return min(LONGEST_CHUNK, record.probe_every) if record.probes else LONGEST_CHUNK


def chunk_records(record: Record) -> int:
    """Returns the largest number of measured steps that a chunk can hold (the first is densest)."""
    if not record.metrics:
        return 1
    return max(len(record.measured_steps(0, chunk_steps(record))), 1)
