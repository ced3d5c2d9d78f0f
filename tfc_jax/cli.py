"""The `tfc` command: flags in, calls, tables out. Commands import only what they need."""

import json
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tfc_jax import process, signals
from tfc_jax.console import (
    SOME_FAILED,
    Commands,
    echo,
    echo_json,
    echo_records,
    print_long_table,
    print_table,
    refuse,
    reports_errors,
    tell_warnings,
)
from tfc_jax.flag_values import number
from tfc_jax.flags import (
    RUN_ID_HELP,
    Address,
    AsJson,
    CompileMinutes,
    ConnectSeconds,
    Deterministic,
    Executed,
    ExecutedAgain,
    Executor,
    Filter,
    FolderPath,
    Limit,
    MaxMemory,
    Out,
    Quiet,
    ResultsPath,
    RunId,
    Scheduled,
    Set,
    Slurm,
    SweepPath,
    SweepPaths,
    Verbose,
    Width,
    Workers,
    executed,
    last_executor,
    load_all,
    options_of,
    some_path,
    usable,
    with_folders,
)
from tfc_jax.untrusted import reading

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train hundreds of small networks as one program, and see inside every layer.",
)
data_app = typer.Typer(cls=Commands, no_args_is_help=True, help="Data sets: prepare them once.")
app.add_typer(data_app, name="data")


@reports_errors
def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        echo(f"tfc_jax {version('tfc_jax')}")
        raise typer.Exit


@app.callback()
def _flags_of_tfc(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """What `tfc` takes before a command."""


@app.command()
@reports_errors
def init() -> None:
    """Print a commented sweep to start from: tfc init > my_sweep.yaml."""
    from importlib.resources import files

    echo(files("tfc_jax").joinpath("sweep_template.yaml").read_text().removesuffix("\n"))


@app.command()
@reports_errors
def validate(sweeps: SweepPaths) -> None:
    """Check sweep files; says what is wrong, all at once."""
    for sweep in load_all(sweeps, [], None, None):
        more = f", and at most {sweep.more:,} more by refine" if sweep.more else ""
        echo(f"{sweep.path}: {sweep.size_text}{more}")


@app.command()
@reports_errors
def schema() -> None:
    """Print the JSON Schema of a sweep, for editors."""
    from tfc_jax.config import json_schema

    echo_json(json.dumps(json_schema(), indent=2))


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
    loaded = with_folders(load_all([sweep], set_, filter_, limit), out)
    options = options_of(pack_width, schedule, max_memory, workers)
    from tfc_jax.commands import show_plans

    show_plans(loaded, options, measure=measure, as_json=as_json)


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
    executor: Executed = Executor.local,
    address: Address = None,
    connect_seconds: ConnectSeconds = None,
    slurm: Slurm = [],  # noqa: B006
    commit_seconds: Annotated[
        float,
        typer.Option(
            parser=number(0, 86_400),
            metavar="SECONDS",
            help="How old results may grow before they are committed.",
        ),
    ] = 30.0,
    compile_minutes: CompileMinutes = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast/--keep-going", help="Stop at the first failed pack.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete stored results first.")] = False,
    dry_run: Annotated[bool, typer.Option("-n", "--dry-run", help="Same as tfc plan.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train what is missing: resumes what is unfinished, skips what is done."""
    loaded = with_folders(load_all(sweeps, set_, filter_, limit), out)
    options = options_of(pack_width, schedule, max_memory, workers)
    options = executed(options, executor, compile_minutes, address, connect_seconds, slurm)
    from tfc_jax.commands import show_plans, train

    if dry_run:
        show_plans(loaded, options, measure=False, as_json=False)
        return
    options = replace(
        options,
        deterministic=deterministic,
        commit_seconds=commit_seconds,
        fail_fast=fail_fast,
        fresh=fresh,
        given={"set": set_, "filter": filter_, "limit": limit},
    )
    train(loaded, options, quiet=quiet, verbose=verbose)


@app.command()
@reports_errors
def retry(
    results: ResultsPath,
    workers: Workers = None,
    compile_minutes: CompileMinutes = None,
    executor: ExecutedAgain = None,
    address: Address = None,
    connect_seconds: ConnectSeconds = None,
    slurm: Slurm = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """Train failed packs again, from their last commit."""
    from tfc_jax.layout import Folder
    from tfc_jax.objects.reading import bring_documents

    bring_documents(results)
    options = options_of(workers=workers)
    where = executor or last_executor(Folder(results), address, slurm)
    options = executed(options, where, compile_minutes, address, connect_seconds, slurm)
    from tfc_jax.commands import train_again

    train_again(results, options, quiet=quiet)


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
    from tfc_jax.objects.reading import without_data
    from tfc_jax.status import read_status

    results = without_data(results)
    if watch:
        from tfc_jax import live
        from tfc_jax.terminal import Terminal

        with reading(results):
            live.watch(Folder(results), Terminal())
        return
    with reading(results):
        state = read_status(Folder(results))
    if as_json:
        echo_json(json.dumps(state.as_dict()))
    else:
        echo(state.as_text())


@app.command()
@reports_errors
def ls(
    results: ResultsPath, filter_: Filter = None, limit: Limit = None, as_json: AsJson = False
) -> None:
    """List runs: status, what distinguishes them, final values."""
    from tfc_jax.results import open_results
    from tfc_jax.show import frames, list_runs, rows_of

    with reading(results):
        listed = list_runs(open_results(results), filter_, limit)
    if as_json:
        echo_records(frame.to_json(orient="records") for frame in frames(listed))
        return
    print_long_table(listed.column_names, partial(rows_of, listed), len(listed))


@app.command()
@reports_errors
def show(
    results: ResultsPath,
    run_id: Annotated[str | None, typer.Argument(help=RUN_ID_HELP, metavar="RUN_ID")] = None,
    columns: Annotated[
        bool, typer.Option("--columns", help="Every column of every table: unit and meaning.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of one run, or (--columns) what the columns mean."""
    from tfc_jax.results import open_results
    from tfc_jax.show import describe_columns, describe_run

    with reading(results):
        opened = open_results(results)
        if columns:
            headings, rows = ["table", "column", "unit", "meaning"], list(describe_columns(opened))
        elif run_id is not None:
            headings, rows = ["column", "value"], list(describe_run(opened, run_id))
        else:
            refuse(f"RUN_ID: none came. `tfc ls {results}` lists them; --columns needs none.")
    if as_json:
        echo_json(json.dumps([dict(zip(headings, row, strict=True)) for row in rows]))
        return
    print_table(headings, rows)


@app.command()
@reports_errors
def replay(results: ResultsPath, run_id: RunId) -> None:
    """Train one run again, alone, and compare with what is stored, bit by bit."""
    from tfc_jax import devices
    from tfc_jax.layout import Folder
    from tfc_jax.objects.reading import bring_documents
    from tfc_jax.replay import replay as train_again

    bring_documents(results)
    with signals.raised():
        outcome = train_again(Folder(results), run_id, devices.find())
    echo(outcome.as_text(outcome.run_id))
    if outcome.differing:
        raise typer.Exit(SOME_FAILED)


@app.command()
@reports_errors
def report(
    results: ResultsPath,
    out: Annotated[
        Path | None,
        typer.Option(parser=some_path, callback=usable, metavar="PATH", help="HTML file."),
    ] = None,
) -> None:
    """Write one self-contained HTML page about a results folder."""
    from analysis.own_claims import own_claims
    from analysis.report import results_page
    from tfc_jax.files import write_whole
    from tfc_jax.objects.reading import refuse_place
    from tfc_jax.results import open_results

    if out is None:
        refuse_place(results, "give --out FILE.html: a report is written to a disk.")
    target = out or results / "report.html"
    if target.is_dir():
        refuse(f"--out: {target} is a folder. Give the name of an HTML file.")
    with reading(results):
        opened = open_results(results)
        claims, note = own_claims(opened) if len(opened.runs) else (None, "")
        page = results_page(opened, claims, [note])
    try:
        write_whole(target, page.encode())
    except OSError as error:
        refuse(f"{target}: cannot be written ({error.strerror}). Give another --out.")
    echo(str(target))


@app.command()
@reports_errors
def fsck(results: ResultsPath, as_json: AsJson = False) -> None:
    """Verify results, logs and report apart: hashes, checksums, rows. Exit code 1: some damage."""
    from tfc_jax.commands import verify

    verify(results, as_json=as_json)


@app.command()
@reports_errors
def compact(
    results: FolderPath,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Wait until no launch is at work; readers are never in its way."
        ),
    ] = False,
) -> None:
    """Merge each pack's data files into one or two per table. Refused while a launch is at work."""
    from tfc_jax.commands import merge_parts

    merge_parts(results, waits=wait)


@app.command()
@reports_errors
def doctor(as_json: AsJson = False) -> None:
    """Show versions, devices, data sets, disk: what is missing and how to get it."""
    from tfc_jax.doctor import collect

    rows = [(row.what, row.state, row.remedy) for row in collect()]
    headings = ["what", "state", "remedy"]
    if as_json:
        echo_json(json.dumps([dict(zip(headings, row, strict=True)) for row in rows]))
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
        float,
        typer.Option(
            "--seconds",  # else typer 0.27 takes the metavar for the name
            parser=number(0.1, 3600),
            metavar="SECONDS",
            help="Time for each candidate, compilation apart.",
        ),
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
    if store and not schedules:
        refuse("--store: nothing is compared without --schedules. Give both.")
    loaded = with_folders(load_all(sweeps, set_, filter_, limit), out)
    options = options_of(pack_width, schedule, max_memory, workers)
    from tfc_jax.commands import compare
    from tfc_jax.objects.reading import refuse_place

    for _, folder in loaded:
        refuse_place(folder.root, "tfc bench stores into folders alone. Leave out --out.")
    with signals.raised():
        compare(
            loaded, options, seconds, schedules=schedules, store=store, as_json=as_json, quiet=quiet
        )


@data_app.command()
@reports_errors
def prepare(
    name: Annotated[str, typer.Argument(help="As in a sweep: mnist, cifar100, tfds:kmnist, ...")],
) -> None:
    """Download and prepare a data set, once; needs the network and TensorFlow (extra `data`)."""
    from tfc_jax import data

    with signals.raised():  # TensorFlow runs beside
        data.prepare(name)
    echo(f"{name}: ready")


def main() -> None:
    """Runs the command that the arguments of the process name."""
    tell_warnings()
    with process.of_a_command():
        try:
            app()
        except Exception:  # a fault of ours; what it quotes is shown as safely as everything else
            echo(traceback.format_exc(), err=True)
            raise SystemExit(1) from None


if __name__ == "__main__":
    main()
