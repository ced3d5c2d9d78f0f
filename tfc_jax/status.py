"""How far a results folder is: from its files alone, hence from any machine that sees them."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tfc_jax.escapes import visible
from tfc_jax.glance import Asked, Glance, Launch
from tfc_jax.layout import Folder
from tfc_jax.objects.reading import bring_documents
from tfc_jax.pack_texts import pack_texts
from tfc_jax.stored_runs import STATUSES, StoredRuns
from tfc_jax.trends import Curve, Trends
from tfc_jax.wording import about, counted, duration

SILENT_SECONDS = 600.0  # a longer silence in the log means that nobody is training
PLATEAU = 0.99
ACTIVE = ("training", "compiling", "waiting", "interrupted")


@dataclass(frozen=True)
class PackState:
    """One started pack.

    Attributes:
      what: its program, and the keys that set its runs apart from others of the sweep.
      step: the newest that the log or a commit tells.
      state: training, compiling, waiting (for its turn in this launch), interrupted, failed, done.
      diverged: how many of its runs did.
    """

    id: str
    what: str
    runs: int
    step: int
    state: str
    diverged: int


@dataclass(frozen=True)
class Status:
    """State of a sweep.

    Attributes:
      counts: runs by status.
      plateaued: runs by status (running, done) whose last 50 committed losses average at least
        0.99 of the prior loss (ours); the analysis has the criterion for phases.
      judged: how many runs this was asked of (those of the newest 256 packs).
      steps: of every run.
      committed_steps, total_steps: run-steps.
      training: whether the newest launch goes on, by its log.
      rate: run-steps per second of the newest launch, compiling included; None while there is none.
      eta_s: seconds left at that rate, while training.
      last_event_s: seconds since the last log entry; None without a log, or where the clock was set
        back since.
      errors: of failed packs, newest launch only.
      packs: those that have started; those at work first.
      curves: medians over a sample of runs (see trends.py).
      round: of a sweep that refines, the newest; None for others.
      more: at most so many runs can follow in later rounds.
    """

    name: str
    counts: dict[str, int]
    plateaued: dict[str, int]
    judged: int
    steps: int
    committed_steps: int
    total_steps: int
    training: bool
    rate: float | None
    eta_s: float | None
    last_event_s: float | None
    errors: tuple[str, ...]
    packs: tuple[PackState, ...]
    curves: tuple[Curve, ...]
    round: int | None = None
    more: int = 0

    @property
    def settled(self) -> bool:
        """Whether no run is left to train."""
        return not self.counts["running"] and not self.counts["pending"]

    @property
    def share(self) -> float:
        """Committed share of the run-steps, in [0, 1]."""
        return self.committed_steps / self.total_steps

    def words(self) -> dict[str, str]:
        """Names of the statuses for people."""
        return {} if self.training else {"running": "interrupted (tfc run goes on)"}

    def plateau_text(self) -> str:
        """How many runs are on the plateau, of which status; empty before the first commit."""
        if not self.judged:
            return ""
        names = {"running": "running" if self.training else "interrupted", "done": "done"}
        parts = ", ".join(f"{n} {names[s]}" for s, n in self.plateaued.items() if n)
        of = f"{sum(self.plateaued.values())} of {counted(self.judged, 'run')}"
        return f"on the plateau: {of}{f' ({parts})' if parts else ''}"

    def refine_text(self) -> str:
        """How far a sweep that refines is; empty for others."""
        if self.round is None:
            return ""
        rest = f"at most {self.more:,} runs more" if self.more else "ended"
        return f"refine: round {self.round}; {rest}"

    def rate_text(self) -> str:
        """Throughput and time left, or since when nobody is training."""
        if self.training:
            if self.rate is None or self.eta_s is None:
                return "at work: compiling, or at its first steps"
            left = about(self.eta_s)
            return f"training now; {left} left at {self.rate:,.0f} run-steps/s"
        if self.last_event_s is None:
            return ""
        return f"nobody is training; last event {duration(self.last_event_s)} ago"

    def as_text(self) -> str:
        """A few lines for people."""
        words = self.words()
        counts = ", ".join(f"{n} {words.get(s, s)}" for s, n in self.counts.items() if n)
        lines = [
            f"{self.name}: {counts}",
            f"committed: {100 * self.share:.1f} % of the run-steps",
            self.refine_text(),
            self.plateau_text(),
            self.rate_text(),
        ]
        return "\n".join(map(visible, [*filter(None, lines), *self.errors]))

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        packs = [dict(vars(pack)) for pack in self.packs]  # asdict takes half a second for 60,000
        return vars(self) | {"packs": packs, "curves": list(map(asdict, self.curves))}


class Reader:
    """Reads the status of one folder again and again; what has not changed is not read again."""

    def __init__(self, folder: Folder) -> None:
        self._glance = Glance(folder)
        self._middle: dict[str, int] = {}
        self._trends: Trends | None = None

    def read(self) -> Status:
        """Returns the state of the results folder.

        Raises:
          InputError: there are no results.
        """
        bring_documents(self._glance.folder.root)
        asked = self._glance.asked()
        rows = StoredRuns.of(self._glance.runs(), asked)
        launch = self._glance.launch()
        age = _age(launch)
        training = age is not None and not launch.over and age < SILENT_SECONDS
        total = len(asked.runs) * asked.steps
        rate, eta_s = _rate(launch, rows, asked.steps, total)
        packs = _packs(rows, asked, launch, training)
        trends = self._trends_of(rows, asked)
        ends = trends.ends([pack.id for pack in packs])
        return Status(
            name=asked.name,
            counts=rows.counts(len(asked.runs)),
            plateaued=_plateaued(rows, ends),
            judged=len(ends),
            steps=asked.steps,
            committed_steps=int(np.minimum(rows.steps_done, asked.steps).sum()),
            total_steps=total,
            training=training,
            rate=rate if training else None,
            eta_s=eta_s if training else None,
            last_event_s=age,
            errors=tuple(f"pack {pack}: {error}" for pack, error in launch.errors.items()),
            packs=packs,
            curves=trends.curves(rows.packs),
            round=asked.round,
            more=asked.more,
        )

    def _trends_of(self, rows: StoredRuns, asked: Asked) -> Trends:
        depths, code = asked.runs.column("depth", rows.place[rows.first])
        middles = (-(-depths[i] // 2) for i in code.tolist())
        self._middle.update(zip(rows.packs, middles, strict=True))
        if self._trends is None or self._trends.steps != asked.steps:
            self._trends = Trends(self._glance.folder, asked.steps, self._middle)
        return self._trends


def read_status(folder: Folder) -> Status:
    """Returns the state of a results folder, once.

    Raises:
      InputError: there are no results.
    """
    return Reader(folder).read()


def _age(launch: Launch) -> float | None:
    """Seconds since the newest entry; None without one, or where it lies in the future.

    Clocks of two machines may be minutes apart; one that was set back since tells nothing.
    """
    age = time.time() - launch.ended
    return max(age, 0.0) if launch.began is not None and age > -SILENT_SECONDS else None


def _plateaued(rows: StoredRuns, ends: Mapping[str, float]) -> dict[str, int]:
    """Of the runs whose last losses are known, those on the plateau, by status."""
    run_ids, end_N = list(ends), np.array(list(ends.values()))
    found = rows.rows_of(run_ids)
    on_it = (found >= 0) & (end_N >= PLATEAU * rows.prior_loss[found])
    counts = Counter(STATUSES[code] for code in rows.status[found[on_it]].tolist())
    return {name: counts[name] for name in ("running", "done")}


def _packs(rows: StoredRuns, asked: Asked, launch: Launch, training: bool) -> tuple[PackState, ...]:
    """The packs in the order of ACTIVE, then failed ones, then those that are done."""
    whats = pack_texts(rows, asked.runs)
    columns = (rows.packs, whats, *rows.of_packs(asked.steps))
    packs = []
    for pack, what, runs, committed, has_failed, is_done, diverged in zip(*columns, strict=True):
        packs.append(
            PackState(
                id=pack,
                what=what,
                runs=runs,
                step=max(committed, min(launch.newest.get(pack, 0), asked.steps)),
                state=_state(pack, has_failed, is_done, launch, training),
                diverged=diverged,
            )
        )
    place = {state: i for i, state in enumerate((*ACTIVE, "failed", "done"))}
    return tuple(sorted(packs, key=lambda pack: place[pack.state]))


def _state(pack: str, has_failed: bool, is_done: bool, launch: Launch, training: bool) -> str:
    if pack in launch.errors or has_failed:
        return "failed"
    if is_done:
        return "done"
    if not training:
        return "interrupted"
    if pack in launch.newest:
        return "training"
    return "compiling" if pack in launch.first else "waiting"


def _rate(
    launch: Launch, rows: StoredRuns, steps: int, total: int
) -> tuple[float | None, float | None]:
    """Run-steps per second of this launch, from the newest step of each pack, and time left."""
    sizes = dict(zip(rows.packs, rows.sizes.tolist(), strict=True))
    newest = launch.newest | dict.fromkeys(launch.finished, steps)
    trained = sum(
        sizes.get(pack, 0) * (step - launch.first.get(pack, 0)) for pack, step in newest.items()
    )
    elapsed = launch.elapsed_s
    if trained <= 0 or elapsed <= 0:
        return None, None
    left = total - launch.committed_steps - trained
    return trained / elapsed, max(left, 0) * elapsed / trained
