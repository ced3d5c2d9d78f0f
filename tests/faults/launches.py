"""Launches of `tfc run` by the dozen, each in a process of its own, and what they leave.

A `tfc` process imports for a second, each of its workers for two more. Here both are forked from a
server that has imported everything and started nothing: in all else they are what a user has, with
the signals, pipes, sessions and exit codes of separate processes.
"""

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import jax

from tests.faults.tally import Tally
from tests.sweeps import content, read_rows, train
from tfc_jax import __main__, committer, worker
from tfc_jax.config import Sweep
from tfc_jax.executors import local

STEPS = 300  # in 15 chunks, each committed: a quarter of a second per pack
LONG: dict[str, Any] = {"base": {"steps": STEPS}}
# Seconds per pack, where what is struck is a node or an element of a cluster.
LONGER: dict[str, Any] = {
    "base": {"steps": 40_000},
    "record": {"every": 10, "probe_every": 1000},
}
WAIT_S = 120.0  # a guard against hangs
CACHES = ("TFC_CACHE", "JAX_COMPILATION_CACHE_DIR")
IMPORTED = ["tests.faults.launches", "tfc_jax.cli", "tfc_jax.commands", "sklearn.datasets"]


class Forked:
    """A worker process, as `subprocess.Popen` makes it."""

    def __init__(
        self, _: Sequence[str], *, stderr: IO[str], pass_fds: Sequence[int], **options: Any
    ) -> None:
        inputs, outputs = os.pipe(), os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of threads, which only hand on what workers say
            self.pid = os.fork()
        if self.pid == 0:
            _serve((inputs[0], outputs[1], stderr.fileno()), pass_fds, options["env"])
        os.close(inputs[0])
        os.close(outputs[1])
        self.stdin = os.fdopen(inputs[1], "w")
        self.stdout = os.fdopen(outputs[0], errors="replace")
        self._code: int | None = None

    def wait(self) -> int:
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def kill(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)


def _serve(streams: Sequence[int], kept: Sequence[int], environment: Mapping[str, str]) -> None:
    """Becomes a worker."""
    try:
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for number in set(range(3, 256)) - set(kept):
            try:
                os.close(number)
            except OSError:
                continue
        os.environ.clear()
        os.environ.update(environment)
        sys.stdin = os.fdopen(0)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
        worker.main()
    finally:
        os._exit(1)


def command(
    arguments: Sequence[str],
    printed: str,
    caches: Sequence[str],
    forked: bool,
    nohup: bool,
    before: Callable[[], object],
) -> None:
    """Is a `tfc` process that commits after every chunk; what it prints goes to a file."""
    os.setsid()
    if nohup:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    file = os.open(printed, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if forked:
        local.subprocess = SimpleNamespace(Popen=Forked, PIPE=subprocess.PIPE)  # type: ignore[attr-defined,assignment]
    committer.COMMIT_COST_FACTOR = 0.0
    os.environ |= dict(zip(CACHES, caches, strict=True))
    jax.config.update("jax_compilation_cache_dir", caches[1])
    before()
    sys.argv = ["tfc", *arguments]
    __main__.main()


def start(
    arguments: Sequence[object],
    printed: Path,
    *,
    forked: bool = True,
    nohup: bool = False,
    before: Callable[[], object] = bool,
) -> ForkServerProcess:
    """Starts `tfc ARGUMENTS`; returns when its first line has run.

    Args:
      forked: whether its workers are, too.
      before: a function of a module, called there first.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    caches = [os.environ[name] for name in CACHES]
    given = ([*map(str, arguments)], str(printed), caches, forked, nohup, before)
    process = context.Process(target=command, args=given)
    process.start()
    assert process.pid is not None
    while process.is_alive() and not handles(process.pid, signal.SIGTERM):
        time.sleep(0.001)
    return process


def run(path: str | Path, out: Path, *flags: object, **options: Any) -> ForkServerProcess:
    """Starts `tfc run` on a sweep in packs of 3, with commits as often as can be."""
    arguments = ["run", path, "--out", out, "--pack-width", 3, "--commit-seconds", 0, *flags]
    return start(arguments, out.with_suffix(".txt"), **options)


def ended(process: ForkServerProcess) -> int:
    """Waits for the end of a process; returns its exit code."""
    process.join(WAIT_S)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def printed(out: Path) -> str:
    """What the launches of a folder have printed."""
    return out.with_suffix(".txt").read_text()


def send(number: int, *pids: int) -> None:
    """Sends a signal to processes, of which some may have ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def handles(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next(line for line in lines if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def workers_of(process: ForkServerProcess) -> list[int]:
    """The workers of a launch: those of its children that have a session of their own."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        return [pid for pid in map(int, listed.read_text().split()) if os.getsid(pid) == pid]
    except OSError:
        return []


def until_workers(process: ForkServerProcess) -> None:
    """Waits until a launch has started its first worker."""
    while process.is_alive() and not workers_of(process):
        time.sleep(0.001)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until_dead(pids: Sequence[int]) -> bool:
    """Waits for processes that were killed or told to end; returns whether they all did."""
    give_up = time.monotonic() + 10
    while any(map(is_alive, pids)) and time.monotonic() < give_up:
        time.sleep(0.002)
    return not any(map(is_alive, pids))


@contextmanager
def own_cache() -> Iterator[None]:
    """A compilation cache for processes that may be killed while they write in it.

    It is kept for the next time: its place is part of the keys of its entries.
    """
    old = {name: os.environ[name] for name in CACHES}
    place = Path(old["TFC_CACHE"]).with_name("tfc_jax_faults")
    os.environ |= dict(zip(CACHES, (str(place), str(place / "xla")), strict=True))
    try:
        yield
    finally:
        os.environ |= old


def judge(tally: Tally, out: Path, reference: Path, *, text: str = "") -> None:
    """Counts what differs from the undisturbed launch."""
    key = ["run_id", "step"]
    steps, whole = (read_rows(f / "steps").to_pandas()[key] for f in (out, reference))
    tally.tried += 1
    tally.lost += len(whole.merge(steps.drop_duplicates())) < len(whole)
    tally.doubled += bool(steps.duplicated().any())
    tally.wrong += content(out) != content(reference)
    tally.tracebacks += "Traceback" in text


def finish(sweep: Sweep, out: Path, **options: Any) -> bool:
    """Does what the user does next, `tfc run`; returns whether all is done then."""
    return train(sweep, out, **options) == {"done": len(sweep.runs)}
