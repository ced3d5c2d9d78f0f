"""The flags that commands share, and what is made of them."""

import shlex
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfc_jax.console import refuse
from tfc_jax.errors import InputError
from tfc_jax.flag_values import MOST, number, one_of, whole
from tfc_jax.objects.place import is_url, place_at

if TYPE_CHECKING:
    from tfc_jax.config import Sweep
    from tfc_jax.layout import Folder
    from tfc_jax.options import Options


class Schedule(StrEnum):
    """How a pack's lanes are stepped."""

    lockstep = "lockstep"
    mapped = "mapped"


class Executor(StrEnum):
    """Where workers run."""

    local = "local"
    ray = "ray"
    slurm = "slurm"


MOST_WORKERS, MOST_MINUTES = 1024, 10**6


def usable(path: Path | None) -> Path | None:
    """Refuses a path that the system cannot even look for, such as one that is too long."""
    try:
        if path is not None:
            path.exists()
    except (OSError, ValueError) as error:
        raise typer.BadParameter(
            f"{getattr(error, 'strerror', error)}. Give another path."
        ) from None
    return path


def some_path(text: str) -> Path:
    """Refuses an empty path, which would stand for the current folder: a variable is not set."""
    if not str(text):
        raise typer.BadParameter("nothing came. Give a path, or . for the current folder.")
    return Path(text)


def some_results(text: str) -> Path:
    """Takes a path, or the URL of results in an object store, for which its local copies stand."""
    try:
        return place_at(text).seen if is_url(text) else some_path(text)
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


SweepPath = Annotated[Path, typer.Argument(help="Sweep file (YAML).", metavar="SWEEP")]
SweepPaths = Annotated[list[Path], typer.Argument(help="Sweep files (YAML).", metavar="SWEEP...")]
ResultsPath = Annotated[
    Path,
    typer.Argument(
        parser=some_results,
        callback=usable,
        help="Results folder, or s3://bucket/prefix.",
        metavar="RESULTS",
    ),
]
FolderPath = Annotated[
    Path,
    typer.Argument(parser=some_results, callback=usable, help="Results folder.", metavar="RESULTS"),
]
RUN_ID_HELP = (
    "12 hex digits, see `tfc ls`; or the first of them, as long as no two runs share them."
)
RunId = Annotated[str, typer.Argument(help=RUN_ID_HELP, metavar="RUN_ID")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key.")]
Filter = Annotated[
    str | None, typer.Option("--filter", help='Only runs where this holds: "depth > 5".')
]
Limit = Annotated[
    int | None, typer.Option(parser=whole(1), metavar="N", help="Only the first N runs.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        parser=some_results,
        callback=usable,
        metavar="PATH",
        help="Results folder, or s3://bucket/prefix; default results/<name>.",
    ),
]
Width = Annotated[
    int | None,
    typer.Option(parser=whole(1, 65_536), metavar="N", help="Lanes of a new pack."),
]
Scheduled = Annotated[
    Schedule | None,
    typer.Option(parser=one_of(Schedule), metavar="NAME", help="Of new packs: lockstep or mapped."),
]
MaxMemory = Annotated[
    float | None,
    typer.Option(parser=number(0.001, MOST), metavar="GIB", help="Device memory a pack may need."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        parser=whole(0, MOST_WORKERS),
        metavar="N",
        help="Processes; default one per device; 0: in this one.",
    ),
]
CompileMinutes = Annotated[
    float | None,
    typer.Option(
        parser=number(0, MOST_MINUTES),
        metavar="MINUTES",
        help="How long a worker may compile before it counts as hung; default 30; 0: for ever.",
    ),
]
Executed = Annotated[
    Executor,
    typer.Option(
        parser=one_of(Executor), metavar="NAME", help="Where workers run: local, ray or slurm."
    ),
]
ExecutedAgain = Annotated[
    Executor | None,
    typer.Option(
        parser=one_of(Executor),
        metavar="NAME",
        help="Where workers run: local, ray or slurm; default as in the last launch.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Ray cluster to join, as seen from a machine of it; default RAY_ADDRESS, else a new "
        "one on this machine.",
    ),
]
ConnectSeconds = Annotated[
    float | None,
    typer.Option(
        parser=number(0.1, 3600),
        metavar="SECONDS",
        help="How long a Ray cluster may take to answer; default 10.",
    ),
]
Slurm = Annotated[
    list[str],
    typer.Option(
        "--slurm", metavar="KEY=VALUE", help="What sbatch is asked for: partition, time, gres, ..."
    ),
]
Deterministic = Annotated[bool, typer.Option("--deterministic", help="Bit-exact GPU kernels.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Also every event, as JSON.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only errors and the result.")]


def load_all(
    paths: list[Path], overrides: list[str], where: str | None, limit: int | None
) -> "list[Sweep]":
    """Loads every sweep; the errors of all of them together."""
    from tfc_jax.config import load_sweep
    from tfc_jax.errors import together

    return together(
        lambda path: load_sweep(path, overrides=overrides, where=where, limit=limit), paths
    )


def options_of(
    pack_width: int | None = None,
    schedule: Schedule | None = None,
    max_memory: float | None = None,
    workers: int | None = None,
) -> "Options":
    """Returns how to run; memory is given in GiB."""
    from tfc_jax.options import Options

    return Options(
        workers=workers,
        pack_width=pack_width,
        schedule=schedule.value if schedule else None,
        max_memory=max_memory * 2**30 if max_memory else None,
    )


def executed(
    options: "Options",
    executor: Executor,
    compile_minutes: float | None,
    address: str | None,
    connect_seconds: float | None,
    slurm: list[str],
) -> "Options":
    """Returns how to run, completed by what says where; refuses flags of other executors."""
    from tfc_jax.options import COMPILE_MINUTES, CONNECT_SECONDS

    if compile_minutes is not None and (options.workers == 0 or executor != Executor.local):
        where = "--workers 0" if options.workers == 0 else f"--executor {executor}"
        refuse(
            f"--compile-minutes: it has no effect with {where}, where nobody watches. Leave one of "
            f"them out."
        )
    for flag, is_given, owner in (
        ("--address", address is not None, Executor.ray),
        ("--connect-seconds", connect_seconds is not None, Executor.ray),
        ("--slurm", bool(slurm), Executor.slurm),
    ):
        if is_given and executor != owner:
            refuse(f"{flag}: it has no effect without --executor {owner}. Give both, or neither.")
    return replace(
        options,
        executor=executor.value,
        compile_minutes=COMPILE_MINUTES if compile_minutes is None else compile_minutes,
        address=address,
        connect_seconds=CONNECT_SECONDS if connect_seconds is None else connect_seconds,
        slurm=_pairs("--slurm", slurm),
    )


def last_executor(folder: "Folder", address: str | None, slurm: list[str]) -> Executor:
    """Returns where the last launch trained; refuses to go on without what it was given for that.

    That is not taken from the results: a stranger's would choose the cluster on which code runs.
    """
    from tfc_jax import manifest
    from tfc_jax.contents import check_contents
    from tfc_jax.options import FROM_ENVIRONMENT, joined

    check_contents(folder.root)
    stored = manifest.read(folder)
    flags = stored["flags"] if stored else {}
    last, settings = Executor(flags.get("executor", Executor.local)), flags.get("slurm", {})
    words = ["--executor", last.value]
    if last == Executor.ray and flags.get("address") and not joined(address):
        words += ["--address", flags["address"]]
    if last == Executor.slurm and settings and not slurm:
        words += [word for name, value in settings.items() for word in _as_given(name, value)]
    if FROM_ENVIRONMENT in words:
        refuse(
            f"{folder.root}: its last launch joined the Ray cluster of the variable RAY_ADDRESS. "
            f"Set that again, or give --address HOST:PORT or --executor local."
        )
    if len(words) > 2:
        refuse(
            f"{folder.root}: its last launch had {shlex.join(words)}. Give that again, or "
            f"--executor local."
        )
    return last


def _as_given(name: str, value: str) -> tuple[str, str]:
    return "--slurm", f"{name}={value}"


def _pairs(flag: str, given: list[str]) -> dict[str, str]:
    pairs = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            refuse(f"{flag} {text}: not of the form key=value, such as partition=gpu.")
        pairs[key] = value
    return pairs


def with_folders(sweeps: "list[Sweep]", out: Path | None) -> "list[tuple[Sweep, Folder]]":
    """Returns every sweep with its results folder."""
    from tfc_jax.layout import Folder
    from tfc_jax.objects.reading import bring_documents

    if out is not None and len(sweeps) > 1:
        refuse("--out: one folder came for several sweeps. Run them one by one, or leave it out.")
    folders = [Folder(out or Path("results") / sweep.name) for sweep in sweeps]
    for folder in folders:
        _check_place(folder.root)
        bring_documents(folder.root)
    return list(zip(sweeps, folders, strict=True))


def _check_place(root: Path) -> None:
    """Refuses a file, and a place inside of one, where a folder of results is to be."""
    place = root
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        refuse(f"--out: {place} is no folder. Results are a folder: give another --out.")
