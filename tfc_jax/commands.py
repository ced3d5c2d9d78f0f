"""What the longer commands do with their sweeps and options, and what they print."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import typer

from tfc_jax import (
    bench,
    bench_report,
    choices,
    devices,
    effects,
    estimate,
    fsck,
    manifest,
    memory,
    space,
)
from tfc_jax.compact import compact
from tfc_jax.config import Sweep
from tfc_jax.console import (
    SOME_FAILED,
    echo,
    echo_json,
    interruptible,
    print_table,
    tell,
)
from tfc_jax.errors import together
from tfc_jax.event_log import OnEvent
from tfc_jax.execution import Executor, opened
from tfc_jax.executors.local import Interrupt
from tfc_jax.launch import launch, plan_sweep
from tfc_jax.layout import Folder
from tfc_jax.objects.launching import launch_at
from tfc_jax.objects.place import place_of
from tfc_jax.objects.reading import refuse_place, whole
from tfc_jax.options import Options
from tfc_jax.plan import Plan
from tfc_jax.progress import Display
from tfc_jax.signals import INTERRUPTED
from tfc_jax.stored_runs import STATUSES
from tfc_jax.terminal import lasting_terminal
from tfc_jax.wording import counted


def show_plans(
    sweeps: Sequence[tuple[Sweep, Folder]], options: Options, *, measure: bool, as_json: bool
) -> None:
    """Prints what would run, and where the schedule and width of new packs come from."""
    found = _devices(options)
    plans = together(lambda one: plan_sweep(*one, options, found), sweeps)
    for planned, (_, folder) in zip(plans, sweeps, strict=True):
        _show_plan(planned, folder, options, found, measure=measure, as_json=as_json)


def _devices(options: Options) -> devices.Devices:
    """Asks the executor only if it has others than this machine."""
    if options.executor == "local":
        return devices.find()
    with opened(options) as executor:
        return executor.found


def _show_plan(
    planned: Plan,
    folder: Folder,
    options: Options,
    found: devices.Devices,
    *,
    measure: bool,
    as_json: bool,
) -> None:
    n_workers = options.workers or len(found.ids)
    units = estimate.FIXED if as_json else estimate.READABLE
    rows = estimate.program_rows(
        planned, n_workers, measure=measure, units=units, n_chips=found.n_chips
    )
    for note in effects.notes(planned):
        echo(note, err=as_json)
    if as_json:
        echo_json(json.dumps(rows))
        return
    print_table(list(rows[0]), [row.values() for row in rows])
    echo(estimate.summary(planned, n_workers, found.n_chips, is_limit=found.is_limit))
    if place_of(folder.root) is None:
        echo(space.as_text(planned, folder))
    for line in memory.warnings(planned, memory.of_device(found)):
        echo(line)
    if any(pack.steps_done == 0 for pack in planned.unfinished):
        echo(choices.origin(folder, found.platform, options.choice))
    elif options.choice != choices.Choice():
        echo("No new packs: those that have started keep their schedule and width.")


def train(
    sweeps: Sequence[tuple[Sweep, Folder]], options: Options, *, quiet: bool, verbose: bool = False
) -> None:
    """Trains what is missing of every sweep, then ends with the exit code.

    All sweeps are planned before the first one trains, so that bad input is refused at once. A
    launch begins with its own plan, so a single sweep is not planned here.
    """
    with opened(options) as executor:
        if len(sweeps) > 1:
            together(lambda one: plan_sweep(*one, options, executor.found), sweeps)
        code = _train_each(sweeps, options, executor, quiet=quiet, verbose=verbose)
    raise typer.Exit(code)


def _train_each(
    sweeps: Sequence[tuple[Sweep, Folder]],
    options: Options,
    executor: Executor,
    *,
    quiet: bool,
    verbose: bool,
) -> int:
    """Returns the exit code."""
    found, code = executor.found, 0
    with interruptible() as interrupt:
        for sweep, folder in sweeps:
            if folder.schedules.exists() and not options.fresh and not quiet:
                tell(choices.origin(folder, found.platform, options.choice), err=True)
            with Display(lasting_terminal(), quiet, verbose) as display:
                counts = _launch(sweep, folder, options, executor, display, interrupt)
            code = max(code, _told(counts, folder))
            if _is_unfinished(counts):  # a full disk cannot say so in rows
                code = SOME_FAILED
            if options.fail_fast and counts["failed"]:
                return SOME_FAILED
            if interrupt.level and (_is_unfinished(counts) or folder != sweeps[-1][1]):
                return INTERRUPTED
    return code


def _launch(
    sweep: Sweep,
    folder: Folder,
    options: Options,
    executor: Executor,
    on_event: OnEvent,
    interrupt: Interrupt,
) -> Counter[str]:
    place = place_of(folder.root)
    if place is None:
        return launch(sweep, folder, options, executor.found, on_event, interrupt, executor)
    say = partial(tell, err=True)
    return launch_at(place, sweep, options, executor, on_event, interrupt, say)


def _is_unfinished(counts: Counter[str]) -> bool:
    return bool(counts["running"] + counts["pending"])


def _told(counts: Counter[str], folder: Folder) -> int:
    """Prints how many runs have which status; returns the exit code that follows from it."""
    names = {"running": "interrupted (tfc run goes on)"}  # a launch that ended leaves none running
    summary = ", ".join(
        f"{counts[name]} {names.get(name, name)}" for name in STATUSES if counts[name]
    )
    tell(f"{folder.root}: {summary}")
    if not counts["failed"]:
        return 0
    tell(
        f"{folder.root}/workers.log says more. Try the failed packs again with: "
        f"tfc retry {folder.root}",
        err=True,
    )
    return SOME_FAILED


def train_again(results: Path, options: Options, *, quiet: bool) -> None:
    """Trains what failed, with the sweep and the flags of the last launch.

    Args:
      options: where, and in how many processes.
    """
    folder = Folder(results)
    sweep = manifest.launched_sweep(folder)
    stored = manifest.read(folder)
    assert stored is not None
    flags = stored["flags"]
    options = replace(
        options,
        retry=True,
        max_memory=flags["max_memory"],
        deterministic=flags["deterministic"],
        given={name: flags[name] for name in ("set", "filter", "limit")},
    )
    train([(sweep, folder)], options, quiet=quiet)


def verify(results: Path, *, as_json: bool) -> None:
    """Prints what is wrong with the files of a results folder; ends with the exit code."""
    with whole(results) as root:
        folder = Folder(root)
        report = fsck.check(folder)
    rows = [(str(one.path), one.what, one.remedy, one.is_damage) for one in report.findings]
    if as_json:
        names = ("path", "what", "remedy", "damage")
        echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows]))
    else:
        for one in report.findings:
            echo(str(one))
        echo(report.summary(folder))
    raise typer.Exit(SOME_FAILED if report.damage else 0)


def merge_parts(results: Path, *, waits: bool) -> None:
    """Merges data files, and says how many there are now."""
    refuse_place(results, "objects are not merged. Readers of object stores read them as they are.")
    folder = Folder(results)
    manifest.launched_sweep(folder)
    before, now = compact(folder, partial(tell, err=True), waits=waits)
    echo(f"{results}: {counted(before, 'data file')} before, {now:,} now")


def compare(
    sweeps: Sequence[tuple[Sweep, Folder]],
    options: Options,
    seconds: float,
    *,
    schedules: bool,
    store: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measures how fast sweeps train here, prints what follows, and stores it if asked to.

    Args:
      seconds: for each candidate, compilation apart.
      schedules: other schedules and widths are measured too.
    """
    found = devices.find()
    prepared = together(
        lambda one: (bench.prepare(*one, options, found, compare=schedules), one[1]), sweeps
    )
    rows = []
    for one, folder in prepared:
        say = partial(echo, err=True) if not quiet else lambda line: None
        say(bench.announcement(one, seconds))
        measured = bench.measure(one, options, found, seconds, say)
        rows += bench_report.rows(one, measured)
        if not as_json:
            print_table(bench_report.HEADINGS, bench_report.cells(one, measured))
            echo("\n".join(bench_report.conclusions(one, measured)))
        if store:
            n = bench.store(one, measured, folder)
            echo(f"{folder.schedules}: stored for {counted(n, 'program')}", err=as_json)
    if as_json:
        echo_json(json.dumps(rows))
