"""Feeds chunks to the store from a thread of its own, and says when a commit is due."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from tfc_jax.carry import to_arrays
from tfc_jax.chunk import Chunk
from tfc_jax.store import PackStore
from tfc_jax.task import Task
from tfc_jax.timetable import Span

# A group of chunks is committed when it is as old as the task says, or 50 times what the last
# commit took; sooner if it gets this large, or a quarter of the state that goes with it, so that
# large states are not stored for a few rows. A crash costs at most one group, computed again then.
COMMIT_COST_FACTOR, COMMIT_BYTES, COMMIT_SHARE = 50.0, 256 * 2**20, 0.25
MOST_BYTES = 2**30  # of rows that wait, in the memory of the host
QUEUE_CHUNKS = 4

Report = Callable[[dict[str, Any]], None]


def interval_s(commit_seconds: float, last_cost_s: float) -> float:
    """Returns the age at which a group is committed, from what the last commit took."""
    return max(commit_seconds, COMMIT_COST_FACTOR * last_cost_s)


def group_bytes(state_bytes: float) -> float:
    """Returns the size at which a group is committed, from that of a checkpoint."""
    return min(max(COMMIT_BYTES, COMMIT_SHARE * state_bytes), MOST_BYTES)


class Committer:
    """A context: chunks put in are in the store, in order, when it ends without an error."""

    def __init__(
        self, store: PackStore, task: Task, wall_s: float, report: Report, state_bytes: float = 0
    ) -> None:
        self._store, self._task, self._report = store, task, report
        self._began = time.monotonic() - wall_s
        self._last_commit, self._commit_cost = time.monotonic(), 0.0
        self._group_bytes = group_bytes(state_bytes)
        # An exception of a signal's handler, as of SLURM's preemption, may come inside of `put`: it
        # would make a queue.Queue forget to wake its reader. These are one instruction each.
        self._chunks: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(QUEUE_CHUNKS):
            self._room.put(None)
        self._error: BaseException | None = None
        # Such an exception may also keep the context from being entered or left.
        self._thread = threading.Thread(target=self._consume, name="tfc-store", daemon=True)

    def __enter__(self) -> "Committer":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._chunks.put(None)
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def put(self, chunk: Chunk) -> None:
        """Hands over a chunk; waits while as many wait as may.

        Raises:
          what the store raised since the last call.
        """
        if self._error is not None:
            raise self._error
        self._room.get()
        self._chunks.put(chunk)

    def is_due(self, span: Span) -> bool:
        """Whether the chunk just dispatched should end a commit group.

        Rows that are computed again end where those did with which they are compared.
        """
        end = self._store.next_end(span.stop)
        if end is not None:
            return span.stop == end
        interval = interval_s(self._task.commit_seconds, self._commit_cost)
        is_old = time.monotonic() - self._last_commit >= interval
        if is_old or self._store.pending_bytes >= self._group_bytes:
            self._last_commit = time.monotonic()
            return True
        return False

    def _consume(self) -> None:
        """Empties the queue to its end, also after an error, so that nobody waits for ever."""
        while (chunk := self._chunks.get()) is not None:
            self._room.put(None)
            if self._error is None:
                try:
                    self._take(chunk)
                except BaseException as error:  # `put` or the end of the context raises it
                    self._error = error

    def _take(self, chunk: Chunk) -> None:
        self._store.add(chunk)
        step, cost = chunk.span.stop, {}
        if chunk.carry is not None:
            began = time.monotonic()
            status = "done" if step >= self._task.steps else "running"
            self._store.commit(to_arrays(chunk.carry), began - self._began, status)
            self._commit_cost = time.monotonic() - began
            cost = {"commit_s": round(self._commit_cost, 3)}
        self._report({"event": "step", "pack": self._store.pack, "step": step, **cost})
