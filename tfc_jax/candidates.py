"""Which programs of a sweep are worth measuring, and with which schedules and pack widths."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tfc_jax.choices import Choice
from tfc_jax.devices import Devices
from tfc_jax.keys import Run
from tfc_jax.pack import SLICES, Pack, ProgramPlan, room
from tfc_jax.plan import Plan
from tfc_jax.record import Record
from tfc_jax.timetable import Schedule

MOST_PROGRAMS = 3
MOST_WIDTHS = 3
MAPPED_LANES = 4  # they run one after another, so that more tell nothing more


@dataclass(frozen=True)
class Candidate:
    """One way to train the runs of a program.

    Attributes:
      program: what is compiled.
      runs: all runs of it in the sweep.
      schedule, width: of their packs.
      default_width: by the formula of the platform: the widest that its memory budget allows.
      in_force: whether `tfc run` would take them now.
      slices: of the width, in a full pack.
      n_chips: on which slices are trained at the same time, each as fast as one alone.
    """

    program: ProgramPlan
    runs: tuple[Run, ...]
    schedule: Schedule
    width: int
    default_width: int
    in_force: bool = False
    slices: int = 1
    n_chips: int = 1

    @property
    def choice(self) -> Choice:
        """Schedule and width, as they are stored."""
        return Choice(self.schedule, self.width)

    @property
    def widest(self) -> int:
        """The default width, halved while all runs have room: lanes of padding cost time."""
        return min(self.default_width, room(len(self.runs), self.slices))

    @property
    def pack(self) -> Pack:
        """The pack that is measured: the first slice, of mapped lanes a few."""
        lanes = min(self.width, MAPPED_LANES if self.schedule == "mapped" else self.width)
        return Pack(self.program, self.runs[:lanes], self.width, self.schedule)

    def pack_step_seconds(self, measured: float) -> list[float]:
        """Returns the time of one step of each pack of the program.

        Padding costs as much as a run in lockstep, and nothing where lanes are mapped.

        Args:
          measured: seconds of one step of `pack`.
        """
        if self.schedule == "lockstep":
            return [measured * self._turns(size) for size in self.pack_sizes]
        of_lane = measured / len(self.pack.runs)
        return [of_lane * min(size, self.width * self._turns(size)) for size in self.pack_sizes]

    @property
    def pack_sizes(self) -> list[int]:
        """Runs in each pack."""
        n_runs, full = len(self.runs), self.width * self.slices
        return [min(full, n_runs - first) for first in range(0, n_runs, full)]

    def _turns(self, size: int) -> int:
        """How often each chip trains a slice of a pack of so many runs, in every step."""
        return -(-size // (self.width * self.n_chips))


def sample(plan: Plan) -> list[str]:
    """Returns the ids of the programs to measure: all of a few, else the ends and the middle."""
    programs = plan.programs
    ids = sorted(programs, key=lambda name: programs[name][0].program.step_flops)
    if len(ids) <= MOST_PROGRAMS:
        return ids
    return [ids[0], ids[len(ids) // 2], ids[-1]]


def in_force(
    packs: Sequence[Pack], record: Record, found: Devices, memory: float | None
) -> Candidate:
    """Returns what the packs of a program, cut anew, are trained with.

    Args:
      found: where they would be trained.
      memory: bytes per device that a pack may need; None means the platform's budget.
    """
    first, runs = packs[0], tuple(run for pack in packs for run in pack.runs)
    return Candidate(
        program=first.program,
        runs=runs,
        schedule=first.schedule,
        width=first.width,
        default_width=first.program.width(record, found.platform, memory, len(runs)),
        in_force=True,
        slices=SLICES[found.platform],
        n_chips=found.n_chips,
    )


def rivals(now: Candidate, record: Record, memory: float | None) -> list[Candidate]:
    """Returns what to compare with what is in force.

    The width matters in lockstep alone: there, powers of two from the widest down are tried.
    """
    widths = [now.widest // 2**i for i in range(MOST_WIDTHS) if i == 0 or now.widest // 2**i > 1]
    ways: list[tuple[Schedule, int]] = [("lockstep", width) for width in widths]
    if now.schedule != "mapped":
        ways.append(("mapped", now.default_width))
    found = [replace(now, schedule=s, width=width, in_force=False) for s, width in ways]
    return [one for one in found if one.choice != now.choice and _fits(one, record, memory)]


def _fits(candidate: Candidate, record: Record, memory: float | None) -> bool:
    return memory is None or candidate.pack.device_bytes(record) <= memory
