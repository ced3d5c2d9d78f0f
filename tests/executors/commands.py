"""`tfc` as a process of its own, and the processes that it starts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.launches import is_alive

WAIT_S = 240.0  # a guard against hangs


def start(folder: Path, *arguments: object, **environment: str) -> "subprocess.Popen[str]":
    """Starts `tfc` in a folder, as the first process of a group."""
    return subprocess.Popen(
        [sys.executable, "-m", "tfc_jax", *map(str, arguments)],
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Waits for the end; returns the exit code and what was printed."""
    said, _ = process.communicate(timeout=WAIT_S)
    return process.returncode, said


def tfc(folder: Path, *arguments: object, **environment: str) -> tuple[int, str]:
    """Runs `tfc`; returns the exit code and what it printed."""
    return ended(start(folder, *arguments, **environment))


def until_logged(out: Path, event: str, process: "subprocess.Popen[str]") -> None:
    """Waits until the log of a launch holds an event."""
    log, give_up = out / "log.jsonl", time.monotonic() + WAIT_S
    while not (log.exists() and f'"event": "{event}"' in log.read_text()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < give_up
        time.sleep(0.05)


def descendants(pid: int) -> set[int]:
    """The processes that a process has started, and those that they have."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    found: set[int] = set()
    newest = {pid}
    while newest:
        newest = {child for child, parent in parents.items() if parent in newest} - found
        found |= newest
    return found


def left_of(pids: set[int], seconds: float = 30.0) -> set[int]:
    """Those of some processes that are still there after so long."""
    give_up = time.monotonic() + seconds
    while (left := set(filter(is_alive, pids))) and time.monotonic() < give_up:
        time.sleep(0.1)
    return left


def interrupt(process: "subprocess.Popen[str]") -> None:
    """Presses Ctrl-C in its terminal."""
    os.killpg(process.pid, signal.SIGINT)
