"""`tfc bench`: measures the programs of a sweep as a worker trains them. Prints nothing."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

from tfc_jax import candidates, choices, tuning
from tfc_jax.candidates import Candidate
from tfc_jax.config import Sweep
from tfc_jax.devices import Devices
from tfc_jax.errors import InputError
from tfc_jax.executors.local import worker_environment
from tfc_jax.launch import Options, sole_writer, started_packs, worker_settings
from tfc_jax.layout import Folder
from tfc_jax.plan import Plan, make_plan
from tfc_jax.pricing import SPEEDS
from tfc_jax.progress import duration
from tfc_jax.task import Task
from tfc_jax.tuning import Measured

HEADINGS = ("what", "schedule", "width", "run-steps/s", "quartiles", "MiB", "time", "choice")
Say = Callable[[str], None]


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
        name: candidates.in_force(packs, sweep.record, found.platform, memory)
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
    """Returns what will be measured, and how long that takes at most, in a line."""
    n = sum(len(ones) for ones in bench.rivals.values())
    n_programs = len(bench.rivals) + len(bench.others)
    which = "smallest, middle and largest of " if bench.others else ""
    expected = n * (SPEEDS[bench.plan.platform].compile_s + 2 * seconds)
    return (
        f"{bench.plan.sweep.name}: measuring {n} candidates of {which}{n_programs} programs on one "
        f"worker, about {duration(expected)}, most of it compilation unless it is cached"
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


def rows(bench: Bench, measured: dict[str, list[Measured]]) -> list[dict[str, Any]]:
    """Returns one row per candidate; numbers, for programs to read."""
    steps, name = bench.plan.sweep.steps, bench.plan.sweep.name
    return [
        {
            "sweep": name,
            "program": program,
            "what": one.candidate.program.title,
            "runs": len(one.candidate.runs),
            "schedule": one.candidate.schedule,
            "pack_width": one.candidate.width,
            "run_steps_per_s": one.rate or None,
            "lower_quartile": one.quartiles[0] or None,
            "upper_quartile": one.quartiles[2] or None,
            "repeats": len(one.step_s),
            "pack_bytes": one.pack_bytes,
            "compile_s": one.compile_s,
            "worker_s": sum(one.pack_seconds(steps)) if one.step_s else None,
            "in_force": one.candidate.in_force,
            "recommended": one is tuning.recommended(ones),
            "error": one.error or None,
        }
        for program, ones in measured.items()
        for one in ones
    ]


def cells(bench: Bench, measured: dict[str, list[Measured]]) -> Iterator[list[str]]:
    """Yields one row per candidate under HEADINGS, for people to read, in 80 columns.

    Run-steps per second of one worker and how far their quartiles are from that, memory of a pack,
    and the time that all runs of the program take one worker.
    """
    for ones in measured.values():
        for i, one in enumerate(ones):
            low, median, high = one.quartiles
            yield [
                one.candidate.program.title if i == 0 else "",
                one.candidate.schedule,
                str(one.candidate.width),
                f"{median:,.0f}" if one.step_s else "none",
                f"{_percent(low, median)} {_percent(high, median)} %" if one.step_s else "",
                f"{one.pack_bytes / 2**20:,.1f}" if one.step_s else "",
                duration(sum(one.pack_seconds(bench.plan.sweep.steps))) if one.step_s else "",
                _word(one, ones),
            ]


def _percent(value: float, median: float) -> str:
    return f"{100 * (value / median - 1):+.0f}"


def _word(one: Measured, ones: Sequence[Measured]) -> str:
    if len(ones) == 1:
        return ""
    is_best = one is tuning.recommended(ones)
    if one.candidate.in_force:
        return "keep" if is_best else "now"
    return "take" if is_best else ""


def conclusions(bench: Bench, measured: dict[str, list[Measured]]) -> list[str]:
    """Returns what the numbers say of the sweep, a sentence a line."""
    sweep, others = bench.plan.sweep, list(bench.others.values())
    now = [tuning.in_force(ones) for ones in measured.values()]
    best = [tuning.recommended(ones) for ones in measured.values()]
    asked = (others, sweep.steps, bench.n_workers)
    told = (
        f"{sweep.name}: {len(sweep.runs)} runs of {sweep.steps} steps train in about "
        f"{duration(tuning.sweep_seconds(now, *asked))} on {bench.n_workers} {bench.plan.platform} "
        f"workers, compilation and storing apart"
    )
    if best != now:
        told += f"; as recommended, in {duration(tuning.sweep_seconds(best, *asked))}"
    lines = [f"{told}."]
    if others:
        lines.append(
            f"{len(others)} programs were not measured: the most similar one stands for each."
        )
    return lines + _advice(bench, measured)


def _advice(bench: Bench, measured: dict[str, list[Measured]]) -> list[str]:
    if all(len(ones) == 1 for ones in measured.values()):
        return []
    changed = {name: tuning.recommended(ones) for name, ones in measured.items()}
    changed = {name: one for name, one in changed.items() if not one.candidate.in_force}
    if not changed:
        return ["Keep what is in force: nothing is faster by more than the spread and 5 %."]
    lines = [
        f"Take {one.candidate.schedule}, width {one.candidate.width} for "
        f"{one.candidate.program.title}: {one.rate / tuning.in_force(measured[name]).rate:.2f} "
        f"times as fast."
        for name, one in changed.items()
    ]
    if bench.n_started:
        lines.append(
            f"{bench.n_started} of {len(bench.plan.sweep.runs)} runs are in packs that have "
            f"started and keep their schedule and width."
        )
    return lines


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
