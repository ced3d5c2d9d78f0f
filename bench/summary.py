"""Medians, spreads, ratios and what of that was to be reached."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.problem import Problem
from bench.profiles import Goal, goals
from bench.session import LIMITS, Measured, Timing, tolerance

PEAK, COPY = LIMITS


@dataclass(frozen=True)
class Spread:
    """A median with the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Returns the spread of one value or more."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(low, median, high)


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
      per_cpu, per_wall: run-steps per processor second, and per second.
      cores: processor seconds per second. Where this is less than the row's processes could use,
        others used the machine, and wall times say nothing.
      of_peak: share of the fastest matrix product's speed in the same process; None if unmeasured.
      of_copy: share of the memory's, were the weights read and written at every step.
    """

    title: str
    per_cpu: Spread
    per_wall: Spread
    cores: float
    of_peak: float | None
    of_copy: float | None


@dataclass(frozen=True)
class Outcome:
    """A goal and what was measured: how many times as fast, in the median of the rounds."""

    goal: Goal
    ratio: Spread

    @property
    def holds(self) -> bool:
        """Whether the median reaches what it should."""
        return self.ratio.median >= self.goal.low


def speeds(timings: Sequence[Timing], unit: str) -> list[float]:
    """Returns the work per second of each repeat; `unit` says of which clock: `cpu` or `wall`."""
    return [timing["work"] / timing[f"{unit}_s"] for timing in timings]


def lines(measured: Measured) -> list[Line]:
    """Returns the rows that train, in order."""
    limits = {
        name: statistics.median(speeds(measured.timings[name], "cpu"))
        for name in LIMITS
        if name in measured.timings
    }
    return [
        _line(title, timings, measured.problem, limits)
        for title, timings in measured.timings.items()
        if title not in LIMITS
    ]


def matmul_limit(measured: Measured) -> float | None:
    """Returns the run-steps per processor second of the matrix products alone, at their peak."""
    if PEAK not in measured.timings:
        return None
    peak = statistics.median(speeds(measured.timings[PEAK], "cpu"))
    return peak / measured.problem.step_flops


def _line(
    title: str, timings: Sequence[Timing], problem: Problem, limits: dict[str, float]
) -> Line:
    per_cpu = Spread.of(speeds(timings, "cpu"))

    def share(limit: str, work: int) -> float | None:
        return per_cpu.median * work / limits[limit] if limit in limits else None

    return Line(
        title=title,
        per_cpu=per_cpu,
        per_wall=Spread.of(speeds(timings, "wall")),
        cores=statistics.median(t["cpu_s"] / t["wall_s"] for t in timings),
        of_peak=share(PEAK, problem.step_flops),
        of_copy=share(COPY, problem.step_bytes),
    )


def outcomes(measured: Measured) -> list[Outcome]:
    """Returns the goals both of whose rows were measured; ratios are taken round by round."""
    found = []
    for goal in goals(measured.problem):
        if {goal.better, goal.than} <= measured.timings.keys():
            pair = (speeds(measured.timings[t], goal.unit) for t in (goal.better, goal.than))
            ratios = [goal.per * a / b for a, b in zip(*pair, strict=True)]
            found.append(Outcome(goal, Spread.of(ratios)))
    return found


def as_json(measured: Measured) -> dict[str, Any]:
    """Returns everything, the raw repeats included."""
    return {
        "problem": vars(measured.problem),
        "step_flops": measured.problem.step_flops,
        "step_bytes": measured.problem.step_bytes,
        "rows": {
            line.title: {
                "run_steps_per_cpu_s": vars(line.per_cpu),
                "run_steps_per_wall_s": vars(line.per_wall),
                "cores_used": line.cores,
                "of_matmul_peak": line.of_peak,
                "of_memory_copy": line.of_copy,
            }
            for line in lines(measured)
        },
        "goals": {
            outcome.goal.text: {
                "times": vars(outcome.ratio),
                "at_least": outcome.goal.low,
                "by": outcome.goal.unit,
                "holds": outcome.holds,
            }
            for outcome in outcomes(measured)
        },
        "losses": {
            "mean_of_first_and_last_step": measured.losses,
            "largest_relative_difference": measured.difference,
            "between": measured.between,
            "tolerance": tolerance(measured.problem),
            "networks_beyond_it": measured.parted,
        },
        "unavailable": measured.unavailable,
        "versions": measured.versions,
        "prepare_s": measured.prepare_s,
        "load": measured.loads,
        "repeats": measured.timings,
    }
