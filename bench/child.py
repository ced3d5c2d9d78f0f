"""One contender in a process of its own: `python -m bench.child MODULE:CLASS PROBLEM FOLDER CORE`.

It pins itself, prepares, and says so in one JSON line with the losses of its first steps. Then each
line of standard input names a row of the table; it does that row's work once and answers with the
time this took. What libraries print goes to standard error.
"""

import importlib
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, Any

import numpy as np

from bench.problem import Problem


class UnavailableError(Exception):
    """A contender cannot take part on this machine; says why."""


class Contender(ABC):
    """A way to train all networks of a problem, or several of one library.

    Attributes:
      rows: names of what it can time.
    """

    rows: tuple[str, ...]

    def __init__(self, problem: Problem, folder: Path) -> None:
        self.problem, self.folder = problem, folder

    @abstractmethod
    def prepare(self) -> None:
        """Imports, builds, compiles."""

    @abstractmethod
    def losses(self) -> dict[str, np.ndarray]:
        """Returns, for each row that trains, the losses (R, T) of steps 0..T-1; warms it up."""

    def before(self, row: str) -> None:  # noqa: B027
        """Does what is needed before a repeat of this row; not timed."""

    @abstractmethod
    def repeat(self, row: str) -> float:
        """Works once and waits for the result.

        Returns:
          How much was done: run-steps; FLOPs or bytes where the row measures a limit.
        """

    def versions(self) -> dict[str, str]:
        """Returns the versions of its libraries."""
        return {}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    place, problem, folder, core = sys.argv[1:]
    if core != "-":
        os.sched_setaffinity(0, {int(core)})  # before a library counts the cores
    try:
        contender = load(place, Problem.from_json(problem), Path(folder))
        _answer(answers, ready(contender))
    except UnavailableError as error:
        _answer(answers, {"unavailable": str(error)})
        return
    for line in sys.stdin:
        _answer(answers, timed(contender, line.strip()))


def load(place: str, problem: Problem, folder: Path) -> Contender:
    """Returns the contender that MODULE:CLASS names.

    Raises:
      UnavailableError: its library is not installed.
    """
    module, _, name = place.partition(":")
    try:
        found: Contender = getattr(importlib.import_module(module), name)(problem, folder)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UnavailableError("PyTorch is not installed; `make bench` installs it") from error
    return found


def ready(contender: Contender) -> dict[str, Any]:
    """Prepares a contender; returns what it has to say about itself."""
    start = time.perf_counter()
    contender.prepare()
    losses = {row: np.asarray(values).tolist() for row, values in contender.losses().items()}
    return {
        "rows": contender.rows,
        "losses": losses,
        "prepare_s": time.perf_counter() - start,
        "versions": contender.versions(),
    }


def timed(contender: Contender, row: str) -> dict[str, float]:
    """Does a row's work once; returns wall and processor seconds of all threads, and the amount."""
    contender.before(row)
    wall, cpu = time.perf_counter(), time.process_time()
    work = contender.repeat(row)
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "work": work,
    }


def _answer(answers: IO[str], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
