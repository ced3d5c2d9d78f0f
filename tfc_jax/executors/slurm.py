"""Packs as elements of SLURM's job arrays, through submitit.

SLURM decides where and when an element runs. One that is preempted, or that reaches its time
limit, is put back into the queue by submitit, and goes on from the last commit of its pack.
`cluster=local` makes submitit run the elements on this machine instead, to try a launch.
"""

import contextlib
import importlib.util
import io
import logging
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tfc_jax.devices import Devices, cores
from tfc_jax.errors import InputError, nearest
from tfc_jax.event_log import OnEvent
from tfc_jax.executors import fleet, remote
from tfc_jax.executors.fleet import Lost
from tfc_jax.executors.local import Interrupt
from tfc_jax.lock import Lock
from tfc_jax.options import Options
from tfc_jax.task import Task

COMMANDS = ("sbatch", "srun", "sacct", "scancel", "scontrol")
CLUSTERS = ("slurm", "local")
MINUTES = 60  # of an element, unless --slurm time=... says otherwise; it goes on in the next
ELEMENTS = 1000  # of an array; SLURM's own default limit is 1001
TIMEOUTS = 10_000  # how often an element may reach its time limit
AT_A_TIME = 256
REFILL = 1 / 8  # of what may run at a time: fewer are not worth an array of their own
LOOKS = 64  # elements that are asked at a time whether they have ended
CANCELS = 500  # elements that one command ends
# One process and one device per element, which this module says how to start.
OURS = {"nodes", "ntasks_per_node", "num_gpus", "setup", "teardown", "srun_args", "use_srun"}
OURS |= {"additional_parameters", "array_parallelism", "stderr_to_stdout"}


class Element:
    """What submitit calls in an element, and calls again when it was preempted."""

    def __call__(self, order: str) -> str:
        """Trains a pack; returns its last event."""
        return remote.train(order)

    def checkpoint(self, order: str) -> Any:
        """Returns what the next attempt does: the same, since commits are all that it needs."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, order)


@contextmanager
def opened(options: Options) -> Iterator["OnSlurm"]:
    """Checks what can be checked before anything is submitted.

    Raises:
      InputError: submitit or SLURM is not here, or a parameter is none of sbatch's.
    """
    if importlib.util.find_spec("submitit") is None:
        raise InputError(
            "--executor slurm: submitit is not installed. Run: pip install 'tfc_jax[slurm]'"
        )
    logging.getLogger("submitit").handlers.clear()
    yield OnSlurm(options, _Asked.of(options))


@dataclass(frozen=True)
class OnSlurm:
    """The cluster on whose login node this process runs."""

    options: Options
    asked: "_Asked"

    @property
    def found(self) -> Devices:
        """One GPU per element if any is asked for, else one CPU; SLURM decides how many at once."""
        if self.asked.cluster == "local":
            return Devices("cpu", tuple(range(self.asked.array_size)))
        ids = tuple(range(self.options.workers or AT_A_TIME))
        return Devices(self.asked.platform, ids, is_limit=True)

    def execute(
        self, tasks: Sequence[Task], lock: Lock, on_event: OnEvent, interrupt: Interrupt
    ) -> None:
        """Trains one element per pack."""
        engine = _Engine(self.asked, remote.environment(self.found), len(self.found.ids))
        fleet.execute(engine, tasks, self.found, lock, on_event, interrupt, self.options)


@dataclass(frozen=True)
class _Asked:
    """What the user asks for.

    Attributes:
      cluster: slurm, or local.
      array_size: elements of an array at most.
      parameters: of submitit's executor for it.
    """

    cluster: str
    array_size: int
    parameters: dict[str, Any]

    @classmethod
    def of(cls, options: Options) -> "_Asked":
        given = dict(options.slurm)
        cluster = given.pop("cluster", "slurm")
        if cluster not in CLUSTERS:
            raise InputError(
                f"--slurm cluster={cluster}:{nearest(cluster, CLUSTERS)} Allowed: "
                f"{', '.join(CLUSTERS)}."
            )
        size = _whole("array_size", given.pop("array_size", str(ELEMENTS)))
        time_limit = _whole("time", given.pop("time", str(MINUTES)))
        _check_known(given)
        if cluster == "local":
            _refuse_of_local(given)
            at_once = options.workers or len(cores())  # each is a process here, from the start
            return cls(cluster, at_once, {"timeout_min": time_limit})
        _check_commands()
        parameters = {"time": time_limit, "cpus_per_task": 1, "job_name": "tfc"}
        return cls(cluster, size, parameters | {k: _value(v) for k, v in given.items()})

    @property
    def platform(self) -> str:
        wants_gpu = any(self.parameters.get(f"gpus_per_{per}") for per in ("node", "task"))
        return "gpu" if wants_gpu or "gpu" in str(self.parameters.get("gres", "")) else "cpu"


class _Engine:
    """SLURM, as `fleet` speaks to it."""

    def __init__(self, asked: _Asked, environment: dict[str, str], at_a_time: int) -> None:
        self._asked, self._environment, self._at_a_time = asked, environment, at_a_time
        self._asked_last = 0

    def room(self, flying: int) -> int:
        """An array at first, then smaller ones, so that little idles while its last elements run.

        No more are in the queue than an array holds, and no more run than may at a time.
        """
        most = min(self._asked.array_size, self._at_a_time)
        free = most - flying
        return (free if free >= most * REFILL else 0) if flying else self._asked.array_size

    def submit(self, orders: Sequence[remote.Order]) -> list[Any]:
        """Submits an array.

        Raises:
          InputError: sbatch takes it not.
        """
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        executor = self._executor(Path(orders[0].path) / "submitit")
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # what sbatch says is told below
                return executor.map_array(Element(), [order.to_json() for order in orders])
        except (FailedJobError, FailedSubmissionError) as error:
            raise InputError(
                f"--slurm: sbatch does not take the jobs ({' '.join(str(error).split())}). Ask for "
                f"something else with --slurm KEY=VALUE."
            ) from error

    def landed(self, flying: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Asks some at each call, in turn: each costs the shared file system a few calls."""
        self._asked_last += LOOKS
        first = self._asked_last % max(len(flying), 1) if len(flying) > LOOKS else 0
        ended = [job for job in (*flying[first:], *flying[:first])[:LOOKS] if job.done()]
        if not ended:
            time.sleep(seconds)
        return ended

    def end_of(self, handle: Any) -> str:
        from submitit.core.utils import UncompletedJobError

        try:
            end: str = handle.result()
        except UncompletedJobError as error:
            state = handle.state
            raise Lost(
                f"its job {handle.job_id} ended without a result ({state}: {_last_line(error)}). "
                f"Run tfc retry"
            ) from error
        return end

    def cancel(self, handles: Sequence[Any]) -> None:
        """By one command for many: each takes a while."""
        if self._asked.cluster == "local":
            for handle in handles:
                handle.cancel(check=False)
            return
        numbers = [handle.job_id for handle in handles]
        for first in range(0, len(numbers), CANCELS):
            subprocess.run(["scancel", *numbers[first : first + CANCELS]], check=False)

    def misfits(self, order: remote.Order, interrupt: Interrupt) -> list[str]:
        """Nobody knows yet which machines there will be: each element asks on its own."""
        return []

    def _executor(self, folder: Path) -> Any:
        import submitit

        if self._asked.cluster == "local":
            _keep_from_terminal()
            executor: Any = submitit.LocalExecutor(folder)
            executor.update_parameters(**self._asked.parameters)
            return executor
        exports = [f"export {n}={shlex.quote(v)}" for n, v in self._environment.items()]
        executor = submitit.SlurmExecutor(folder, max_num_timeout=TIMEOUTS)
        executor.update_parameters(
            **self._asked.parameters, array_parallelism=self._at_a_time, setup=exports
        )
        return executor


def _keep_from_terminal() -> None:
    """Elements of this machine are asked by the launch to stop, not also by the user's Ctrl-C.

    That goes to all processes of a group, so that elements get one of their own.
    """
    from submitit.local import local

    local.subprocess = SimpleNamespace(Popen=partial(subprocess.Popen, process_group=0))


def _check_known(given: dict[str, str]) -> None:
    from submitit import SlurmExecutor

    known = sorted(SlurmExecutor._valid_parameters() - OURS)
    wrong = [name for name in given if name not in known]
    if wrong:
        raise InputError(
            [
                f"--slurm {name}: unknown key.{nearest(name, known)} Allowed: array_size, cluster, "
                f"{', '.join(known)}."
                for name in wrong
            ]
        )


def _refuse_of_local(given: Iterable[str]) -> None:
    if names := ", ".join(given):
        raise InputError(
            f"--slurm {names}: not with cluster=local, which trains on CPUs of this machine. Leave "
            f"one of them out."
        )


def _check_commands() -> None:
    absent = [name for name in COMMANDS if shutil.which(name) is None]
    if absent:
        raise InputError(
            f"--executor slurm: {', '.join(absent)} not found, so this is no machine from which "
            f"jobs of SLURM are submitted. Run it on a login node, or try it here with --slurm "
            f"cluster=local."
        )


def _whole(name: str, text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 2**31):
        unit = ", in minutes" if name == "time" else ""
        raise InputError(f"--slurm {name}={text}: a whole number >= 1{unit} is allowed.")
    return int(text)


def _value(text: str) -> Any:
    """As sbatch takes it: `exclusive=true` is a flag without a value."""
    return {"true": True}.get(text, int(text) if text.isdecimal() else text)


def _last_line(error: BaseException) -> str:
    lines = [line.strip("- ") for line in str(error).splitlines() if line.strip("- ")]
    return lines[-1] if lines else type(error).__name__
