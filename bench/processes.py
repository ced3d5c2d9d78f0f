"""Contenders as child processes, whose environment is fixed before they import anything."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bench.problem import Problem
from bench.profiles import Entry

LAST_LINES = 5


class ChildError(Exception):
    """A child process ended before it had answered."""


def cores() -> list[int]:
    """Returns the cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def environment(threads: int) -> dict[str, str]:
    """Returns the variables that fix the threads of every library, on a CPU."""
    names = ("PJRT_NPROC", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return os.environ | {"JAX_PLATFORMS": "cpu"} | dict.fromkeys(names, str(threads))


def draw(problem: Problem, folder: Path) -> None:
    """Writes the inputs of a problem.

    Raises:
      subprocess.CalledProcessError: that failed; its standard error was shown.
    """
    command = [sys.executable, "-m", "bench.draw", problem.to_json(), str(folder)]
    subprocess.run(command, check=True, env=environment(1))


@dataclass
class Child:
    """One process of a contender."""

    entry: Entry
    process: subprocess.Popen[str]
    diagnostics: Path
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def start(cls, entry: Entry, process: int, problem: Problem, folder: Path) -> "Child":
        """Starts process number `process` of a contender; it has prepared itself on return."""
        core = entry.cores[process]
        place = entry.place if "." in entry.place else f"bench.contenders.{entry.place}"
        diagnostics = folder / f"{entry.name}-{process}.log"
        with diagnostics.open("w") as log:
            child = cls(entry, _popen(place, core, problem, folder, log), diagnostics)
        child.about = child.answer()
        return child

    def ask(self, row: str) -> None:
        """Has it work for a row."""
        assert self.process.stdin is not None
        self.process.stdin.write(row + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Waits for what it says next.

        Raises:
          ChildError: it ended instead.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            said = "\n".join(self.diagnostics.read_text().splitlines()[-LAST_LINES:])
            raise ChildError(f"{self.entry.name} ended, code {self.process.wait()}:\n{said}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.communicate()


def _popen(
    place: str, core: int | None, problem: Problem, folder: Path, log: IO[str]
) -> subprocess.Popen[str]:
    allowed = cores()
    pinned = "-" if core is None else str(allowed[core])
    return subprocess.Popen(
        [sys.executable, "-m", "bench.child", place, problem.to_json(), str(folder), pinned],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=environment(len(allowed) if core is None else 1),
    )
