"""An engine that trains in the calling process, and an executor that uses it."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps import CPU
from tfc_jax.config import Sweep
from tfc_jax.devices import Devices
from tfc_jax.event_log import OnEvent
from tfc_jax.executors import channel, fleet, remote
from tfc_jax.executors.fleet import Lost
from tfc_jax.executors.local import Interrupt
from tfc_jax.launch import launch
from tfc_jax.layout import Folder
from tfc_jax.lock import Lock
from tfc_jax.options import Options
from tfc_jax.task import Task

Train = Callable[[str], str]


@dataclass
class Inline:
    """Trains a pack when it is asked which have ended.

    Attributes:
      train: in the place of `remote.train`; may raise Lost.
      at_a_time: packs that it takes.
      most: packs that it ever had.
      cancelled: packs that it was to end.
    """

    train: Train = remote.train
    at_a_time: int = 1
    why: list[str] = field(default_factory=list)
    most: int = 0
    cancelled: list[int] = field(default_factory=list)
    orders: list[remote.Order] = field(default_factory=list)
    ends: dict[int, str | Lost] = field(default_factory=dict)

    def room(self, flying: int) -> int:
        return self.at_a_time - flying

    def submit(self, orders: Sequence[remote.Order]) -> list[int]:
        self.orders += orders
        return list(range(len(self.orders) - len(orders), len(self.orders)))

    def landed(self, flying: Sequence[int], seconds: float) -> Sequence[int]:
        self.most = max(self.most, len(flying))
        for handle in flying[:1]:
            try:
                self.ends[handle] = self.train(self.orders[handle].to_json())
            except Lost as error:
                self.ends[handle] = error
        return flying[:1]

    def end_of(self, handle: int) -> str:
        end = self.ends[handle]
        if isinstance(end, Lost):
            raise end
        return end

    def cancel(self, handles: Sequence[int]) -> None:
        self.cancelled += handles

    def misfits(self, order: remote.Order, interrupt: Interrupt) -> list[str]:
        return self.why


class Late(Inline):
    """Says that a pack has ended, and trains it when it is asked for its end."""

    def landed(self, flying: Sequence[int], seconds: float) -> Sequence[int]:
        return flying[:1]

    def end_of(self, handle: int) -> str:
        super().landed([handle], 0.0)
        return super().end_of(handle)


@dataclass
class OnInline:
    """What `launch` takes."""

    engine: Inline
    found: Devices = CPU
    options: Options = field(default_factory=Options)

    def execute(
        self, tasks: Sequence[Task], lock: Lock, on_event: OnEvent, interrupt: Interrupt
    ) -> None:
        fleet.execute(self.engine, tasks, self.found, lock, on_event, interrupt, self.options)


def lost(order: str) -> str:
    raise Lost("its machine is gone")


def shortened(order: str, steps: int) -> str:
    """An order to train its pack so far, after which it is as one that was killed."""
    task = json.loads(json.loads(order)["task"]) | {"steps": steps}
    return json.dumps(json.loads(order) | {"task": json.dumps(task)})


@contextmanager
def as_a_worker() -> Iterator[None]:
    """JAX has started here; in a worker's environment, but for what concerns other libraries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.chdir(os.getcwd())
        patch.setattr(channel, "LOOK_SECONDS", 0.0)
        remote._prepare.cache_clear()
        yield
    remote._prepare.cache_clear()


def fly(
    sweep: Sweep,
    out: Path,
    engine: Inline,
    on_event: OnEvent = lambda event: None,
    interrupt: Interrupt | None = None,
    **options: Any,
) -> Counter[str]:
    """Trains what is missing."""
    chosen = Options(**{"pack_width": 3, **options})
    given = (sweep, Folder(out), chosen, CPU, on_event, interrupt or Interrupt())
    return launch(*given, OnInline(engine))
