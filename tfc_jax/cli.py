"""The `tfc` command: flags in, calls, tables out. Commands import only what they need."""

import json
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfc_jax.console import (
    INTERRUPTED,
    SOME_FAILED,
    interruptible,
    print_table,
    refuse,
    reports_errors,
)

if TYPE_CHECKING:
    from tfc_jax.config import Sweep
    from tfc_jax.launch import Options

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train hundreds of small networks as one program, and see inside every layer.",
)
data_app = typer.Typer(no_args_is_help=True, help="Data sets: prepare them once.")
app.add_typer(data_app, name="data")


class Schedule(StrEnum):
    """How a pack's lanes are stepped."""

    lockstep = "lockstep"
    mapped = "mapped"


class Executor(StrEnum):
    """Where workers run."""

    local = "local"


SweepPath = Annotated[Path, typer.Argument(help="Sweep file (YAML).", metavar="SWEEP")]
SweepPaths = Annotated[list[Path], typer.Argument(help="Sweep files (YAML).", metavar="SWEEP...")]
ResultsPath = Annotated[Path, typer.Argument(help="Results folder.", metavar="RESULTS")]
RunId = Annotated[str, typer.Argument(help="12 hex digits, see `tfc ls`.", metavar="RUN_ID")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key.")]
Filter = Annotated[
    str | None, typer.Option("--filter", help='Only runs where this holds: "depth > 5".')
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first N runs.")]
Out = Annotated[Path | None, typer.Option(help="Results folder; default results/<name>.")]
Width = Annotated[int | None, typer.Option(min=1, max=65536, help="Lanes of a new pack.")]
Scheduled = Annotated[Schedule | None, typer.Option(help="Schedule of new packs.")]
MaxMemory = Annotated[
    float | None, typer.Option(min=0.001, metavar="GIB", help="Device memory a pack may need.")
]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Processes; default one per device; 0: in this one.")
]
Deterministic = Annotated[bool, typer.Option("--deterministic", help="Bit-exact GPU kernels.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Also every event, as JSON.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only errors and the result.")]


@app.command()
@reports_errors
def init() -> None:
    """Print a commented sweep to start from: tfc init > my_sweep.yaml."""
    from importlib.resources import files

    typer.echo(files("tfc_jax").joinpath("sweep_template.yaml").read_text(), nl=False)


@app.command()
@reports_errors
def validate(sweeps: SweepPaths) -> None:
    """Check sweep files; says what is wrong, all at once."""
    for sweep in _load_all(sweeps, [], None, None):
        more = f", and at most {sweep.more:,} more by refine" if sweep.more else ""
        typer.echo(f"{sweep.path}: {len(sweep.runs)} runs of {sweep.steps} steps{more}")


@app.command()
@reports_errors
def schema() -> None:
    """Print the JSON Schema of a sweep, for editors."""
    from tfc_jax.config import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
@reports_errors
def plan(
    sweep: SweepPath,
    set_: Set = [],  # noqa: B006 - typer copies it
    filter_: Filter = None,
    limit: Limit = None,
    out: Out = None,
    pack_width: Width = None,
    schedule: Scheduled = None,
    max_memory: MaxMemory = None,
    workers: Workers = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Compile, and compare memory with XLA's own count.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what would run: programs, packs, memory, time, disk. Runs nothing."""
    from tfc_jax import choices, devices, estimate
    from tfc_jax.launch import plan_sweep

    loaded = _load_all([sweep], set_, filter_, limit)[0]
    options = _options(pack_width, schedule, max_memory, workers)
    folder, found = _folder(loaded, out), devices.find()
    planned = plan_sweep(loaded, folder, options, found)
    rows = estimate.program_rows(planned, workers or len(found.ids), measure=measure)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    print_table(list(rows[0]), [row.values() for row in rows])
    typer.echo(estimate.summary(planned, workers or len(found.ids)))
    typer.echo(choices.origin(folder, found.platform, options.choice))


@app.command()
@reports_errors
def run(
    sweeps: SweepPaths,
    set_: Set = [],  # noqa: B006 - typer copies it
    filter_: Filter = None,
    limit: Limit = None,
    out: Out = None,
    workers: Workers = None,
    pack_width: Width = None,
    schedule: Scheduled = None,
    max_memory: MaxMemory = None,
    deterministic: Deterministic = False,
    executor: Annotated[Executor, typer.Option(help="Where workers run.")] = Executor.local,
    commit_seconds: Annotated[
        float, typer.Option(min=0, help="How old results may grow before they are committed.")
    ] = 30.0,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast/--keep-going", help="Stop at the first failed pack.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete stored results first.")] = False,
    dry_run: Annotated[bool, typer.Option("-n", "--dry-run", help="Same as tfc plan.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train what is missing: resumes what is unfinished, skips what is done."""
    loaded = _load_all(sweeps, set_, filter_, limit)
    _check_one_folder(loaded, out)
    if dry_run:
        for path in sweeps:
            plan(path, set_, filter_, limit, out, pack_width, schedule, max_memory, workers)
        return
    given = {"set": set_, "filter": filter_, "limit": limit}
    options = replace(
        _options(pack_width, schedule, max_memory, workers),
        deterministic=deterministic,
        commit_seconds=commit_seconds,
        fail_fast=fail_fast,
        fresh=fresh,
        given=given,
    )
    _train([(sweep, _folder(sweep, out)) for sweep in loaded], options, quiet, verbose)


@app.command()
@reports_errors
def retry(results: ResultsPath, workers: Workers = None, quiet: Quiet = False) -> None:
    """Train failed packs again, from their last commit."""
    from tfc_jax.layout import Folder
    from tfc_jax.manifest import launched_sweep, read

    folder = Folder(results)
    sweep = launched_sweep(folder)
    manifest = read(folder)
    assert manifest is not None
    flags = manifest["flags"]
    options = replace(
        _options(workers=workers),
        retry=True,
        given={name: flags[name] for name in ("set", "filter", "limit")},
        **{name: flags[name] for name in ("max_memory", "deterministic")},
    )
    _train([(sweep, folder)], options, quiet)


@app.command()
@reports_errors
def status(
    results: ResultsPath,
    watch: Annotated[
        bool, typer.Option("--watch", help="Packs, throughput, curves; refreshed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how many runs are done, running, diverged, failed, pending; works from any machine."""
    from tfc_jax.layout import Folder
    from tfc_jax.status import read_status

    if watch:
        from rich.console import Console

        from tfc_jax import live

        live.watch(Folder(results), Console())
        return
    state = read_status(Folder(results))
    typer.echo(json.dumps(state.as_dict()) if as_json else state.as_text())


@app.command()
@reports_errors
def ls(
    results: ResultsPath, filter_: Filter = None, limit: Limit = None, as_json: AsJson = False
) -> None:
    """List runs: status, what distinguishes them, final values."""
    from tfc_jax.results import open_results
    from tfc_jax.show import list_runs

    frame = list_runs(open_results(results), filter_, limit)
    if as_json:
        typer.echo(frame.to_json(orient="records"))
        return
    print_table(list(frame.columns), frame.itertuples(index=False))


@app.command()
@reports_errors
def show(
    results: ResultsPath,
    run_id: Annotated[str | None, typer.Argument(help="12 hex digits.", metavar="RUN_ID")] = None,
    columns: Annotated[
        bool, typer.Option("--columns", help="Every column of every table: unit and meaning.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of one run, or (--columns) what the columns mean."""
    from tfc_jax.results import open_results
    from tfc_jax.show import describe_columns, describe_run

    opened = open_results(results)
    if columns:
        headings, rows = ["table", "column", "unit", "meaning"], describe_columns(opened)
    elif run_id is not None:
        headings, rows = ["column", "value"], describe_run(opened, run_id)
    else:
        refuse(f"RUN_ID: none came. `tfc ls {results}` lists them; --columns needs none.")
    if as_json:
        typer.echo(json.dumps([dict(zip(headings, row, strict=True)) for row in rows]))
        return
    print_table(headings, rows)


@app.command()
@reports_errors
def replay(results: ResultsPath, run_id: RunId) -> None:
    """Train one run again, alone, and compare with what is stored, bit by bit."""
    from tfc_jax import devices
    from tfc_jax.layout import Folder
    from tfc_jax.replay import replay as train_again

    outcome = train_again(Folder(results), run_id, devices.find())
    typer.echo(outcome.as_text(run_id))
    if outcome.differing:
        raise typer.Exit(SOME_FAILED)


@app.command()
@reports_errors
def report(
    results: ResultsPath, out: Annotated[Path | None, typer.Option(help="HTML file.")] = None
) -> None:
    """Write one self-contained HTML page about a results folder."""
    from analysis.own_claims import own_claims
    from analysis.report import results_page
    from tfc_jax.files import write_whole
    from tfc_jax.results import open_results

    opened = open_results(results)
    target = out or results / "report.html"
    claims, note = own_claims(opened) if len(opened.runs) else (None, "")
    page = results_page(opened, claims, [note])
    try:
        write_whole(target, page.encode())
    except OSError as error:
        refuse(f"{target}: cannot be written ({error.strerror}). Give another --out.")
    typer.echo(str(target))


@app.command()
@reports_errors
def doctor(as_json: AsJson = False) -> None:
    """Show versions, devices, data sets, disk: what is missing and how to get it."""
    from tfc_jax.doctor import collect

    rows = [(row.what, row.state, row.remedy) for row in collect()]
    headings = ["what", "state", "remedy"]
    if as_json:
        typer.echo(json.dumps([dict(zip(headings, row, strict=True)) for row in rows]))
        return
    print_table(headings, rows)


@app.command()
@reports_errors
def bench(
    sweeps: SweepPaths,
    schedules: Annotated[
        bool, typer.Option("--schedules", help="Compare schedules and pack widths; recommend.")
    ] = False,
    store: Annotated[
        bool, typer.Option("--store", help="Store what is recommended, for packs to come.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Time for each candidate, compilation apart.")
    ] = 3.0,
    set_: Set = [],  # noqa: B006 - typer copies it
    filter_: Filter = None,
    limit: Limit = None,
    out: Out = None,
    workers: Workers = None,
    pack_width: Width = None,
    schedule: Scheduled = None,
    max_memory: MaxMemory = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure how fast a sweep trains here, and how long it would take.

    Measures three programs at most: the smallest, middle and largest.
    Each candidate takes a compilation (about 10 s on a CPU) and --seconds.
    """
    from tfc_jax import devices
    from tfc_jax.bench import announcement, measure
    from tfc_jax.bench import prepare as prepare_bench
    from tfc_jax.bench import store as store_choice
    from tfc_jax.bench_report import HEADINGS, cells, conclusions, rows

    loaded = _load_all(sweeps, set_, filter_, limit)
    _check_one_folder(loaded, out)
    if store and not schedules:
        refuse("--store: nothing is compared without --schedules. Give both.")
    options, found = _options(pack_width, schedule, max_memory, workers), devices.find()
    benches = [
        (prepare_bench(sweep, folder, options, found, compare=schedules), folder)
        for sweep in loaded
        for folder in [_folder(sweep, out)]
    ]
    found_rows = []
    for prepared, folder in benches:
        say = partial(typer.echo, err=True) if not quiet else lambda line: None
        say(announcement(prepared, seconds))
        measured = measure(prepared, options, found, seconds, say)
        found_rows += rows(prepared, measured)
        if not as_json:
            print_table(HEADINGS, cells(prepared, measured))
            typer.echo("\n".join(conclusions(prepared, measured)))
        if store:
            n = store_choice(prepared, measured, folder)
            typer.echo(f"{folder.schedules}: stored for {n} programs", err=as_json)
    if as_json:
        typer.echo(json.dumps(found_rows))


@data_app.command()
@reports_errors
def prepare(
    name: Annotated[str, typer.Argument(help="As in a sweep: mnist, cifar100, tfds:kmnist, ...")],
) -> None:
    """Download and prepare a data set, once; needs the network and TensorFlow (extra `data`)."""
    from tfc_jax import data

    data.prepare(name)
    typer.echo(f"{name}: ready")


def _train(
    sweeps: "list[tuple[Sweep, Any]]", options: "Options", quiet: bool, verbose: bool = False
) -> None:
    """Plans all sweeps before the first one trains, so that bad input is refused at once.

    A launch begins with its own plan, so a single sweep is not planned here.
    """
    from rich.console import Console

    from tfc_jax import choices, devices
    from tfc_jax.launch import launch, plan_sweep, prepare_process
    from tfc_jax.progress import Display

    found = devices.find()
    prepare_process(options, found)
    for sweep, folder in sweeps if len(sweeps) > 1 else []:
        plan_sweep(sweep, folder, options, found)
    code = 0
    with interruptible() as interrupt:
        for sweep, folder in sweeps:
            if folder.schedules.exists() and not options.fresh and not quiet:
                typer.echo(choices.origin(folder, found.platform, options.choice), err=True)
            with Display(Console(stderr=True), quiet, verbose) as display:
                counts = launch(sweep, folder, options, found, display, interrupt)
            known = ("done", "diverged", "running", "failed", "pending")
            summary = ", ".join(f"{counts[name]} {name}" for name in known if counts[name])
            typer.echo(f"{folder.root}: {summary}")
            if counts["failed"]:
                code = SOME_FAILED
                typer.echo(
                    f"{folder.root}/workers.log says more. Try the failed packs again with: "
                    f"tfc retry {folder.root}",
                    err=True,
                )
            if interrupt.level:
                stopped_by_failure = options.fail_fast and counts["failed"]
                raise typer.Exit(SOME_FAILED if stopped_by_failure else INTERRUPTED)
    raise typer.Exit(code)


def _load_all(
    paths: list[Path], overrides: list[str], where: str | None, limit: int | None
) -> "list[Sweep]":
    """Loads every sweep; the errors of all of them together."""
    from tfc_jax.config import load_sweep
    from tfc_jax.errors import InputError

    sweeps: list[Sweep] = []
    errors: list[str] = []
    for path in paths:
        try:
            sweeps.append(load_sweep(path, overrides=overrides, where=where, limit=limit))
        except InputError as error:
            errors += error.messages
    if errors:
        raise InputError(errors)
    return sweeps


def _check_one_folder(sweeps: "list[Sweep]", out: Path | None) -> None:
    if out is not None and len(sweeps) > 1:
        refuse("--out: one folder came for several sweeps. Run them one by one, or leave it out.")


def _options(
    pack_width: int | None = None,
    schedule: Schedule | None = None,
    max_memory: float | None = None,
    workers: int | None = None,
) -> "Options":
    from tfc_jax.launch import Options

    return Options(
        workers=workers,
        pack_width=pack_width,
        schedule=schedule.value if schedule else None,
        max_memory=max_memory * 2**30 if max_memory else None,
    )


def _folder(sweep: "Sweep", out: Path | None) -> Any:
    from tfc_jax.layout import Folder

    return Folder(out if out is not None else Path("results") / sweep.name)


def main() -> None:
    """Entry point of the `tfc` command."""
    app()


if __name__ == "__main__":
    main()
