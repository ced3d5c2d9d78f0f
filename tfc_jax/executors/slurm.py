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
# How long after an element's end its result may show up, over NFS; none of ours is ever SUSPENDED
# for good, and one that stays PREEMPTED is on a cluster that puts nothing back into its queue.
RESULT_SECONDS = 15.0
PREEMPTED_SECONDS = 1800.0  # submitit asks for states every ten minutes
END_SECONDS = 10.0  # how long a process of this machine may take to end
SACCT_SECONDS = 60.0  # in which it says what became of jobs
_RULE = "-" * 22  # around a traceback, as submitit tells it
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
        self._silent: dict[Any, float] = {}  # since when SLURM says that an element has ended

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
        asked = (*flying[first:], *flying[:first])[:LOOKS]
        ended = [job for job in asked if self._has_ended(job)]
        if not ended:
            time.sleep(seconds)
        return ended

    def _has_ended(self, job: Any) -> bool:
        """By its result, or by SLURM's word alone once no result has come for a while."""
        is_done = job.done()
        if job.paths.result_pickle.exists():
            return True
        patience = self._patience(job, is_done)
        if patience is None:
            self._silent.pop(job, None)
            return False
        return time.monotonic() - self._silent.setdefault(job, time.monotonic()) >= patience

    def _patience(self, job: Any, is_done: bool) -> float | None:
        """How long to wait for a result; None means as long as it takes."""
        if self._asked.cluster == "local":
            return 0.0 if is_done else None
        state = job.watcher.get_state(job.job_id, mode="cache")
        if state == "PREEMPTED":
            return PREEMPTED_SECONDS
        return RESULT_SECONDS if is_done and state != "SUSPENDED" else None

    def end_of(self, handle: Any) -> str:
        from submitit.core.utils import FailedJobError

        self._silent.pop(handle, None)
        if not handle.paths.result_pickle.exists():  # it was waited for
            said = _last_line(handle.stderr() or handle.stdout() or "it said nothing")
            raise Lost(
                f"its job {handle.job_id} ended without a result ({handle.state}: {said}). "
                f"Run tfc retry"
            )
        try:
            end: str = handle.result()
        except FailedJobError as error:
            said = _last_line(str(error).split(_RULE)[1])
            raise Lost(f"its job {handle.job_id} failed ({said}). Run tfc retry") from error
        return end

    def cancel(self, handles: Sequence[Any]) -> None:
        """By one command for many: each takes a while."""
        if self._asked.cluster == "local":
            _end_here(handles)
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


def _end_here(jobs: Sequence[Any]) -> None:
    """Ends processes of this machine, and waits until they have ended."""
    for job in jobs:
        job.cancel(check=False)
    give_up = time.monotonic() + END_SECONDS
    while not all(job.done() for job in jobs) and time.monotonic() < give_up:
        time.sleep(0.05)


def _keep_from_terminal() -> None:
    """Elements of this machine are asked by the launch to stop, not also by the user's Ctrl-C.

    That goes to all processes of a group, so that elements get one of their own. What they print
    goes to files; what would print here is submitit's own process, which ends in a traceback.
    """
    from submitit.local import local

    local.subprocess = SimpleNamespace(
        Popen=partial(subprocess.Popen, process_group=0, stderr=subprocess.DEVNULL)
    )


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
    _check_accounting()


def _check_accounting() -> None:
    """Without it, nobody would hear of an element that SLURM has ended."""
    asked = ["sacct", "--noheader", "--allocations"]
    try:
        subprocess.run(asked, capture_output=True, text=True, check=True, timeout=SACCT_SECONDS)
    except subprocess.CalledProcessError as error:
        said = _last_line(error.stderr) or f"it ended with {error.returncode}"
    except subprocess.TimeoutExpired:
        said = f"no answer within {SACCT_SECONDS:g} s"
    else:
        return
    raise InputError(
        f"--executor slurm: sacct does not say what becomes of jobs ({said}). Train on a cluster "
        f"that keeps accounts, or leave --executor out."
    )


def _whole(name: str, text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 2**31):
        unit = ", in minutes" if name == "time" else ""
        raise InputError(f"--slurm {name}={text}: a whole number >= 1{unit} is allowed.")
    return int(text)


def _value(text: str) -> Any:
    """As sbatch takes it: `exclusive=true` is a flag without a value."""
    return {"true": True}.get(text, int(text) if text.isdecimal() else text)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
