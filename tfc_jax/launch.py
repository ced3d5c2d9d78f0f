"""Sweep -> results: plans what is missing, starts an executor, keeps the log."""

import fcntl
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from tfc_jax import choices, manifest, plan, rounds, store
from tfc_jax.choices import Choice, Choices
from tfc_jax.config import Sweep
from tfc_jax.devices import Devices
from tfc_jax.errors import InputError
from tfc_jax.executors import inline, local
from tfc_jax.executors.local import Interrupt
from tfc_jax.files import Mark, make_folder, mark
from tfc_jax.keys import KEYS, Run
from tfc_jax.keytypes import Key
from tfc_jax.layout import Folder
from tfc_jax.pack import prices
from tfc_jax.plan import Plan, StartedPack
from tfc_jax.results import Results
from tfc_jax.task import COMMIT_SECONDS, Task
from tfc_jax.timetable import Schedule
from tfc_jax.wording import counted

OnEvent = Callable[[dict[str, Any]], None]
STEP_LOG_SECONDS = 5.0
ORPHAN_SECONDS = 30.0
# Columns of the runs table that are the same for all runs of a pack.
_OF_PACKS = ("pack", "pack_width", "schedule", "steps_done", "status", "dataset_sha256")


@dataclass(frozen=True)
class Options:
    """How to run a sweep. Of these only schedule, pack_width and deterministic touch any number.

    Attributes:
      workers: processes; 0 trains in this process, None means one per device.
      pack_width, schedule: of packs not started yet, now and later; None means what is stored in
        the results folder, else the default of the platform.
      max_memory: bytes per device that a pack may need; None means the platform's budget.
      deterministic: bit-exact kernels on GPUs, slower.
      fail_fast: stop at the first failed pack.
      fresh: delete stored results first.
      retry: also take packs that failed before.
      commit_seconds: how old results may grow before they are committed.
      given: what the user gave to select runs: `set`, `filter`, `limit`; stored in the manifest.
    """

    workers: int | None = None
    pack_width: int | None = None
    schedule: Schedule | None = None
    max_memory: float | None = None
    deterministic: bool = False
    fail_fast: bool = False
    fresh: bool = False
    retry: bool = False
    commit_seconds: float = COMMIT_SECONDS
    given: Mapping[str, Any] | None = None

    @property
    def choice(self) -> Choice:
        """What the flags say of new packs."""
        return Choice(self.schedule, self.pack_width)


def prepare_process(options: Options, found: Devices) -> None:
    """Gives this process a worker's environment if it is to train; before JAX is imported."""
    if options.workers == 0:
        device = local.worker_environment(found.platform, found.ids[0])
        for name, value in (device | worker_settings(options)).items():
            os.environ.setdefault(name, value)


def plan_sweep(sweep: Sweep, folder: Folder, options: Options, found: Devices) -> Plan:
    """Returns what a launch would do now; reads the runs table, writes nothing.

    Raises:
      InputError: the sweep does not fit its data, the memory, or the results that are stored.
    """
    if options.fresh:
        _check_ours(folder)
    else:
        manifest.check_record(folder, sweep.record)
    planned = plan.make_plan(
        sweep if options.fresh else rounds.known(sweep, folder),
        platform=found.platform,
        started=[] if options.fresh else list(started_packs(folder)),
        width=options.pack_width,
        schedule=options.schedule,
        stored=Choices() if options.fresh else choices.stored(folder, found.platform),
        max_memory=options.max_memory,
    )
    if options.retry:
        packs = tuple(replace(pack, failed=False) for pack in planned.packs)
        planned = replace(planned, packs=packs)
    return planned


def launch(
    sweep: Sweep,
    folder: Folder,
    options: Options,
    found: Devices,
    on_event: OnEvent,
    interrupt: Interrupt,
) -> Counter[str]:
    """Trains what is missing; returns the number of runs by status.

    Args:
      found: the devices to use (devices.find).
      on_event: called with `planned` (the plan) first, then with what workers report.
      interrupt: watched all the time; raise its level to stop.
    Raises:
      InputError: before anything is written or compiled.
    """
    _check_workers(options, found)
    seen = _seen(folder)
    planned = plan_sweep(sweep, folder, options, found)
    with sole_writer(folder) as lock:
        if options.fresh:
            _clear(folder)
        elif _seen(folder) != seen:  # others have written until now
            planned = plan_sweep(sweep, folder, options, found)
        store.create(folder, sweep.record)
        _store_choice(folder, found.platform, options)
        trains = bool(planned.unfinished)
        manifest.write(folder, sweep, found, _flags(options), trains=trains)
        log = _Log(folder)
        launched = {"event": "launched", "committed_steps": _committed_steps(planned)}
        while True:
            _store_cells(sweep, folder)
            on_event({"event": "planned", "plan": planned})
            log.write(launched)
            _execute(planned, folder, options, found, lock, log.before(on_event), interrupt)
            store.gather_runs(folder)
            following = _next_round(planned, folder, options, found)
            if following is None or interrupt.level:
                break
            planned, launched = following, {"event": "round", "round": following.sweep.round}
        _store_cells(sweep, folder)
        log.write({"event": "ended"})
    return count_by_status(sweep, folder)


def _store_choice(folder: Folder, platform: str, options: Options) -> None:
    """Keeps what the flags say for packs that a later launch starts."""
    known = choices.stored(folder, platform)
    choices.store(folder, platform, known.overridden(options.choice))


def _seen(folder: Folder) -> list[tuple[str, Mark]]:
    """Returns what tells whether anything that a plan reads was written since."""
    alone = [folder.manifest, folder.analysis, folder.schedules]
    paths = [*alone, *sorted(folder.runs.glob("*.parquet"))]
    return [(path.name, mark(path)) for path in paths if path.exists()]


def _next_round(planned: Plan, folder: Folder, options: Options, found: Devices) -> Plan | None:
    """Plans what the outcomes of a round ask for; None where they ask for nothing more."""
    if not planned.sweep.refine:
        return None
    again = replace(options, fresh=False, retry=False)
    following = plan_sweep(planned.sweep, folder, again, found)
    is_new = following.sweep.runs != planned.sweep.runs and following.unfinished
    return following if is_new else None


def _store_cells(sweep: Sweep, folder: Folder) -> None:
    """Stores the leaf cells of a sweep that refines; those of an earlier launch go."""
    expansion = rounds.expanded(sweep, folder)
    if sweep.refine and expansion:
        store.write_cells(folder, rounds.cell_table(sweep.refine, expansion))
    else:
        folder.cells.unlink(missing_ok=True)


def count_by_status(sweep: Sweep, folder: Folder) -> Counter[str]:
    """Returns the number of the sweep's runs that are done, running, diverged, failed, pending.

    Of a sweep that refines, the runs of all rounds that are known count.
    """
    statuses = run_status(Results(folder).runs, sweep.steps) if folder.has_runs else {}
    runs = rounds.known(sweep, folder).runs
    return Counter(statuses.get(run.run_id, "pending") for run in runs)


def started_packs(folder: Folder) -> Iterator[StartedPack]:
    """Yields the packs of earlier launches, as the runs table holds them."""
    if not folder.has_runs:
        return
    table = Results(folder).runs
    place = pd.factorize(table["pack"])[0]  # packs in order of appearance
    table = table.iloc[np.lexsort((table["lane"].to_numpy(), place))]
    runs = _runs(table)
    column = {name: table[name].tolist() for name in _OF_PACKS}
    for _, rows in groupby(range(len(runs)), column["pack"].__getitem__):
        lanes = list(rows)
        first = lanes[0]
        yield StartedPack(
            runs=tuple(runs[first : first + len(lanes)]),
            width=column["pack_width"][first],
            schedule=column["schedule"][first],
            steps_done=column["steps_done"][first],
            failed=column["status"][first] == "failed",
            settled=column["status"][first] in ("done", "diverged"),
            dataset_sha256=column["dataset_sha256"][first],
        )


def _execute(
    planned: Plan,
    folder: Folder,
    options: Options,
    found: Devices,
    lock: int,
    on_event: OnEvent,
    interrupt: Interrupt,
) -> None:
    out, sweep = str(folder.root), planned.sweep
    work = prices(lambda pack: pack.flops(sweep.record, sweep.steps), planned.unfinished)
    ranked = sorted(zip(work, planned.unfinished, strict=True), key=lambda pair: -pair[0])
    tasks = [Task.of(pack, sweep, out, options.commit_seconds) for _, pack in ranked]
    if not tasks:
        return

    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "failed" and options.fail_fast:
            interrupt.level = max(interrupt.level, 1)
        on_event(event)

    if options.workers == 0:
        inline.execute(tasks, watch, interrupt)
        return
    with open(folder.root / "workers.log", "a") as diagnostics:
        n_workers = options.workers or len(found.ids)
        extra = worker_settings(options)
        settings = local.Settings(found, n_workers, extra, diagnostics, keep_open=(lock,))
        local.execute(tasks, settings, watch, interrupt)


def worker_settings(options: Options) -> dict[str, str]:
    """Environment of every worker: the compile cache, and determinism where asked for."""
    cache = Path(os.environ.get("TFC_CACHE", Path.home() / ".cache" / "tfc_jax")) / "xla"
    defaults = {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**31),  # with a size, JAX locks the cache
    }
    settings = {name: os.environ.get(name, value) for name, value in defaults.items()}
    _drop_half_entries(Path(settings["JAX_COMPILATION_CACHE_DIR"]))
    if options.deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        settings["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    return settings


def _drop_half_entries(cache: Path) -> None:
    """A process killed between the two files of an entry would keep JAX from storing any other."""
    for entry in cache.glob("*-cache"):
        if not entry.with_name(entry.name.removesuffix("cache") + "atime").exists():
            entry.unlink(missing_ok=True)


@contextmanager
def sole_writer(folder: Folder) -> Iterator[int]:
    """Holds the folder's lock and gives its descriptor, which workers inherit.

    The system drops the lock when the launcher and all its workers have ended, however they ended.
    A launcher that was killed leaves workers behind for a moment; they are waited for.
    """
    with _open_lock(folder) as lock:
        give_up = time.monotonic() + ORPHAN_SECONDS
        while not _try_lock(lock):
            lock.seek(0)
            owner = lock.read().split()
            if _is_alive(owner) or time.monotonic() > give_up:
                raise InputError(
                    f"{folder.root}: another `tfc run` is writing here ({' '.join(owner)}). Wait "
                    f"for it, stop it, or write elsewhere with --out."
                )
            time.sleep(0.05)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {os.uname().nodename}")
        lock.flush()
        yield lock.fileno()


def _open_lock(folder: Folder) -> IO[str]:
    try:
        make_folder(folder.root)
        return open(folder.lock, "a+")
    except OSError as error:
        raise InputError(
            f"{folder.root}: results cannot be written here ({error.strerror}). Give another --out."
        ) from error


def _check_workers(options: Options, found: Devices) -> None:
    """CPU workers may share a core; two on one accelerator would fight for its memory."""
    if found.platform != "cpu" and (options.workers or 0) > len(found.ids):
        devices = counted(len(found.ids), f"{found.platform} device")
        raise InputError(
            f"--workers: {options.workers} came, but this machine has {devices} for workers. Give "
            f"at most that many."
        )


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(owner: Sequence[str]) -> bool:
    """Whether `process PID on HOST` lives; one on another host is taken to."""
    if len(owner) != 4 or owner[3] != os.uname().nodename:
        return True
    try:
        os.kill(int(owner[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is someone else's, hence alive
    return True


class _Log:
    """log.jsonl: every event, but only one in five seconds of those that say `step`."""

    def __init__(self, folder: Folder) -> None:
        self._path = folder.log
        self._last: dict[str, float] = {}
        with open(self._path, "ab+") as log:  # a crash may have cut the last line short
            log.seek(max(log.tell() - 1, 0))
            if log.read() not in (b"", b"\n"):
                log.write(b"\n")

    def write(self, event: Mapping[str, Any]) -> None:
        with open(self._path, "a") as log:
            log.write(json.dumps({"time": round(time.time(), 3), **event}) + "\n")

    def before(self, on_event: OnEvent) -> OnEvent:
        """Returns a handler that logs an event and passes it on."""

        def handle(event: dict[str, Any]) -> None:
            now, pack = time.monotonic(), event["pack"]
            is_news = event["event"] != "step" or now - self._last.get(pack, 0) > STEP_LOG_SECONDS
            if is_news:
                self._last[pack] = now
                self.write(event)
            on_event(event)

        return handle


def _committed_steps(planned: Plan) -> int:
    steps = planned.sweep.steps
    return sum(len(pack.runs) * min(pack.steps_done, steps) for pack in planned.packs)


def _flags(options: Options) -> dict[str, Any]:
    given = dict(options.given or {"set": [], "filter": None, "limit": None})
    execution = ("workers", "pack_width", "schedule", "max_memory", "deterministic")
    return given | {name: getattr(options, name) for name in execution}


def run_status(runs: pd.DataFrame, steps: int) -> dict[str, str]:
    """Status by run_id; a finished run of which more steps are wanted now is `pending`."""
    is_short = runs["status"].isin(["done", "diverged"]) & (runs["steps_done"] < steps)
    return dict(zip(runs["run_id"], runs["status"].mask(is_short, "pending"), strict=True))


def _runs(table: pd.DataFrame) -> list[Run]:
    """The runs of the rows of the runs table; a whole column at a time, since packs are many."""
    columns = [_checked(key, table[name].tolist()) for name, key in KEYS.items()]
    return [Run(*values) for values in zip(*columns, strict=True)]


def _checked(key: Key, column: list[Any]) -> list[Any]:
    """The values of a column as runs hold them; each distinct one is checked once."""
    values = dict.fromkeys(column)
    checked = {value: key.checked(None if _is_null(value) else value) for value in values}
    return [checked[value] for value in column]


def _is_null(value: Any) -> bool:
    """Pandas marks nulls in its own ways."""
    return value is None or type(value).__name__ == "NAType" or value != value


def _check_ours(folder: Folder) -> None:
    """Refuses to delete what is not ours, for `--fresh`.

    Raises:
      InputError: the folder holds more than a stored choice of schedules, and no manifest of ours.
    """
    if set(_contents(folder)) - {folder.schedules} and manifest.read(folder) is None:
        raise InputError(
            f"{folder.root}: --fresh deletes results, but this folder has no manifest.json. "
            f"Delete it yourself, or give another --out."
        )


def _clear(folder: Folder) -> None:
    """Deletes the results of a folder; the manifest last, so that it can be done again."""
    for path in sorted(_contents(folder), key=lambda path: path == folder.manifest):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _contents(folder: Folder) -> list[Path]:
    """Everything in a results folder but its lock."""
    if not folder.root.is_dir():
        return []
    return [path for path in folder.root.iterdir() if path != folder.lock]
