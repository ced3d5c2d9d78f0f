"""`tfc bench`: measures the programs of a sweep as a worker trains them. Prints nothing."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

from tfc_jax import candidates, choices, signals, tuning
from tfc_jax.candidates import Candidate
from tfc_jax.config import Sweep
from tfc_jax.devices import Devices
from tfc_jax.errors import InputError
from tfc_jax.executors.local import worker_environment
from tfc_jax.layout import Folder
from tfc_jax.lock import sole_writer
from tfc_jax.options import Options, worker_settings
from tfc_jax.plan import Plan, make_plan
from tfc_jax.started import started_packs
from tfc_jax.task import Task
from tfc_jax.tuning import Measured
from tfc_jax.wording import about, counted

Say = Callable[[str], None]
# Of the time asked for: to find how many steps fill a ninth of it adds two ninths; start and data.
MEASURING = 1.3


@dataclass(frozen=True)
class Bench:
    """What is to be measured for one sweep.

    Attributes:
      plan: the whole sweep, cut anew by the choice in force.
      rivals: by program to measure: what is in force, and what is compared with it.
      others: what is in force, of the programs that are not measured.
      n_workers: workers that a launch would start.
      n_started: runs whose packs have started: they keep their schedule and width.
    """

    plan: Plan
    rivals: dict[str, list[Candidate]]
    others: dict[str, Candidate]
    n_workers: int
    n_started: int


def prepare(
    sweep: Sweep, folder: Folder, options: Options, found: Devices, *, compare: bool
) -> Bench:
    """Chooses what to measure; writes nothing.

    Args:
      compare: other schedules and widths too, not only what is in force.
    Raises:
      InputError: the sweep does not fit its data or the memory.
    """
    plan = make_plan(
        sweep,
        platform=found.platform,
        width=options.pack_width,
        schedule=options.schedule,
        stored=choices.stored(folder, found.platform),
        max_memory=options.max_memory,
    )
    memory = options.max_memory
    now = {
        name: candidates.in_force(packs, sweep.record, found, memory)
        for name, packs in plan.programs.items()
    }
    rivals = {name: [now[name]] for name in candidates.sample(plan)}
    if compare:
        for ones in rivals.values():
            ones.extend(candidates.rivals(ones[0], sweep.record, memory))
    wanted = {run.run_id for run in sweep.runs}
    started = {run.run_id for pack in started_packs(folder) for run in pack.runs}
    return Bench(
        plan=plan,
        rivals=rivals,
        others={name: one for name, one in now.items() if name not in rivals},
        n_workers=len(found.ids) if options.workers is None else max(options.workers, 1),
        n_started=len(wanted & started),
    )


def announcement(bench: Bench, seconds: float) -> str:
    """Returns what will be measured, and how long that takes, in a line.

    How long a compilation takes is not known before: it depends on the program, the machine and
    the cache. Each is told when it is done, and that they come on top is said here.
    """
    n = sum(len(ones) for ones in bench.rivals.values())
    n_programs = len(bench.rivals) + len(bench.others)
    which = "smallest, middle and largest of " if bench.others else ""
    return (
        f"{bench.plan.sweep.name}: measuring {counted(n, 'candidate')} of {which}"
        f"{counted(n_programs, 'program')} on one worker, {about(MEASURING * n * seconds)}; "
        f"before that each is compiled, which takes longer unless it is cached"
    )


def measure(
    bench: Bench, options: Options, found: Devices, seconds: float, say: Say
) -> dict[str, list[Measured]]:
    """Measures every candidate, program by program; each program in a process of its own.

    Args:
      seconds: for each candidate, compilation apart.
      say: called with a line for every candidate that is compiled.
    Raises:
      InputError: a process ended before it was done.
    """
    environment = worker_environment(found.platform, found.ids[0]) | worker_settings(options)
    measured = {}
    for name, ones in bench.rivals.items():
        tasks = [Task.of(one.pack, bench.plan.sweep, out="") for one in ones]
        results = [Measured(one) for one in ones]
        for answer in _answers(tasks, seconds, environment):
            _take(answer, results, say)
        measured[name] = results
    return measured


def _take(answer: dict[str, Any], results: list[Measured], say: Say) -> None:
    """Puts an answer of a measuring process into the results of its program."""
    if answer["event"] == "measured":
        for index, step_s in answer["step_s"].items():
            results[int(index)] = replace(results[int(index)], step_s=tuple(step_s))
        return
    index = answer["candidate"]
    if answer["event"] == "failed":
        new = replace(results[index], error=answer["error"])
        state = f"cannot be trained: {new.error}"
    else:
        new = replace(results[index], pack_bytes=answer["bytes"], compile_s=answer["seconds"])
        state = f"compiled in {new.compile_s:.1f} s"
    results[index] = new
    one = new.candidate
    say(f"{one.program.title}  {one.schedule}, width {one.width}  {state}")


def _answers(
    tasks: Sequence[Task], seconds: float, environment: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """Yields what a measuring process answers; leaves no process behind."""
    with tempfile.TemporaryFile("w+") as diagnostics:
        with signals.kept_from_children():
            process = subprocess.Popen(
                [sys.executable, "-m", "tfc_jax.rates"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=diagnostics,
                text=True,
                env=os.environ | environment,
                start_new_session=True,  # Ctrl-C reaches this process alone
            )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            asked = {"tasks": [task.to_json() for task in tasks], "seconds": seconds}
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                answer: dict[str, Any] = json.loads(line)
                yield answer
                if answer["event"] == "measured":
                    return
            raise _died(process.wait(), diagnostics)
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def _died(code: int, diagnostics: IO[str]) -> InputError:
    diagnostics.seek(0)
    last = (diagnostics.read().strip().splitlines() or ["it said nothing"])[-1]
    return InputError(
        f"The measuring process ended with code {code}: {last}. Allow less memory with "
        f"--max-memory, or leave out what is too large with --filter."
    )


def store(bench: Bench, measured: dict[str, list[Measured]], folder: Folder) -> int:
    """Stores what is recommended, for new packs; returns for how many programs.

    Raises:
      InputError: a launch is writing in the folder, or it cannot be written.
    """
    platform = bench.plan.platform
    found = tuning.chosen(measured, bench.others)
    with sole_writer(folder):
        choices.store(folder, platform, choices.stored(folder, platform).measured(found))
    return len(found)
