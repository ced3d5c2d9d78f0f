"""Compiles what comes next, in threads beside the training of the present pack."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field

from tfc_jax.task import Task


@dataclass(frozen=True)
class Ahead:
    """Compilations that were begun before their pack came.

    Attributes:
      compile: compiles what a task calls, so that its calls find it.
    """

    compile: Callable[[Task], None]
    _begun: dict[Hashable, Future[None]] = field(default_factory=dict)

    def begin(self, task: Task) -> None:
        """Starts to compile for a task, unless that was begun; returns at once."""
        if _kind(task) not in self._begun:
            outcome: Future[None] = Future()
            self._begun[_kind(task)] = outcome
            # A daemon: a worker that has to stop does not wait for it.
            threading.Thread(target=self._run, args=(task, outcome), daemon=True).start()

    def finish(self, task: Task) -> None:
        """Waits until what was begun for a task is there; raises what kept it from being made.

        Compiling it here as well would take twice as long.
        """
        outcome = self._begun.pop(_kind(task), None)
        if outcome is not None:
            outcome.result()

    def _run(self, task: Task, outcome: Future[None]) -> None:
        try:
            self.compile(task)
        except BaseException as error:  # told to whoever takes the pack, not to the present one
            outcome.set_exception(error)
        else:
            outcome.set_result(None)


def _kind(task: Task) -> Hashable:
    """What tasks share that call the same executables."""
    return task.program, task.schedule, task.width, task.record
