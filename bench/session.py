"""Measures one problem: contenders prepared and compared by their losses, then timed in turn."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.problem import Problem
from bench.processes import Child, cores, draw
from bench.profiles import Entry

SWITCHED_SHARE = 0.1
LIMITS = ("matmul peak", "memory copy")
Say = Callable[[str], None]
Timing = dict[str, float]  # wall_s, cpu_s, work


class LossesDisagreeError(Exception):
    """Contenders do not compute the same."""


@dataclass(frozen=True)
class Row:
    """A line of the table: what these processes do at the same time."""

    title: str
    name: str
    children: tuple[Child, ...]

    def repeat(self) -> Timing:
        """Has all processes work once; returns the wall time until the last of them was done."""
        start = time.perf_counter()
        for child in self.children:
            child.ask(self.name)
        answers = [child.answer() for child in self.children]
        alone = len(answers) == 1
        return {
            "wall_s": answers[0]["wall_s"] if alone else time.perf_counter() - start,
            "cpu_s": sum(answer["cpu_s"] for answer in answers),
            "work": sum(answer["work"] for answer in answers),
        }


@dataclass
class Measured:
    """All that was learned about a problem.

    Attributes:
      timings: repeats of each row, by title.
      losses: mean loss of the first and of the last compared step, by title.
      difference: largest relative difference of losses between contenders, `between` whom.
      parted: networks whose losses differ by more than the tolerance, by title.
      unavailable: why a contender takes no part, by the name of the contender.
      loads: load averages over one minute, at the start of each round.
    """

    problem: Problem
    timings: dict[str, list[Timing]] = field(default_factory=dict)
    losses: dict[str, tuple[float, float]] = field(default_factory=dict)
    difference: float = 0.0
    between: tuple[str, ...] = ()
    parted: dict[str, int] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    prepare_s: dict[str, float] = field(default_factory=dict)
    loads: list[float] = field(default_factory=list)


def measure(
    problem: Problem, entries: Sequence[Entry], repeats: int, folder: Path, say: Say
) -> Measured:
    """Measures a problem; contenders that cannot take part are in `unavailable`, with the reason.

    Args:
      folder: an empty one, for what the contenders read and write.
    Raises:
      ChildError: a contender failed.
      LossesDisagreeError: two contenders do not compute the same.
    """
    measured = Measured(problem)
    say(f"{problem.title}: drawing weights and batches")
    draw(problem, folder)
    with _started(measured, entries, folder, say) as children:
        compare(measured, _losses(children))
        rows = list(_rows(children))
        measured.timings = {row.title: [] for row in rows}
        for i in range(repeats):
            measured.loads.append(os.getloadavg()[0])
            say(f"{problem.title}: round {i + 1} of {repeats}, load {measured.loads[-1]:.1f}")
            for row in rows:
                measured.timings[row.title].append(row.repeat())
    return measured


def tolerance(problem: Problem) -> float:
    """Largest relative difference of losses that rounding explains.

    A product of n terms in float32, summed in any order, is off by at most n 2^-24 relative to the
    sum of their sizes; L of them follow each other. Most rounding errors cancel, so this leaves
    room for what training makes of them; a wrong batch or update differs by 1e-2 and more.
    """
    return float(2.0**-24 * sum(fan_in for fan_in, _ in problem.layers))


def compare(measured: Measured, losses: dict[str, np.ndarray]) -> None:
    """Notes how far losses (R, T) of the contenders are from those of the first of them.

    Of tens of millions of pre-activations a few are zero within rounding; there a ReLU may switch
    and its run part ways. So every first loss must agree, and all losses of nine runs in ten.

    Raises:
      LossesDisagreeError: they don't, or are not finite.
    """
    reference, *_ = losses
    for title, values in losses.items():
        measured.losses[title] = (float(values[:, 0].mean()), float(values[:, -1].mean()))
        n = min(len(values), len(losses[reference]))
        expected = losses[reference][:n]
        difference_RxT = np.abs(values[:n] - expected) / np.abs(expected)
        largest = float(np.max(difference_RxT))
        if largest > measured.difference:
            measured.difference, measured.between = largest, (title, reference)
        is_far_RxT = ~(difference_RxT <= tolerance(measured.problem))
        measured.parted[title] = int(is_far_RxT.any(axis=1).sum())
        if is_far_RxT[:, 0].any() or measured.parted[title] > SWITCHED_SHARE * n:
            raise LossesDisagreeError(
                f"{measured.problem.title}: the losses of '{title}' differ from those of "
                f"'{reference}' by up to {largest:.1e} of their size, in {measured.parted[title]} "
                f"of {n} networks by more than {tolerance(measured.problem):.1e}, which rounding "
                "explains. One of them does not train these networks."
            )


@contextmanager
def _started(
    measured: Measured, entries: Sequence[Entry], folder: Path, say: Say
) -> Iterator[list[Child]]:
    """The processes of all contenders that can take part; they end with the context."""
    children: list[Child] = []
    try:
        for entry in entries:
            say(f"{measured.problem.title}: preparing {entry.name}")
            _start(measured, entry, folder, children)
        yield [child for child in children if child.entry.name not in measured.unavailable]
    finally:
        for child in children:
            child.end()


def _start(measured: Measured, entry: Entry, folder: Path, children: list[Child]) -> None:
    needed = max((core + 1 for core in entry.cores if core is not None), default=1)
    if len(cores()) < needed:
        measured.unavailable[entry.name] = f"needs {needed} cores, {len(cores())} allowed"
        return
    for process in range(len(entry.cores)):
        child = Child.start(entry, process, measured.problem, folder)
        children.append(child)
        if "unavailable" in child.about:
            measured.unavailable[entry.name] = child.about["unavailable"]
            return
        measured.versions |= child.about["versions"]
        measured.prepare_s[f"{entry.name} {process}"] = child.about["prepare_s"]


def _losses(children: Sequence[Child]) -> dict[str, np.ndarray]:
    return {
        f"{_title(child, row)}{f' ({number + 1})' if number else ''}": np.array(values)
        for child, number in _numbered(children)
        for row, values in child.about["losses"].items()
    }


def _numbered(children: Sequence[Child]) -> Iterator[tuple[Child, int]]:
    for i, child in enumerate(children):
        yield child, sum(other.entry is child.entry for other in children[:i])


def _rows(children: Sequence[Child]) -> Iterator[Row]:
    """A row for each that a child offers; for several processes of one contender one and all."""
    groups: dict[str, list[Child]] = {}
    for child in children:
        groups.setdefault(child.entry.name, []).append(child)
    for group in groups.values():
        first = group[0]
        for name in first.about["rows"]:
            if len(group) == 1:
                yield Row(_title(first, name), name, (first,))
            else:
                yield Row(first.entry.title.format(row="one worker"), name, (first,))
                yield Row(first.entry.title.format(row="two workers"), name, tuple(group))


def _title(child: Child, row: str) -> str:
    return row if row in LIMITS else child.entry.title.format(row=row)
