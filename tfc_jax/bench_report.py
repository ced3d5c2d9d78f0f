"""What `tfc bench` has measured, as rows, as a table, and in sentences."""

from collections.abc import Iterator, Sequence
from typing import Any

from tfc_jax import tuning
from tfc_jax.bench import Bench
from tfc_jax.tuning import Measured
from tfc_jax.wording import about, counted, duration

HEADINGS = ("what", "schedule", "width", "run-steps/s", "quartiles", "MiB", "time", "choice")


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
        f"{sweep.name}: training {sweep.size_text} takes "
        f"{about(tuning.sweep_seconds(now, *asked))} on "
        f"{counted(bench.n_workers, f'{bench.plan.platform} worker')}, compilation and storing "
        f"apart"
    )
    if best != now:
        told += f"; as recommended, {about(tuning.sweep_seconds(best, *asked))}"
    lines = [f"{told}."]
    if others:
        lines.append(
            f"{counted(len(others), 'program was', 'programs were')} not measured: the most "
            f"similar one stands for each."
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
            f"Packs that have started keep their schedule and width: {bench.n_started} of "
            f"{counted(len(bench.plan.sweep.runs), 'run')}."
        )
    return lines
