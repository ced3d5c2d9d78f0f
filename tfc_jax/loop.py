"""The loop over the chunks of a pack: each is dispatched before the one before it is fetched."""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Protocol

from tfc_jax import timetable
from tfc_jax.chunk import Chunk
from tfc_jax.record import Record
from tfc_jax.timetable import Span

# Waits for the records of a chunk; called with the state after it, if that was asked for.
Fetch = Callable[[Any], Chunk]


class Advancing(Protocol):
    """What the loop trains: a pack, or a pack in slices."""

    @property
    def record(self) -> Record:
        """What is measured, and when."""

    @property
    def cuts(self) -> set[int]:
        """Steps before which a run has its intervention."""

    def advance(self, carry: Any, span: Span) -> tuple[Any, Fetch]:
        """Dispatches the steps of a span; returns the state after it. `carry` is gone then."""

    def fetch_carry(self, carry: Any) -> Any:
        """Copies a state to the host."""


def train(
    pack: Advancing,
    carry: Any,
    start: int,
    stop: int,
    want_carry: Callable[[Span], bool],
    should_stop: Callable[[], bool],
    ends: AbstractSet[int],
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
    for span in timetable.spans(pack.record, start, stop, pack.cuts | ends):
        carry, fetch = pack.advance(carry, span)
        is_last = span.stop == stop or should_stop()
        kept = pack.fetch_carry(carry) if is_last or want_carry(span) else None
        if pending is not None:
            yield pending()
        pending = partial(fetch, kept)
        if is_last:
            break
    if pending is not None:
        yield pending()
