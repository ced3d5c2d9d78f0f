"""What the user sees while a sweep trains: one line per pack."""

import json
import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from tfc_jax import effects
from tfc_jax.escapes import visible
from tfc_jax.pack import Pack
from tfc_jax.plan import Plan
from tfc_jax.wording import counted, duration

PLAIN_SECONDS = 15.0


@dataclass
class _Line:
    """Progress of one pack in this launch."""

    pack: Pack
    began: float  # when its rate begins: after the first chunk
    first_step: int
    step: int
    is_trained: bool = False  # whether it has a chunk
    task: TaskID | None = None
    printed: float = 0.0

    @property
    def rate(self) -> float:
        """Run-steps per second since the first chunk; 0 before."""
        elapsed = time.monotonic() - self.began
        return len(self.pack.runs) * (self.step - self.first_step) / max(elapsed, 1e-9)

    def eta_s(self, steps: int) -> float | None:
        """Seconds left, once there is a rate."""
        left = len(self.pack.runs) * (steps - self.step)
        return left / self.rate if self.rate else None


class Display:
    """A context that turns events into live lines on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, quiet: bool, verbose: bool = False) -> None:
        self._console, self._quiet, self._verbose = console, quiet, verbose
        self._plan: Plan | None = None
        self._packs: dict[str, Pack] = {}  # of the plan, by id
        self._lines: dict[str, _Line] = {}
        self._finished = 0
        self._noted: set[str] = set()
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(24),
            TextColumn("{task.fields[rest]}", markup=False),
        )
        self._live = Progress(*columns, console=console, disable=quiet or not console.is_terminal)

    def __enter__(self) -> "Display":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        """Takes one event of a launch."""
        if self._verbose and event["event"] != "planned":
            self._say(json.dumps(event))
        getattr(self, f"_on_{event['event']}")(event)

    def _on_planned(self, event: dict[str, Any]) -> None:
        plan = self._plan = event["plan"]
        self._packs = {pack.id: pack for pack in plan.packs}
        self._finished = 0
        self._note(plan)
        todo = plan.unfinished
        runs, skipped = sum(len(p.runs) for p in todo), len(plan.packs) - len(todo)
        tail = f"; {counted(skipped, 'pack is', 'packs are')} done" if skipped else ""
        name = plan.sweep.name + (f", round {plan.sweep.round}" if plan.sweep.refine else "")
        packs = counted(len(todo), "pack")
        self._say(f"{name}: {counted(runs, 'run')} in {packs} to train{tail}")

    def _note(self, plan: Plan) -> None:
        """Says what is recorded in vain, once and not again for every round."""
        for note in effects.notes(plan):
            if note not in self._noted:
                self._noted.add(note)
                self._say(note)

    def _on_compiling(self, event: dict[str, Any]) -> None:
        self._open(event["pack"], "compiling")

    def _on_compiled(self, event: dict[str, Any]) -> None:
        self._open(event["pack"], "starting")

    def _on_started(self, event: dict[str, Any]) -> None:
        line = self._open(event["pack"], "starting")
        line.began, line.step, line.first_step = time.monotonic(), event["step"], event["step"]

    def _open(self, pack_id: str, rest: str) -> _Line:
        """Returns the line of a pack, a new one if it has none, and says what the pack does."""
        assert self._plan is not None
        pack, steps = self._packs[pack_id], self._plan.sweep.steps
        line = self._lines.setdefault(pack_id, _Line(pack, time.monotonic(), 0, 0))
        if line.task is None:
            line.task = self._live.add_task(_title(pack), total=steps, rest=rest)
        self._live.update(line.task, rest=rest)
        return line

    def _on_halved(self, event: dict[str, Any]) -> None:
        """The device had no memory for a pack, which goes on with fewer lanes at a time."""
        line = self._lines.get(event["pack"])
        title = _title(line.pack) if line else f"pack {event['pack']}"
        self._say(
            f"{title}  out of device memory; goes on from step {event['step']} with a pack width "
            f"of {event['width']}"
        )
        if line:
            line.step = line.first_step = event["step"]
            line.is_trained = False

    def _on_step(self, event: dict[str, Any]) -> None:
        line = self._lines[event["pack"]]
        line.step = event["step"]
        if not line.is_trained:
            line.is_trained, line.began, line.first_step = True, time.monotonic(), line.step
        assert self._plan is not None
        assert line.task is not None
        self._live.update(line.task, completed=line.step, rest=self._rest(line))
        now = time.monotonic()
        if not self._console.is_terminal and now - max(line.printed, line.began) > PLAIN_SECONDS:
            line.printed = now
            self._say(f"{_title(line.pack)} {self._rest(line)}")

    def _on_waiting(self, event: dict[str, Any]) -> None:
        packs = counted(event["packs"], "pack")
        self._say(f"nothing new from the {packs} that the cluster has taken")

    def _on_warned(self, event: dict[str, Any]) -> None:
        self._say(f"pack {event['pack']}: {event['text']}", is_error=True)

    def _on_finished(self, event: dict[str, Any]) -> None:
        assert self._plan is not None
        self._finished += 1
        packs = counted(len(self._plan.unfinished), "pack")
        self._close(event, f"done ({self._finished}/{packs})")

    def _on_stopped(self, event: dict[str, Any]) -> None:
        self._close(event, "stopped; `tfc run` goes on from here")

    def _on_failed(self, event: dict[str, Any]) -> None:
        self._close(event, f"FAILED: {event['error']}", is_error=True)

    def _close(self, event: dict[str, Any], outcome: str, *, is_error: bool = False) -> None:
        line = self._lines.pop(event["pack"], None)
        if line is None:
            self._say(f"pack {event['pack']} {outcome}", is_error=is_error)
            return
        assert line.task is not None
        self._live.remove_task(line.task)
        self._say(f"{_title(line.pack)} {self._rest(line)}  {outcome}", is_error=is_error)

    def _rest(self, line: _Line) -> str:
        assert self._plan is not None
        steps = self._plan.sweep.steps
        eta = line.eta_s(steps)
        left = f"  {duration(eta)} left" if eta and line.step < steps else ""
        rate = f"  {line.rate:,.0f} run-steps/s" if line.rate else ""  # of one chunk there is none
        return f"step {line.step}/{steps}{rate}{left}"

    def _say(self, text: str, *, is_error: bool = False) -> None:
        if is_error or not self._quiet:
            self._console.print(visible(text), markup=False, highlight=False, soft_wrap=True)


def _title(pack: Pack) -> str:
    return visible(f"pack {pack.id}  {counted(len(pack.runs), 'run')}  {pack.program.title}")
