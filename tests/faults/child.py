"""What the tests of kills start: one launch of a pack without a network, in a process of its own.

Processes are forked from a server that has imported everything, so one costs some milliseconds.
"""

import multiprocessing
import os
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.faults.disk import watched
from tests.sweeps import fake_plugins, train_fake_pack
from tfc_jax.stage import Fenced

REPLACED = 7  # exit code of a launch whose pack another has taken over


def started(out: Path, commit_every: int = 10, at: int = 0, number: int = 0) -> BaseProcess:
    """Starts a launch, which sends itself signal `number` before change `at` of the disk."""
    context = multiprocessing.get_context("forkserver")
    # pyarrow imports the second when it is first used beside pandas.
    context.set_forkserver_preload(["tests.faults.child", "pyarrow.pandas_compat"])
    process = context.Process(target=_launch, args=(out, commit_every, at, number))
    process.start()
    return process


def ended(process: BaseProcess) -> int:
    """Waits for the end; returns the exit code, or minus the signal."""
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def _launch(out: Path, commit_every: int, at: int, number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def reach(call: int, name: str) -> None:
        if call == at:
            os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch, watched(reach):
        fake_plugins(patch)
        try:
            train_fake_pack(out, commit_every=commit_every)
        except Fenced:
            os._exit(REPLACED)
