"""What a plan costs, for `tfc plan`: memory, arithmetic, time and disk, by formula or measured."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tfc_jax.pack import Pack, prices
from tfc_jax.plan import Plan
from tfc_jax.pricing import SPEEDS
from tfc_jax.wording import about, counted, duration, size

HEADINGS = (
    "program", "what", "runs", "packs", "width", "schedule", "parameters",
    "GFLOP/run", "MiB/pack", "time", "probes", "disk",
)  # fmt: skip
MOST_GFLOP = 1e7  # that is shown with all its digits


@dataclass(frozen=True)
class Units:
    """How a table shows what is large in one sweep and small in another.

    Attributes:
      memory: heading of what a pack needs on its device.
      of_memory, of_time, of_disk: bytes, seconds and bytes as text.
      of_work: GFLOP as text.
    """

    memory: str
    of_memory: Callable[[float], str]
    of_time: Callable[[float], str]
    of_disk: Callable[[float], str]
    of_work: Callable[[float], str]


# For programs that read them, the same whatever the size; and for people.
FIXED = Units(
    "MiB/pack",
    lambda n_bytes: f"{n_bytes / 2**20:,.1f}",
    lambda seconds: duration(seconds, days=False),
    lambda n_bytes: f"{n_bytes / 2**20:,.1f} MiB",
    lambda gflop: f"{gflop:,.1f}",
)
READABLE = Units(
    "memory/pack",
    size,
    duration,
    size,
    lambda gflop: f"{gflop:,.1f}" if gflop < MOST_GFLOP else f"{gflop:.1e}",
)


def program_rows(
    plan: Plan, n_workers: int, *, measure: bool, units: Units = FIXED, n_chips: int = 1
) -> list[dict[str, Any]]:
    """Returns one row per program, under HEADINGS, of which that of memory depends on the units.

    Args:
      n_workers: that train at the same time.
      n_chips: among which each shares a pack.
      measure: compile each program and add XLA's own count of its memory (minutes).
    """
    rows = []
    for program_id, packs in plan.programs.items():
        cells = _cells(program_id, packs, plan, n_workers, n_chips, units)
        row = dict(zip(_headings(units), cells, strict=True))
        if measure:
            row[f"measured {units.memory}"] = units.of_memory(_measured_bytes(packs[0], plan))
        rows.append(row)
    return rows


def summary(plan: Plan, n_workers: int, n_chips: int = 1, *, is_limit: bool = False) -> str:
    """Returns what is left to do, in one line.

    Args:
      n_workers, n_chips: as in `program_rows`.
      is_limit: there may come to be fewer workers.
    """
    todo = plan.unfinished
    seconds = _seconds(todo, plan, n_workers, n_chips)
    failed = sum(p.failed for p in plan.packs)
    before = f", {counted(failed, 'pack')} failed before (tfc retry)" if failed else ""
    return (
        f"{plan.sweep.name}: {plan.sweep.size_text}{_rounds(plan)}; "
        f"{counted(sum(len(p.runs) for p in todo), 'run')} in {counted(len(todo), 'pack')} to train"
        f"{before}; "
        f"{about(seconds)} on {'at most ' if is_limit else ''}"
        f"{counted(n_workers, f'{plan.platform} worker')}, "
        f"{size(_disk_bytes(plan.packs, plan))} of results"
    )


def _rounds(plan: Plan) -> str:
    """Says of a sweep that refines how far its runs are known."""
    if not plan.sweep.refine:
        return ""
    more = f"at most {plan.sweep.more:,} more, by their outcomes" if plan.sweep.more else "the last"
    return f" (refine: up to round {plan.sweep.round}, {more})"


def _headings(units: Units) -> list[str]:
    return [units.memory if heading == FIXED.memory else heading for heading in HEADINGS]


def _cells(
    program_id: str, packs: list[Pack], plan: Plan, n_workers: int, n_chips: int, units: Units
) -> list[str]:
    record, steps = plan.sweep.record, plan.sweep.steps
    first = packs[0]
    n_runs = sum(len(pack.runs) for pack in packs)
    flops = sum(prices(lambda pack: pack.flops(record, steps), packs))
    return [
        program_id,
        first.program.title,
        str(n_runs),
        str(len(packs)),
        str(first.width),
        first.schedule,
        f"{first.program.sizes.n_params:,}",
        units.of_work(flops / n_runs / 1e9),
        units.of_memory(first.device_bytes(record)),
        units.of_time(_seconds(packs, plan, n_workers, n_chips)),
        f"{100 * _probe_share(packs, plan):.0f} %",
        units.of_disk(_disk_bytes(packs, plan)),
    ]


def _seconds(packs: Iterable[Pack], plan: Plan, n_workers: int, n_chips: int) -> float:
    """Time of packs shared by workers, the first compilation included; a guide, no promise."""
    asked = (plan.sweep.record, plan.sweep.steps, plan.platform, n_chips)
    left = list(filter(plan.is_unfinished, packs))
    programs = {pack.program.id for pack in left}
    training = sum(prices(lambda pack: pack.seconds(*asked), left)) / n_workers
    return training + len(programs) * SPEEDS[plan.platform].compile_s


def _probe_share(packs: Sequence[Pack], plan: Plan) -> float:
    """Share of the probes in the time of the packs' missing steps, compilation apart."""
    asked = (plan.sweep.record, plan.sweep.steps, plan.platform)
    total = sum(prices(lambda pack: pack.seconds(*asked), packs))
    probes = sum(prices(lambda pack: pack.probe_seconds(*asked), packs))
    return probes / total if total else 0.0


def _disk_bytes(packs: Iterable[Pack], plan: Plan) -> float:
    record, steps = plan.sweep.record, plan.sweep.steps
    return sum(prices(lambda pack: pack.disk_bytes(record, steps), packs))


def _measured_bytes(pack: Pack, plan: Plan) -> float:
    """XLA's count of what the compiled chunk holds at once: arguments, results, temporaries."""
    from tfc_jax import slices
    from tfc_jax.task import Task
    from tfc_jax.worker import prepare

    engine, _ = prepare(Task.of(pack, plan.sweep, out=""))
    return slices.fitting(engine).memory_bytes()
