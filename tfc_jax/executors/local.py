"""One worker process per device of this machine: per CPU core, per GPU; a TPU host is one.

A CPU worker has one thread and one core: XLA's pool size changes the bits of some reductions, and
two pinned workers outrun one process with two threads.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from tfc_jax.devices import Devices
from tfc_jax.errors import InputError
from tfc_jax.event_log import OnEvent
from tfc_jax.executors.waiting import Waiting
from tfc_jax.lock import Lock
from tfc_jax.pack import SLICES
from tfc_jax.pack_stores import mark_failed
from tfc_jax.signals import kept_from_children
from tfc_jax.task import PREPARE, Task

POLL_SECONDS = 0.2
HANGS = 2  # a program that hung so often in a row is tried no more in this launch
# Where workers compile the next program while they train. Not on a CPU: a worker has one core, on
# which a thread that compiles only takes from training what it saves later.
COMPILES_AHEAD = frozenset({"gpu", "tpu"})


@dataclass
class Interrupt:
    """How urgently the user wants to stop.

    Attributes:
      level: 0 go on, 1 after the running chunks, 2 now.
      attended: whether worker processes run, which are stopped when the level says so.
    """

    level: int = 0
    attended: bool = False


@dataclass(frozen=True)
class Settings:
    """Where workers run, and with what.

    Attributes:
      devices: worker i gets device i modulo their number.
      n_workers: processes, at least 1.
      environment: variables for the workers besides the device's own.
      diagnostics: file that takes what the workers and XLA print.
      lock: of the results folder; workers inherit it.
      compile_seconds: how long a worker may take to begin and load its data, and then to compile;
        None means for ever.
    """

    devices: Devices
    n_workers: int
    environment: dict[str, str]
    diagnostics: IO[str]
    lock: Lock | None = None
    compile_seconds: float | None = None


def execute(
    tasks: Sequence[Task], settings: Settings, on_event: OnEvent, interrupt: Interrupt
) -> None:
    """Trains every task; returns when all are finished, failed, or stopped.

    Args:
      tasks: workers take them in this order, but go on with a program that they have compiled.
      on_event: called in this thread with `started`, `step`, `finished`, `stopped`, `failed`.
      interrupt: watched all the time.
    """
    pool = _Pool(Waiting(tasks), settings, on_event, interrupt)
    devices = settings.devices
    interrupt.attended = True
    try:
        for index in range(min(settings.n_workers, len(tasks))):
            pool.start(worker_environment(devices.platform, devices.ids[index % len(devices.ids)]))
        pool.serve()
    finally:
        pool.end()
        interrupt.attended = False


def worker_environment(platform: str, device: int | str) -> dict[str, str]:
    """Returns the variables that give a worker its device, before JAX starts in it."""
    if platform == "gpu":
        return {"CUDA_VISIBLE_DEVICES": str(device), "JAX_PLATFORMS": "cuda,cpu"}
    if platform == "tpu":
        return {"JAX_PLATFORMS": "tpu,cpu", "TFC_CHIPS": str(SLICES["tpu"])}
    return cpu_environment() | {"TFC_CORE": str(device)}


def cpu_environment() -> dict[str, str]:
    """Returns the variables that make XLA use one thread, whatever the machine."""
    return {"JAX_PLATFORMS": "cpu", "PJRT_NPROC": "1", "OMP_NUM_THREADS": "1"}


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[str]
    environment: dict[str, str]
    task: Task | None = None
    program: str = ""
    foretold: str = ""  # program that it was told to prepare
    stopping: bool = False
    doing: str = "starting"
    silent_s: float | None = None  # how long we wait for it to have compiled; None if it has
    verdict: str = ""  # why it was killed

    def close(self) -> None:
        """What was left to send to one that is gone is of no use any more."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def does(self, doing: str) -> None:
        """It takes up something that may hang."""
        self.doing, self.silent_s = doing, 0.0

    def send(self, line: str) -> None:
        """A worker that is gone is noticed by the end of its output, not here."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()


@dataclass
class _Pool:
    tasks: Waiting
    settings: Settings
    on_event: OnEvent
    interrupt: Interrupt
    workers: list[_Worker] = field(default_factory=list)
    events: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = field(default_factory=queue.Queue)
    hangs: Counter[str] = field(default_factory=Counter)  # by program, since it last compiled
    watched: float = field(default_factory=time.monotonic)  # when it was last looked for them

    def start(self, environment: dict[str, str]) -> None:
        worker = _Worker(self._process(environment), environment)
        self.workers.append(worker)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        self._give_task(worker)

    def _process(self, environment: dict[str, str]) -> subprocess.Popen[str]:
        lock = self.settings.lock
        try:
            with kept_from_children():
                return subprocess.Popen(
                    [sys.executable, "-m", "tfc_jax.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self.settings.diagnostics,
                    pass_fds=[lock.descriptor] if lock else [],
                    text=True,
                    errors="replace",  # one that dies may leave anything
                    env=os.environ | environment | self.settings.environment,
                    start_new_session=True,  # Ctrl-C reaches the launcher alone
                )
        except OSError as error:
            raise InputError(
                f"A worker process could not be started ({error.strerror}). Give fewer --workers, "
                f"or free memory; `tfc run` goes on from the last commit."
            ) from error

    def serve(self) -> None:
        while any(worker.task for worker in self.workers):
            for worker, event in self._arrived():
                self._handle(worker, event)
            self._watch()
            if self.interrupt.level >= 1:
                self._ask_to_stop()
            if self.interrupt.level >= 2:
                return

    def end(self) -> None:
        """Leaves no process behind; one in the middle of a task is killed."""
        for worker in self.workers:
            if worker.task is not None:
                worker.process.kill()
            worker.close()
        for worker in self.workers:
            worker.process.wait()

    def _arrived(self) -> Iterator[tuple[_Worker, dict[str, Any] | None]]:
        try:
            yield self.events.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return

    def _handle(self, worker: _Worker, event: dict[str, Any] | None) -> None:
        if event is None:
            self._bury(worker)
            return
        if event["event"] == "compiling":
            worker.does("compiling")
        elif event["event"] == "compiled":
            worker.silent_s = None
            self.hangs.pop(worker.program, None)
        self.on_event(event)
        if event["event"] in ("finished", "stopped", "failed"):
            self._give_task(worker)
        elif event["event"] == "step":  # its own program is compiled: no more is in its way
            self._foretell(worker)

    def _watch(self) -> None:
        """Kills workers that hang; never one that trains, however slow.

        Only time counts in which this process ran: it may have been stopped for hours, and then
        finds all at once what its workers have reported meanwhile.
        """
        now = time.monotonic()
        passed, self.watched = min(now - self.watched, 2 * POLL_SECONDS), now
        limit = self.settings.compile_seconds
        for worker in self.workers:
            if worker.silent_s is None or limit is None:
                continue
            worker.silent_s += passed
            if worker.silent_s > limit and self.events.empty():
                self._give_up(worker, limit)

    def _give_up(self, worker: _Worker, limit: float) -> None:
        """The end of its output tells that it is dead."""
        assert worker.task is not None
        worker.silent_s = None
        worker.verdict = (
            f"program {_name(worker.task)} was still {worker.doing} after {limit / 60:g} minutes, "
            f"so its worker was ended. Allow more with `tfc retry --compile-minutes`"
        )
        self.hangs[worker.program] += 1
        worker.process.kill()

    def _bury(self, worker: _Worker) -> None:
        """A worker died with a pack in hand: the pack failed, another worker goes on."""
        code = worker.process.wait()
        worker.close()
        self.workers.remove(worker)
        if worker.task is None:
            return
        self._fail(worker.task, worker.verdict or f"its worker process ended with {_ending(code)}")
        if worker.verdict and self.hangs[worker.program] >= HANGS:
            for task in self.tasks.drop(worker.program):
                self._fail(task, f"not tried: {worker.verdict}")
        if self.tasks and not self.interrupt.level:
            self.start(worker.environment)

    def _fail(self, task: Task, error: str) -> None:
        fail(task, error, self.settings.lock, self.on_event)

    def _give_task(self, worker: _Worker) -> None:
        program = worker.foretold or worker.program
        worker.task = None if self.interrupt.level else self.tasks.take(program)
        if worker.task is not None:
            worker.program, worker.foretold = worker.task.program, ""
            worker.does("starting")
            worker.send(worker.task.to_json())

    def _foretell(self, worker: _Worker) -> None:
        """Tells a worker which program it will need next, once it has nothing else to compile."""
        if worker.foretold or self.settings.devices.platform not in COMPILES_AHEAD:
            return
        task = self.tasks.following(worker.program)
        if task is not None and not self.interrupt.level:
            worker.foretold = task.program
            self.tasks.reserve(task.program)
            worker.send(PREPARE + task.to_json())

    def _ask_to_stop(self) -> None:
        """Workers end after their running chunk; those that have none yet, now."""
        for worker in self.workers:
            if not worker.stopping:
                worker.stopping = True
                worker.send("stop")
            if worker.task is not None and worker.silent_s is not None:
                worker.task = None
                worker.process.kill()

    def _listen(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        with worker.process.stdout as lines:
            for line in lines:
                with suppress(json.JSONDecodeError):  # cut short by a kill, or printed by a library
                    self.events.put((worker, json.loads(line)))
        self.events.put((worker, None))


def fail(task: Task, error: str, lock: Lock | None, on_event: OnEvent) -> None:
    """Stores and tells that a pack failed whose worker is gone."""
    if lock is not None:
        lock.check()
    try:
        mark_failed(task)
    except Exception as second:  # a full disk, say: the first error must still be told
        error += f", and this could not be stored ({second})"
    on_event({"event": "failed", "pack": task.pack, "error": error})


def _name(task: Task) -> str:
    """Returns a program by its id and what it is."""
    run = task.runs[0]
    return f"{task.program} ({run.dataset} {run.architecture}, depth {run.depth})"


def _ending(code: int) -> str:
    """Returns how a process ended, in words."""
    names = {number.value: number.name for number in signal.Signals}
    return f"exit code {code}" if code >= 0 else f"signal {names.get(-code, -code)}"
