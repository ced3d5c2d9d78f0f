"""Takes packs, trains them, commits them. A process of its own, or a call in the caller's.

Started by an executor with the device chosen and the number of threads fixed (executors/local.py).
Runs never talk to each other, so a worker needs nothing but its task.
"""

import gc
import json
import logging
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tfc_jax import chips, data, files, signals, slices, timetable
from tfc_jax.ahead import Ahead
from tfc_jax.committer import Committer, Report
from tfc_jax.engine import PackEngine
from tfc_jax.errors import InputError
from tfc_jax.keys import KEYS, Run
from tfc_jax.lock import LockLost
from tfc_jax.objects.refusals import StoreError
from tfc_jax.out_of_memory import OutOfMemory, halved, is_out_of_memory
from tfc_jax.pack import ProgramPlan
from tfc_jax.pack_stores import folder_of, mark_failed, open_store
from tfc_jax.parts import DamagedPart
from tfc_jax.program import Program
from tfc_jax.record import Record
from tfc_jax.sampling import Data
from tfc_jax.stage import Fenced
from tfc_jax.store import Contradiction, stored_facts
from tfc_jax.task import PREPARE, Task
from tfc_jax.timetable import Schedule
from tfc_jax.train import Trainer

TOLD = (
    Contradiction,
    DamagedPart,
    Fenced,
    InputError,
    OutOfMemory,
)  # errors that are sentences for the user


def train_pack(task: Task, report: Report, should_stop: Callable[[], bool]) -> bool:
    """Trains a pack from its last commit to its last step; returns whether it got there.

    Where the device has no memory for it, it goes on from the last commit with half the lanes at a
    time, and half of these, down to one.

    Args:
      task: the pack, and where it goes.
      report: called with progress events (JSON-able).
      should_stop: polled once per chunk.
    Raises:
      OutOfMemory: one lane is too much for the device.
    """
    attempt = task
    while True:
        try:
            return _train(attempt, report, should_stop, is_narrower=attempt is not task)
        except jax.errors.JaxRuntimeError as error:
            attempt = halved(attempt, error)
        _free_device()  # the error is gone, and with it the frames that held the state


def _train(
    task: Task, report: Report, should_stop: Callable[[], bool], *, is_narrower: bool
) -> bool:
    whole, facts = prepare(task)
    engine = slices.fitting(whole, is_short=is_narrower)
    report({"event": "compiling", "pack": task.pack})
    engine.compile()
    report({"event": "compiled", "pack": task.pack})
    folder = folder_of(task)
    facts |= _trained_by(facts, stored_facts(folder, task.pack))
    store = open_store(task, folder, facts)
    checkpoint = store.recover()
    step, wall_s = (checkpoint.step, checkpoint.wall_s) if checkpoint else (0, 0.0)
    report(_beginning(task, step, is_narrower))
    for notice in store.notices:
        report({"event": "warned", "pack": task.pack, "text": notice})
    if checkpoint and step >= task.steps:  # a crash came between the commit and its last traces
        store.write_params(checkpoint.arrays)
        store.write_runs("done", step, wall_s)
        store.release()
        return True
    if not is_narrower:  # the rows tell the width of what is committed: the next commit tells more
        store.write_runs("running", step, wall_s)
    carry: Any = engine.restored(checkpoint.arrays) if checkpoint else engine.init()
    if not checkpoint:
        store.add_first_probe(engine.probe(carry))
    state_bytes = sum(array.nbytes for array in jax.tree.leaves(carry))
    with Committer(store, task, wall_s, report, state_bytes) as committer:
        asked = (committer.is_due, should_stop, store.ends)
        for chunk in engine.train(carry, step, task.steps, *asked):
            committer.put(chunk)
            step = chunk.span.stop
    store.release()
    return step >= task.steps


def _beginning(task: Task, step: int, is_narrower: bool) -> dict[str, Any]:
    if is_narrower:
        return {"event": "halved", "pack": task.pack, "width": task.width, "step": step}
    return {"event": "started", "pack": task.pack, "step": step}


def _free_device() -> None:
    """Lets go of what this process keeps on its device: data sets, and arrays in cycles."""
    device_data.cache_clear()
    gc.collect()


def prepare(task: Task) -> tuple[PackEngine, dict[str, Any]]:
    """Returns the engine of a pack, and its columns of the runs table."""
    run = task.runs[0]
    plan = ProgramPlan(run, data.loaded(run.dataset, run.n_train, run.classes, run.difficulty))
    _check_data(task, plan)
    program = compiled_program(_trainer(plan, task.record), task.record, task.schedule)
    arrays = device_data(plan.dataset, run.scaling)
    return PackEngine(program, task.record, task.runs, task.width, arrays), _facts(task, plan)


def _check_data(task: Task, plan: ProgramPlan) -> None:
    """Files may have changed since the launcher read them."""
    if task.dataset_sha256 not in ("", plan.dataset.sha256):
        raise InputError(
            f"{plan.run.dataset}: its content is not what this pack is for (SHA-256 "
            f"{task.dataset_sha256[:12]} then, {plan.dataset.sha256[:12]} now). Restore the data "
            f"and run tfc retry."
        )


def _trained_by(now: Mapping[str, Any], stored: Mapping[str, list[Any]]) -> dict[str, str]:
    """Versions and devices that trained a pack, in order, joined by "; " where they changed."""
    told = {}
    for name in ("tfc_version", "jax_version", "device_kind"):
        before = (stored.get(name) or [None])[0]
        history = before.split("; ") if before else []
        told[name] = "; ".join(dict.fromkeys([*history, now[name]]))
    return told


@cache
def device_data(dataset: data.Dataset, scaling: data.Scaling) -> Data:
    """Puts a data set on the device once per process, on each chip, flattened, as stored."""
    offset, multiplier = data.affine(dataset, scaling)
    shape = dataset.x_train.shape[1:]

    def flat(x: np.ndarray) -> jax.Array:
        return jnp.asarray(x.reshape(len(x), -1))

    def per_input(a: np.ndarray) -> jax.Array:
        return jnp.asarray(np.broadcast_to(a, shape).reshape(-1).astype(np.float32))

    on_device = Data(
        x_train=flat(dataset.x_train),
        y_train=jnp.asarray(dataset.y_train),
        x_test=flat(dataset.x_test),
        y_test=jnp.asarray(dataset.y_test),
        offset=per_input(offset),
        multiplier=per_input(multiplier),
    )
    return chips.everywhere(on_device, chips.mesh())


@lru_cache(maxsize=4)  # an executable takes 100 MB and more, and packs come sorted by program
def compiled_program(trainer: Trainer, record: Record, schedule: Schedule) -> Program:
    """Returns one Program per process and kind, so that packs share its executables."""
    return Program(
        trainer=trainer,
        schedule=schedule,
        chunk_steps=timetable.chunk_steps(record),
        chunk_records=timetable.chunk_records(record),
        has_bare_steps=record.every != 1 or not record.metrics,
        probes=record.probes,
        probe_samples=record.probe_samples,
        mesh=chips.mesh(),
    )


def _trainer(plan: ProgramPlan, record: Record) -> Trainer:
    built = plan.network.run
    static = {k.name: getattr(built, k.name) for k in KEYS.values() if not k.traced}
    static.pop("steps")  # a longer run goes on with the same program
    network = replace(plan.network, run=Run(**static))
    return Trainer(network, has_momentum=plan.run.has_momentum, metrics=record.metrics)


def _facts(task: Task, plan: ProgramPlan) -> dict[str, Any]:
    sizes, dataset, device = plan.sizes, plan.dataset, jax.local_devices()[0]
    return {
        "prior_loss": [data.prior_loss(dataset, r.loss, r.label_noise) for r in task.runs],
        "bayes_loss": [data.bayes_loss(dataset, r.loss, r.label_noise) for r in task.runs],
        "built_width": plan.network.run.width,
        "n_params": sizes.n_params,
        "n_units": sizes.n_units,
        "units_per_param": sizes.n_units / sizes.n_params,
        "program": task.program,
        "schedule": task.schedule,
        "pack_width": task.width,
        "dataset_sha256": dataset.sha256,
        "tfc_version": version("tfc_jax"),
        "jax_version": jax.__version__,
        "device_kind": device.device_kind,
    }


def failure(task: Task, error: BaseException) -> dict[str, Any]:
    """Returns the event that says why a pack could not be trained."""
    return {
        "event": "failed",
        "pack": task.pack,
        "error": _sentence(task, error),
        "traceback": traceback.format_exception(error),
    }


def _sentence(task: Task, error: BaseException) -> str:
    """One line; an error that was written for the user, without the name of its class."""
    if isinstance(error, OSError):
        return files.trouble(task.out, error)
    if isinstance(error, TOLD):
        return str(error)
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    if isinstance(error, MemoryError):
        said += ". The memory of this machine is full: run tfc retry with fewer --workers"
    return said


def main() -> None:
    """Serves tasks from standard input, one JSON line each; events go to standard output.

    The line `prepare TASK` says what most probably comes next: it is compiled meanwhile.
    The line `stop` ends the worker after the running chunk. The end of the input ends it at once:
    the launcher is gone or has no more tasks, and what is not committed is computed again.
    """
    events = os.fdopen(os.dup(1), "w")  # libraries that print must not garble the events
    os.dup2(2, 1)
    settle()
    signals.handle(signal.SIG_IGN)  # the launcher decides what they mean
    stop = threading.Event()
    tasks: queue.Queue[str] = queue.Queue()
    ahead = Ahead(lambda task: slices.fitting(prepare(task)[0]).compile())

    def report(event: dict[str, Any]) -> None:
        try:
            events.write(json.dumps(event) + "\n")
            events.flush()
        except BrokenPipeError:  # the launcher was killed, which is no fault of the pack
            os._exit(0)

    def listen() -> None:
        for line in sys.stdin:
            if line.strip() == "stop":
                stop.set()
            if line.startswith(PREPARE):
                ahead.begin(Task.from_json(line.removeprefix(PREPARE)))
            else:
                tasks.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while (line := tasks.get()).strip() != "stop":
        serve(Task.from_json(line), report, stop.is_set, ahead.finish)
    os._exit(0)  # what is still compiled ahead is of no use any more


@cache  # a process may serve many packs, and what is frozen is never freed: programs of former ones
def settle() -> None:
    """Keeps this process on the core that its launcher gave it, if any, and what it imported.

    The garbage collector would look through all of JAX again and again while a program is traced:
    15 to 40 % of the time of tracing and lowering at 50 layers.
    """
    gc.freeze()
    if "TFC_CORE" in os.environ and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(os.environ["TFC_CORE"])})


def serve(
    task: Task,
    report: Report,
    should_stop: Callable[[], bool],
    finish_ahead: Callable[[Task], None] = lambda task: None,
) -> None:
    """Trains a pack and reports its end, also that of one that fails.

    Args:
      finish_ahead: waits for what is compiled ahead for a task.
    """
    try:
        _finish(finish_ahead, task)
        finished = train_pack(task, report, should_stop)
    except LockLost:  # nothing more may be written here
        raise
    except Fenced as error:  # the pack is another's now: its rows are not ours to change
        report(failure(task, error))
    except Exception as error:
        event = failure(task, error)
        try:
            mark_failed(task)
        except Exception as second:  # a full disk, say: the first error must still be told
            why = "" if isinstance(second, StoreError) else f" ({second})"  # it was told already
            event["error"] += f" Nor could this be stored{why}."
        report(event)
    else:
        report({"event": "finished" if finished else "stopped", "pack": task.pack})


def _finish(finish_ahead: Callable[[Task], None], task: Task) -> None:
    """What was compiled ahead shared the device with another pack; alone it may find memory."""
    try:
        finish_ahead(task)
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main()
