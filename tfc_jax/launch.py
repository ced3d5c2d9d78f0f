"""Sweep -> results: plans what is missing, starts an executor, keeps the log."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa

from tfc_jax import choices, files, folder_tables, fresh, manifest, plan, rounds
from tfc_jax.choices import Choices
from tfc_jax.config import Sweep
from tfc_jax.contents import check_contents, check_no_others
from tfc_jax.devices import Devices
from tfc_jax.errors import InputError, StorageError
from tfc_jax.event_log import EventLog, OnEvent
from tfc_jax.execution import Executor, Here
from tfc_jax.executors import channel
from tfc_jax.executors.local import Interrupt
from tfc_jax.files import Mark, mark
from tfc_jax.layout import Folder
from tfc_jax.lock import Lock, check_free, sole_writer
from tfc_jax.options import FROM_ENVIRONMENT, Options, joined
from tfc_jax.pack import prices
from tfc_jax.plan import Plan
from tfc_jax.run_arrays import of_sweep
from tfc_jax.runs_table import RunsTable
from tfc_jax.started import started_packs
from tfc_jax.storage import OnDisk, Storage
from tfc_jax.stored_runs import COUNTED, counts_by_status
from tfc_jax.task import Task
from tfc_jax.untrusted import reading

logger = logging.getLogger(__name__)


def plan_sweep(sweep: Sweep, folder: Folder, options: Options, found: Devices) -> Plan:
    """Returns what a launch would do now; reads the runs table, writes nothing.

    Raises:
      InputError: the sweep does not fit its data, the memory, or the results that are stored.
    """
    check_no_others(folder.root)
    check_contents(folder.root)
    if options.fresh:
        fresh.check_ours(folder)
    else:
        manifest.check_record(folder, sweep.record)
    with reading(folder.root):
        known = sweep if options.fresh else rounds.known(sweep, folder)
        started = [] if options.fresh else list(started_packs(folder, known))
    planned = plan.make_plan(
        known,
        platform=found.platform,
        started=started,
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
    executor: Executor | None = None,
    storage: Storage | None = None,
) -> Counter[str]:
    """Trains what is missing; returns the number of runs by status.

    Args:
      found: the devices to use (of the executor).
      on_event: called with `planned` (the plan) first, then with what workers report.
      interrupt: watched all the time; raise its level to stop.
      executor: trains the packs; None means these devices of this machine.
      storage: where results are in the end; None means this folder.
    Raises:
      StorageError: the disk fails while this process writes; a pack of which a worker cannot write
        has failed instead.
      InputError: before anything is written or compiled; also of results that are damaged.
    """
    executor, storage = executor or Here(options, found), storage or OnDisk()
    planned, seen = _early_plan(sweep, folder, options, found)
    storage.check_fits(planned, folder, fresh=options.fresh)
    with sole_writer(folder) as lock, _sentence_of_disk(folder):
        channel.dismiss(folder)
        if options.fresh:
            fresh.clear(folder)
        elif _seen(folder) != seen:
            planned = plan_sweep(sweep, folder, options, found)  # others have written until now
        _prepare(planned, folder, options, found, storage)
        log = EventLog(folder)
        launched = {"event": "launched", "committed_steps": _committed_steps(planned)}
        while True:
            _store_cells(sweep, folder)
            on_event({"event": "planned", "plan": planned})
            log.write(launched)
            _execute(planned, folder, options, executor, lock, log.before(on_event), interrupt)
            lock.check()
            storage.bring_rows(folder)
            folder_tables.gather_runs(folder)
            following = _next_round(planned, folder, options, found)
            if following is None or interrupt.level:
                break
            planned, launched = following, {"event": "round", "round": following.sweep.round}
        _store_cells(sweep, folder)
        log.write({"event": "ended"})
    return count_by_status(sweep, folder)


def _prepare(
    planned: Plan, folder: Folder, options: Options, found: Devices, storage: Storage
) -> None:
    """Refuses damaged results, clears away what a crash left, and says what is launched."""
    plan.name_packs(planned)
    unfinished = {pack.id for pack in planned.unfinished}
    settled = {pack.id for pack in planned.packs if not pack.failed} - unfinished
    steps_done = {pack.id: pack.steps_done for pack in planned.packs}
    storage.refuse_damage(folder, steps_done, unfinished)
    folder_tables.clear_traces(folder, settled)
    folder_tables.create(folder, planned.sweep.record)
    _store_choice(folder, found.platform, options)
    former = None if options.fresh else manifest.former_name(folder, planned.sweep)
    if former:
        logger.warning(
            "%s: the results here had the name %s, and have %s from now on. To keep the two sweeps "
            "apart, give another --out.",
            folder.root,
            former,
            planned.sweep.name,
        )
    flags = _flags(options)
    trains = bool(unfinished)
    manifest.write(folder, planned.sweep, found, flags, trains=trains, anew=options.fresh)


@contextmanager
def _sentence_of_disk(folder: Folder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(files.trouble(folder.root, error)) from error


def _early_plan(
    sweep: Sweep, folder: Folder, options: Options, found: Devices
) -> tuple[Plan, list[tuple[str, Mark]]]:
    """Plans before the folder is locked, so that bad input leaves no trace.

    What fails may have been read while another launch was writing it: then the lock tells who.
    """
    try:
        seen = _seen(folder)
        return plan_sweep(sweep, folder, options, found), seen
    except (InputError, OSError, pa.ArrowException):
        if not folder.lock.is_file():
            raise
    check_free(folder)
    seen = _seen(folder)
    return plan_sweep(sweep, folder, options, found), seen


def _store_choice(folder: Folder, platform: str, options: Options) -> None:
    """Keeps what the flags say for packs that a later launch starts."""
    known = choices.stored(folder, platform)
    choices.store(folder, platform, known.overridden(options.choice))


def _seen(folder: Folder) -> list[tuple[str, Mark]]:
    """Returns what tells whether anything that a plan reads was written since."""
    alone = [folder.manifest, folder.analysis, folder.schedules]
    seen = [(path.name, mark(path)) for path in alone if path.exists()]
    return [*seen, *RunsTable(folder).marks().items()]


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
        folder_tables.write_cells(folder, rounds.cell_table(sweep.refine, expansion))
    else:
        folder.cells.unlink(missing_ok=True)


def count_by_status(sweep: Sweep, folder: Folder) -> Counter[str]:
    """Returns the number of the sweep's runs that are done, running, diverged, failed, pending.

    Of a sweep that refines, the runs of all rounds that are known count.
    """
    known = rounds.known(sweep, folder)
    if not folder.has_runs:
        return Counter(pending=len(known.runs))
    rows = RunsTable(folder, COUNTED).read()
    counts = counts_by_status(rows, of_sweep(known), sweep.steps)
    return Counter({status: n for status, n in counts.items() if n})


def _execute(
    planned: Plan,
    folder: Folder,
    options: Options,
    executor: Executor,
    lock: Lock,
    on_event: OnEvent,
    interrupt: Interrupt,
) -> None:
    out, sweep = str(folder.root), planned.sweep
    work = prices(lambda pack: pack.flops(sweep.record, sweep.steps), planned.unfinished)
    ranked = sorted(zip(work, planned.unfinished, strict=True), key=lambda pair: -pair[0])
    tasks = [Task.of(pack, sweep, out, options.commit_seconds, options.url) for _, pack in ranked]
    if not tasks or interrupt.level:
        return

    gathering = folder_tables.Gathering(folder)

    def watch(event: dict[str, Any]) -> None:
        lock.check()
        if event["event"] == "failed" and options.fail_fast:
            interrupt.level = max(interrupt.level, 1)
        on_event(event)
        gathering.note(event)

    executor.execute(tasks, lock, watch, interrupt)


def _committed_steps(planned: Plan) -> int:
    steps = planned.sweep.steps
    return sum(len(pack.runs) * min(pack.steps_done, steps) for pack in planned.packs)


def _flags(options: Options) -> dict[str, Any]:
    given = dict(options.given or {"set": [], "filter": None, "limit": None})
    execution = ("executor", "workers", "pack_width", "schedule", "max_memory", "deterministic")
    given |= {name: getattr(options, name) for name in execution}
    address = options.address
    if options.executor == "ray" and not address and joined(None):
        address = FROM_ENVIRONMENT  # no value of a variable is stored
    return given | {"address": address, "slurm": dict(options.slurm)}
