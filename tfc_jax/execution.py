"""Which executor trains the packs of a launch, and what it is given to do it."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from tfc_jax import devices
from tfc_jax.devices import Devices
from tfc_jax.errors import InputError
from tfc_jax.event_log import OnEvent
from tfc_jax.executors import inline, local
from tfc_jax.executors.diagnostics import diagnostics
from tfc_jax.executors.local import Interrupt
from tfc_jax.layout import Folder
from tfc_jax.lock import Lock
from tfc_jax.options import Options, prepare_process, worker_settings
from tfc_jax.task import Task


class Executor(Protocol):
    """Where the packs of a launch are trained."""

    @property
    def found(self) -> Devices:
        """What trains: one id per worker that can work at a time."""

    def execute(
        self, tasks: Sequence[Task], lock: Lock, on_event: OnEvent, interrupt: Interrupt
    ) -> None:
        """Trains every task; returns when all are finished, failed, or stopped.

        Args:
          tasks: in the order in which they should begin.
          lock: of the results folder, held by this process.
          on_event: called in this thread with what workers report.
          interrupt: watched all the time.
        """


def opened(options: Options) -> AbstractContextManager[Executor]:
    """Returns a context of the executor that the options name.

    What it starts, it ends with the context. Only the executor that is asked for is imported.

    Raises:
      InputError: it cannot be used here.
    """
    if options.executor != "local" and options.workers == 0:
        raise InputError(
            f"--workers: 0 came, which trains in this process, but --executor {options.executor} "
            f"does not. Give another number, or --executor local."
        )
    if options.executor == "ray":
        from tfc_jax.executors import ray

        return ray.opened(options)
    if options.executor == "slurm":
        from tfc_jax.executors import slurm

        return slurm.opened(options)
    return _here(options)


@contextmanager
def _here(options: Options) -> Iterator[Executor]:
    found = devices.find()
    prepare_process(options, found)
    yield Here(options, found)


@dataclass(frozen=True)
class Here:
    """The devices of this machine."""

    options: Options
    found: Devices

    def __post_init__(self) -> None:
        """CPU workers may share a core; two on one accelerator would fight for its memory."""
        devices.check_workers(self.options.workers, self.found)

    def execute(
        self, tasks: Sequence[Task], lock: Lock, on_event: OnEvent, interrupt: Interrupt
    ) -> None:
        """Trains in worker processes, or in this process if there are to be none."""
        options = self.options
        if options.workers == 0:
            inline.execute(tasks, on_event, interrupt)
            return
        with diagnostics(Folder(lock.path.parent)) as printed:
            n_workers = options.workers or len(self.found.ids)
            limit = options.compile_minutes * 60 or None
            environment = worker_settings(options)
            settings = local.Settings(self.found, n_workers, environment, printed, lock, limit)
            local.execute(tasks, settings, on_event, interrupt)
