"""How far a results folder is: from its files alone, hence from any machine that sees them."""

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from tfc_jax.config import Sweep
from tfc_jax.launch import count_by_status
from tfc_jax.layout import Folder
from tfc_jax.manifest import launched_sweep
from tfc_jax.progress import duration
from tfc_jax.results import Results
from tfc_jax.rounds import known

STATUSES = ("done", "diverged", "running", "failed", "pending")
WATCH_SECONDS = 2.0
SILENT_SECONDS = 600.0  # a longer silence in the log means that nobody is training


@dataclass(frozen=True)
class Status:
    """State of a sweep.

    Attributes:
      counts: runs by status.
      committed_steps, total_steps: run-steps.
      training: whether the newest launch goes on, by its log.
      eta_s: seconds left at the rate of the newest launch; None while there is no rate.
      last_event_s: seconds since the last log entry; None without a log.
      errors: of failed packs, newest launch only.
      round: of a sweep that refines, the newest; None for others.
      more: at most so many runs can follow in later rounds.
    """

    name: str
    counts: dict[str, int]
    committed_steps: int
    total_steps: int
    training: bool
    eta_s: float | None
    last_event_s: float | None
    errors: tuple[str, ...]
    round: int | None = None
    more: int = 0

    def as_text(self) -> str:
        """Two or three lines for people."""
        words = {} if self.training else {"running": "interrupted (tfc run goes on)"}
        counts = ", ".join(f"{n} {words.get(s, s)}" for s, n in self.counts.items() if n)
        share = 100 * self.committed_steps / self.total_steps
        lines = [f"{self.name}: {counts}", f"committed: {share:.1f} % of the run-steps"]
        if self.round is not None:
            rest = f"at most {self.more:,} runs more" if self.more else "ended"
            lines.append(f"refine: round {self.round}; {rest}")
        if self.training:
            left = f"about {duration(self.eta_s)} left" if self.eta_s is not None else "no rate yet"
            lines.append(f"training now; {left}")
        elif self.last_event_s is not None:
            lines.append(f"nobody is training; last event {duration(self.last_event_s)} ago")
        return "\n".join([*lines, *self.errors])

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def read_status(folder: Folder) -> Status:
    """Returns the state of a results folder.

    Raises:
      InputError: there are no results.
    """
    sweep = known(launched_sweep(folder), folder)
    counts: Counter[str] = count_by_status(sweep, folder)
    events = _last_launch(folder)
    age = time.time() - events[-1]["time"] if events else None
    training = age is not None and events[-1]["event"] != "ended" and age < SILENT_SECONDS
    committed = _committed(sweep, folder)
    total = len(sweep.runs) * sweep.steps
    return Status(
        name=sweep.name,
        counts={status: counts[status] for status in STATUSES},
        committed_steps=committed,
        total_steps=total,
        training=training,
        eta_s=_eta(events, folder, sweep, total) if training else None,
        last_event_s=age,
        errors=tuple(f"pack {e['pack']}: {e['error']}" for e in events if e["event"] == "failed"),
        round=sweep.round if sweep.refine else None,
        more=sweep.more,
    )


def watch_status(folder: Folder) -> None:
    """Refreshes the state on the terminal until all runs are settled or Ctrl-C."""
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as live:
        while True:
            state = read_status(folder)
            live.update(Text(state.as_text()), refresh=True)
            if not state.counts["running"] and not state.counts["pending"]:
                return
            time.sleep(WATCH_SECONDS)


def _committed(sweep: Sweep, folder: Folder) -> int:
    runs = Results(folder).runs
    mine = runs[runs["run_id"].isin({run.run_id for run in sweep.runs})]
    return int(mine["steps_done"].clip(upper=sweep.steps).sum())


def _last_launch(folder: Folder) -> list[dict[str, Any]]:
    """Events since the newest `launched`; lines that a crash or a reader cut short are left out."""
    if not folder.log.exists():
        return []
    events: list[dict[str, Any]] = []
    for line in folder.log.read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        events = [event] if event["event"] == "launched" else [*events, event]
    return events


def _eta(events: list[dict[str, Any]], folder: Folder, sweep: Sweep, total: int) -> float | None:
    """Remaining run-steps over the rate of this launch, from the newest step of each pack."""
    first, last = events[0], events[-1]
    sizes = Results(folder).runs.groupby("pack").size()
    began = {e["pack"]: e["step"] for e in events if e["event"] == "started"}
    newest = {e["pack"]: e["step"] for e in events if e["event"] == "step"}
    newest |= {e["pack"]: sweep.steps for e in events if e["event"] == "finished"}
    trained = sum(int(sizes.get(p, 0)) * (step - began.get(p, 0)) for p, step in newest.items())
    elapsed = last["time"] - first["time"]
    if trained <= 0 or elapsed <= 0:
        return None
    left = total - first["committed_steps"] - trained
    return max(left, 0) * elapsed / trained
