"""What measured candidates say: how fast each is, which one to take, how long the sweep takes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfc_jax.candidates import Candidate
from tfc_jax.choices import Choice

WORTH = 1.05  # how much faster another choice must be; process differs from process by that much


@dataclass(frozen=True)
class Measured:
    """A candidate and its repeats.

    Attributes:
      step_s: seconds per step of its pack, one per repeat; empty when it could not be trained.
      pack_bytes: XLA's count of what its compiled chunk holds.
      compile_s: seconds until its first step was done; little where the cache had it.
      error: why it could not be trained.
    """

    candidate: Candidate
    step_s: tuple[float, ...] = ()
    pack_bytes: int = 0
    compile_s: float = 0.0
    error: str = ""

    @cached_property
    def quartiles(self) -> tuple[float, float, float]:
        """Run-steps per second of one worker: quartiles; of the runs that the program has."""
        if not self.step_s:
            return 0.0, 0.0, 0.0
        rates = [self._rate(seconds) for seconds in np.percentile(self.step_s, (75, 50, 25))]
        return rates[0], rates[1], rates[2]

    @property
    def rate(self) -> float:
        """The median of them."""
        return self.quartiles[1]

    def pack_seconds(self, steps: int) -> list[float]:
        """Returns the training time of each pack of the program."""
        median = float(np.median(self.step_s)) if self.step_s else math.inf
        return [steps * seconds for seconds in self.candidate.pack_step_seconds(median)]

    def _rate(self, step_s: float) -> float:
        return len(self.candidate.runs) / sum(self.candidate.pack_step_seconds(step_s))


def in_force(measured: Sequence[Measured]) -> Measured:
    """Returns what `tfc run` would take now, of the candidates of one program."""
    return next(one for one in measured if one.candidate.in_force)


def recommended(measured: Sequence[Measured]) -> Measured:
    """Returns what to take, of the candidates of one program.

    That is what is in force, unless another one is faster by more than their spread (its lower
    quartile lies above the upper one) and by 5 %: then the fastest of these.
    """
    now = in_force(measured)
    faster = [
        one
        for one in measured
        if one.quartiles[0] > now.quartiles[2] and one.rate > WORTH * now.rate
    ]
    return max(faster, key=lambda one: one.rate, default=now)


def chosen(
    measured: Mapping[str, Sequence[Measured]], others: Mapping[str, Candidate]
) -> dict[str, Choice]:
    """Returns what to store, by program: the recommendations, also for what was not measured.

    A program that was not measured takes what another one of its architecture takes, if that
    changes: the one that is nearest in arithmetic.

    Args:
      measured: candidates by program.
      others: what is in force, of the programs that were not measured.
    """
    best = {name: recommended(ones) for name, ones in measured.items()}
    choices = {name: one.candidate.choice for name, one in best.items() if one.step_s}
    for name, candidate in others.items():
        model = nearest(candidate, list(best.values()))
        same = model.candidate.program.run.architecture == candidate.program.run.architecture
        if same and not model.candidate.in_force:
            width = min(model.candidate.width, candidate.widest)
            choices[name] = Choice(model.candidate.schedule, width)
    return choices


def nearest(candidate: Candidate, measured: Sequence[Measured]) -> Measured:
    """Returns what is likest: of the same architecture if there is one, then by arithmetic."""

    def distance(one: Measured) -> tuple[bool, float]:
        a, b = one.candidate.program, candidate.program
        return a.run.architecture != b.run.architecture, abs(math.log(a.step_flops / b.step_flops))

    return min(measured, key=distance)


def sweep_seconds(
    taken: Sequence[Measured], others: Sequence[Candidate], steps: int, n_workers: int
) -> float:
    """Returns how long the whole sweep trains, compilation and storing apart.

    Args:
      taken: one of each program that was measured.
      others: programs that were not; their times follow from the likest one's by arithmetic.
    """
    packs = [seconds for one in taken for seconds in one.pack_seconds(steps)]
    for candidate in others:
        like = nearest(candidate, taken)
        scale = candidate.program.step_flops / like.candidate.program.step_flops
        per_run = sum(like.pack_seconds(steps)) / len(like.candidate.runs) * scale
        packs += [per_run * size for size in candidate.pack_sizes]
    return makespan(packs, n_workers)


def makespan(durations: Sequence[float], n_workers: int) -> float:
    """Returns when the last worker ends, if each takes the longest pack that waits."""
    loads = [0.0] * n_workers
    for duration in sorted(durations, reverse=True):
        loads[loads.index(min(loads))] += duration
    return max(loads)
