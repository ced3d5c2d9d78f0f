"""How far a results folder is: from its files alone, hence from any machine that sees them."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from tfc_jax.escapes import visible
from tfc_jax.glance import Glance, Launch
from tfc_jax.keys import KEYS, Run
from tfc_jax.layout import Folder
from tfc_jax.started import run_status
from tfc_jax.trends import Curve, Trends
from tfc_jax.wording import about, counted, duration

STATUSES = ("done", "diverged", "running", "failed", "pending")
SILENT_SECONDS = 600.0  # a longer silence in the log means that nobody is training
PLATEAU = 0.99
_NO_VALUE = object()
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
        return asdict(self)


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
        sweep = self._glance.known()
        mine = {run.run_id: run for run in sweep.runs}
        rows = self._glance.runs()
        rows = rows[rows["run_id"].isin(list(mine))]
        launch = self._glance.launch()
        status = run_status(rows, sweep.steps)
        counts = Counter(status.get(run_id, "pending") for run_id in mine)
        age = _age(launch)
        training = age is not None and not launch.over and age < SILENT_SECONDS
        total = len(sweep.runs) * sweep.steps
        rate, eta_s = _rate(launch, rows, sweep.steps, total)
        packs = _packs(rows, mine, launch, sweep.steps, training)
        trends = self._trends_of(mine, sweep.steps)
        ends = trends.ends([pack.id for pack in packs])
        plateaued = _plateaued(rows, status, ends)
        return Status(
            name=sweep.name,
            counts={name: counts[name] for name in STATUSES},
            plateaued=plateaued,
            judged=len(ends),
            steps=sweep.steps,
            committed_steps=int(rows["steps_done"].clip(upper=sweep.steps).sum()),
            total_steps=total,
            training=training,
            rate=rate if training else None,
            eta_s=eta_s if training else None,
            last_event_s=age,
            errors=tuple(f"pack {pack}: {error}" for pack, error in launch.errors.items()),
            packs=packs,
            curves=trends.curves(sorted(pack.id for pack in packs)),
            round=sweep.round if sweep.refine else None,
            more=sweep.more,
        )

    def _trends_of(self, runs: Mapping[str, Run], steps: int) -> Trends:
        self._middle.update({run_id: -(-run.depth // 2) for run_id, run in runs.items()})
        if self._trends is None or self._trends.steps != steps:
            self._trends = Trends(self._glance.folder, steps, self._middle)
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


def _plateaued(
    rows: pd.DataFrame, status: dict[str, str], ends: dict[str, float]
) -> dict[str, int]:
    prior = dict(zip(rows["run_id"], rows["prior_loss"].astype(float), strict=True))
    on_it = [run for run, end in ends.items() if run in prior and end >= PLATEAU * prior[run]]
    counts = Counter(status[run] for run in on_it)
    return {name: counts[name] for name in ("running", "done")}


def _packs(
    rows: pd.DataFrame, mine: dict[str, Run], launch: Launch, steps: int, training: bool
) -> tuple[PackState, ...]:
    """The packs in the order of ACTIVE, then failed ones, then those that are done."""
    common = _common(list(mine.values()))
    packs = []
    for pack, own in rows.groupby("pack", sort=True):
        committed = min(int(own["steps_done"].iloc[0]), steps)
        statuses = set(run_status(own, steps).values())
        packs.append(
            PackState(
                id=str(pack),
                what=_what([mine[run] for run in own["run_id"]], own, common),
                runs=len(own),
                step=max(committed, min(launch.newest.get(str(pack), 0), steps)),
                state=_state(str(pack), statuses, launch, training),
                diverged=int((own["status"] == "diverged").sum()),
            )
        )
    order = [*ACTIVE, "failed", "done"]
    return tuple(sorted(packs, key=lambda pack: order.index(pack.state)))


def _state(pack: str, statuses: set[str], launch: Launch, training: bool) -> str:
    if pack in launch.errors or "failed" in statuses:
        return "failed"
    if statuses <= {"done", "diverged"}:
        return "done"
    if not training:
        return "interrupted"
    if pack in launch.newest:
        return "training"
    return "compiling" if pack in launch.first else "waiting"


def _common(runs: Sequence[Run]) -> dict[str, Any]:
    """Keys in which the runs of a sweep differ, with the value that most of them have, if any.

    Those that the program's name tells are left out.
    """
    told = ("seed", "dataset", "architecture", "depth", "width", "target_params")
    common = {}
    for name in KEYS:
        values = Counter(getattr(run, name) for run in runs)
        if name not in told and len(values) > 1:
            value, count = values.most_common(1)[0]
            common[name] = value if count > len(runs) / 2 else _NO_VALUE
    return common


def _what(runs: Sequence[Run], rows: pd.DataFrame, common: dict[str, Any]) -> str:
    """E.g. "digits mlp 9x64, init_scale 0.6 to 1.2": how a pack departs from most others."""
    run, width = runs[0], rows["built_width"].iloc[0]
    built = run.width if pd.isna(width) else int(width)
    parts = [f"{run.dataset} {run.architecture} {run.depth}x{built}"]
    for name, usual in common.items():
        values = list(dict.fromkeys(getattr(run, name) for run in runs))
        if values != [usual]:
            parts.append(f"{name} {_range(values)}")
    return ", ".join(parts)


def _range(values: Sequence[Any]) -> str:
    """E.g. "0.8", "0.6 to 1.2", "none, sham, ..."."""
    if len(values) > 1 and all(isinstance(value, int | float) for value in values):
        return f"{_short(min(values))} to {_short(max(values))}"
    return ", ".join([*map(_short, values[:2]), *["..."] * (len(values) > 2)])


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rate(
    launch: Launch, rows: pd.DataFrame, steps: int, total: int
) -> tuple[float | None, float | None]:
    """Run-steps per second of this launch, from the newest step of each pack, and time left."""
    sizes = rows.groupby("pack").size()
    newest = launch.newest | dict.fromkeys(launch.finished, steps)
    trained = sum(
        int(sizes.get(pack, 0)) * (step - launch.first.get(pack, 0))
        for pack, step in newest.items()
    )
    elapsed = launch.elapsed_s
    if trained <= 0 or elapsed <= 0:
        return None, None
    left = total - launch.committed_steps - trained
    return trained / elapsed, max(left, 0) * elapsed / trained
