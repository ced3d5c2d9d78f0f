"""A SLURM that is none: its commands on PATH, and what tests do to its elements."""

import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.executors import fake_slurm
from tfc_jax import execution
from tfc_jax.config import Sweep
from tfc_jax.event_log import OnEvent
from tfc_jax.executors.local import Interrupt
from tfc_jax.launch import launch
from tfc_jax.layout import Folder
from tfc_jax.options import Options

WAIT_S = 120.0  # a guard against hangs
_FIRST = itertools.count(1000, 1000)  # submitit remembers by its number that a job has ended


@dataclass
class Slurm:
    """The folder of its state, and the number of its first job."""

    folder: Path
    first: int

    def elements(self) -> list[str]:
        """All that there ever were, those of the newest job last."""
        return sorted(path.stem for path in self.folder.glob("*.state"))

    def state(self, element: str) -> str:
        return (self.folder / f"{element}.state").read_text()

    def script(self, job: str) -> str:
        return (self.folder / f"{job}.sh").read_text()

    def running(self) -> list[str]:
        return [element for element in self.elements() if self.state(element) == "RUNNING"]

    def preempt(self, element: str) -> None:
        """Sends the signal by which a job is told that its time is over."""
        os.kill(int((self.folder / f"{element}.pid").read_text()), signal.SIGUSR2)

    def lose(self, element: str, *, again: bool) -> None:
        """Ends the machine of an element; SLURM runs it again elsewhere, or gives it up."""
        if again:
            (self.folder / f"{element}.requeue").touch()
        fake_slurm.kill(element, self.folder)

    def refuse(self) -> None:
        (self.folder / "refuse").touch()

    def keep_no_accounts(self) -> None:
        (self.folder / "no-accounts").touch()

    def until_over(self) -> None:
        give_up = time.monotonic() + WAIT_S
        while any(self.state(e) in ("PENDING", "RUNNING") for e in self.elements()):
            assert time.monotonic() < give_up
            time.sleep(0.05)

    def close(self) -> None:
        """Leaves no process behind."""
        for path in self.folder.glob("*.supervisor"):
            with suppress(ProcessLookupError):
                os.kill(int(path.read_text()), signal.SIGKILL)
        for element in self.elements():
            fake_slurm.kill(element, self.folder)


@contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """Puts the commands on PATH."""
    state = folder / "state"
    state.mkdir(parents=True)
    path = os.pathsep.join([str(fake_slurm.install(folder)), os.environ["PATH"]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        patch.setenv("FAKE_SLURM", str(state))
        faked = Slurm(state, next(_FIRST))
        patch.setenv("FAKE_SLURM_FIRST", str(faked.first))
        try:
            yield faked
        finally:
            faked.close()


def fly(
    sweep: Sweep,
    out: Path,
    on_event: OnEvent = lambda event: None,
    interrupt: Interrupt | None = None,
    **options: Any,
) -> Counter[str]:
    """Trains on SLURM what is missing."""
    chosen = Options(**{"pack_width": 3, "executor": "slurm", **options})
    with execution.opened(chosen) as executor:
        given = (sweep, Folder(out), chosen, executor.found, on_event, interrupt or Interrupt())
        return launch(*given, executor)
