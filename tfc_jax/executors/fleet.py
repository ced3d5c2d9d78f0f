"""The launcher's part of executors whose workers run on other machines: packs out, events in.

Which machine takes which pack, and when, is the engine's business (Ray, SLURM).
"""

import json
import logging
import os
import time
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from tfc_jax.devices import Devices
from tfc_jax.errors import InputError
from tfc_jax.event_log import OnEvent
from tfc_jax.executors import arrival, node, remote
from tfc_jax.executors.channel import Channel
from tfc_jax.executors.local import Interrupt, fail
from tfc_jax.layout import Folder
from tfc_jax.lock import Lock
from tfc_jax.options import Options
from tfc_jax.task import Task

POLL_SECONDS = 0.3
SHARE_OF_READING = 0.05  # of the launcher's time, at most, for the files of thousands of packs
SILENT_SECONDS = 240.0  # after which it is told that the launch still waits
AGAIN_SECONDS = 60.0  # after which packs that were not taken are given away again

logger = logging.getLogger(__name__)

H = TypeVar("H", bound=Hashable)  # what an engine calls a pack that it has taken


class Lost(Exception):
    """An engine gave a pack up: says why."""


class Engine(Protocol[H]):
    """What carries packs to machines."""

    def room(self, flying: int) -> int:
        """Returns how many packs more it takes now, if it has so many."""

    def submit(self, orders: Sequence[remote.Order]) -> Sequence[H]:
        """Takes packs; each is `remote.train` of an order, and again where a machine was lost.

        Raises:
          InputError: it takes none of them, at least not now.
        """

    def landed(self, flying: Sequence[H], seconds: float) -> Sequence[H]:
        """Returns those that have ended; waits so long for the first."""

    def end_of(self, handle: H) -> str:
        """Returns what `remote.train` returned.

        Raises:
          Lost: nothing.
        """

    def cancel(self, handles: Sequence[H]) -> None:
        """Ends packs at once, wherever they are."""

    def misfits(self, order: remote.Order, interrupt: Interrupt) -> list[str]:
        """Returns `remote.look` of all machines that can be asked before anything trains."""


def execute(
    engine: Engine[H],
    tasks: Sequence[Task],
    found: Devices,
    lock: Lock,
    on_event: OnEvent,
    interrupt: Interrupt,
    options: Options,
) -> None:
    """Trains every task; returns when all are finished, failed, or stopped.

    Raises:
      InputError: a machine must not train for this launch; those that train stop first.
      StorageError: this machine does not see what the others have written.
    """
    root = Path(lock.path.parent).absolute()  # as all machines call it
    tasks = [replace(task, out=str(root)) for task in tasks]
    interrupt.attended = True
    try:
        with Channel.opened(Folder(root)) as channel:
            order = remote.Order(
                task="",
                path=str(channel.path),
                start=os.getcwd(),
                environment=remote.environment(found),
                deterministic=options.deterministic,
                max_memory=options.max_memory,
                url=next((task.url for task in tasks), ""),
                tools=node.tools(),
                wanted=node.wanted_data(tasks),
            )
            if why := engine.misfits(order, interrupt):
                raise InputError(why)
            flight = _Fleet(engine, channel, order, deque(tasks), lock, on_event, interrupt)
            flight.serve()
        if not order.url:  # else rows are not on this disk
            arrival.await_rows(Folder(root), flight.finished, interrupt)
    finally:
        interrupt.attended = False


@dataclass
class _Fleet(Generic[H]):
    engine: Engine[H]
    channel: Channel
    order: remote.Order
    waiting: deque[Task]
    lock: Lock
    on_event: OnEvent
    interrupt: Interrupt
    flying: dict[H, Task] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)  # packs that have said so
    training: set[str] = field(default_factory=set)  # packs that have compiled
    finished: dict[str, int] = field(default_factory=dict)  # steps, by pack
    refusals: list[str] = field(default_factory=list)
    is_stopping: bool = False
    listens: float = 0.0  # when next
    submits: float = 0.0  # when next
    heard: float = field(default_factory=time.monotonic)

    def serve(self) -> None:
        try:
            while self.flying or (self.waiting and not self._ends):
                self._submit()
                for handle in self.engine.landed(list(self.flying), POLL_SECONDS):
                    self._land(handle)
                self._listen()
                self._obey()
                if self.interrupt.level >= 2:
                    return
        finally:
            self.engine.cancel(list(self.flying))
        if self.refusals:
            raise InputError(list(dict.fromkeys(self.refusals)))

    @property
    def _ends(self) -> bool:
        return bool(self.interrupt.level or self.refusals)

    def _submit(self) -> None:
        if self._ends or not self.waiting or time.monotonic() < self.submits:
            return
        room = min(self.engine.room(len(self.flying)), len(self.waiting))
        if room <= 0:
            return
        tasks = [self.waiting.popleft() for _ in range(room)]
        try:
            handles = self.engine.submit([self._order_of(task) for task in tasks])
        except InputError as error:
            if not self.flying:
                raise
            self.waiting.extendleft(reversed(tasks))
            self.submits = time.monotonic() + AGAIN_SECONDS
            logger.warning("%s Packs that train go on; the others wait.", error)
            return
        self.flying |= dict(zip(handles, tasks, strict=True))

    def _order_of(self, task: Task) -> remote.Order:
        return replace(self.order, task=task.to_json(), wanted=node.wanted_data([task]))

    def _land(self, handle: H) -> None:
        task = self.flying.pop(handle)
        end = self._end_of(handle)
        self._hear(task.pack)  # not before: an engine may wait for the end
        if isinstance(end, Lost):
            if not self._ends:
                self._fail(task, str(end))
        elif end["event"] == remote.REFUSED:
            self.refusals += end["why"]
        elif end["event"] == "stopped" and not self._ends:
            self._fail(task, "its worker sees the results folder no longer. Run tfc retry")
        else:
            if end["event"] == "finished":
                self.finished[task.pack] = task.steps
                if task.pack in self.begun:  # not each step is told
                    self._tell({"event": "step", "pack": task.pack, "step": task.steps})
            self._tell({**end, "pack": task.pack})

    def _end_of(self, handle: H) -> dict[str, Any] | Lost:
        try:
            end: dict[str, Any] = json.loads(self.engine.end_of(handle))
        except Lost as error:
            return error
        return end

    def _fail(self, task: Task, error: str) -> None:
        fail(task, error, self.lock, self._tell)

    def _listen(self) -> None:
        now = time.monotonic()
        if now < self.listens:
            return
        self.lock.check()
        for task in self.flying.values():
            self._hear(task.pack)
        self.listens = time.monotonic() + (time.monotonic() - now) / SHARE_OF_READING
        if self.flying and now - self.heard > SILENT_SECONDS:
            self._tell({"event": "waiting", "pack": "", "packs": len(self.flying)})

    def _hear(self, pack: str) -> None:
        for event in self.channel.news(pack):
            kind = event["event"]
            if kind == "compiling":
                self.begun.add(pack)
            elif kind == "compiled":
                self.training.add(pack)
            if pack in self.begun:  # else its first lines were lost
                self._tell(event)

    def _tell(self, event: dict[str, Any]) -> None:
        self.heard = time.monotonic()
        self.on_event(event)

    def _obey(self) -> None:
        """Workers end after their running chunk; those that have none yet, now."""
        if self._ends and not self.is_stopping:
            self.is_stopping = True
            self.channel.stop()
            idle = [handle for handle, t in self.flying.items() if t.pack not in self.training]
            self.engine.cancel(idle)
            for handle in idle:  # an engine may take minutes to say that it has ended
                del self.flying[handle]
