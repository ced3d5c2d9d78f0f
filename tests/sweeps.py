"""Small sweeps and packs, trained once and shared by tests, and what is asked of their results."""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tfc_jax import committer, registry
from tfc_jax.chunk import Chunk
from tfc_jax.config import Sweep, load_sweep
from tfc_jax.devices import Devices
from tfc_jax.executors.local import Interrupt
from tfc_jax.folder_tables import create
from tfc_jax.keys import Run
from tfc_jax.launch import launch
from tfc_jax.layout import Folder
from tfc_jax.options import Options
from tfc_jax.pack import pack_id
from tfc_jax.record import Record
from tfc_jax.results import Results
from tfc_jax.schema import Column
from tfc_jax.seal import sealed
from tfc_jax.started import started_packs
from tfc_jax.store import PackStore
from tfc_jax.tables import write_parquet
from tfc_jax.task import Task
from tfc_jax.timetable import Span

ROOT = Path(__file__).parents[1]
TABLES = ("runs", "steps", "layers", "probe", "probe_layers")
CPU = Devices("cpu", (0,))

# One shape for all tests, so that they share compiled programs.
BASE: dict[str, Any] = {"depth": 3, "width": 16, "batch_size": 20, "n_train": 200, "steps": 60}
BARE: dict[str, Any] = {"every": 2, "probe_every": 20, "probe_samples": 64, "metrics": []}
FULL = BARE | {"metrics": "all"}
AXES = {"init_scale": [0.8, 1.0], "learning_rate": [0.05, 0.2, 0.8]}


def write_sweep(
    folder: Path,
    name: str = "small",
    base: Mapping[str, Any] | None = None,
    grid: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
    **sections: Any,
) -> Path:
    """Writes a sweep file (JSON is YAML): 6 runs of 60 steps unless told otherwise."""
    content = {
        "name": name,
        "base": BASE | dict(base or {}),
        "grid": AXES if grid is None else dict(grid),
        "record": BARE | dict(record or {}),
        **sections,
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(content, indent=1))
    return path


def make_sweep(folder: Path, **sections: Any) -> Sweep:
    """Writes a sweep file and reads it."""
    return load_sweep(write_sweep(folder, **sections))


def train(
    sweep: Sweep,
    out: Path,
    *,
    width: int | None = 3,
    on_event: Callable[[dict[str, Any]], None] = lambda event: None,
    interrupt: Interrupt | None = None,
    found: Devices = CPU,
    **options: Any,
) -> Counter[str]:
    """Trains what is missing, in this process unless `workers` says otherwise.

    With `commit_seconds=0` every chunk is a commit, however long this disk took for the last one.
    """
    chosen = replace(Options(workers=0, pack_width=width), **options)
    with pytest.MonkeyPatch.context() as patch:
        if chosen.commit_seconds == 0:
            patch.setattr(committer, "COMMIT_COST_FACTOR", 0.0)
        return launch(sweep, Folder(out), chosen, found, on_event, interrupt or Interrupt())


def content(folder: Path, *, without: Sequence[str] = ("wall_s",)) -> dict[str, str]:
    """SHA-256 of all rows of each table, sorted by run, step and layer, and of all final weights.

    Null and NaN count as different.
    """
    digests = {}
    for table in TABLES:
        if (folder / table).is_dir():
            rows = read_rows(folder / table)
            kept = [name for name in rows.column_names if name not in without]
            digests[table] = _digest(rows.select(kept))
    return digests | {"weights": _weights(folder)}


def read_rows(table: Path) -> pa.Table:
    """All rows of a table, in the order of its keys."""
    rows = pa.concat_tables(
        [pq.read_table(part, partitioning=None) for part in sorted(table.glob("*.parquet"))]
    )
    keys = [name for name in ("run_id", "step", "layer") if name in rows.column_names]
    return rows.sort_by([(name, "ascending") for name in keys])


def write_sealed(table: pa.Table, path: Path) -> None:
    """Writes a file as launches do, with whatever rows."""
    content = io.BytesIO()
    write_parquet(table, content)
    path.write_bytes(sealed(content.getvalue()))


def _digest(rows: pa.Table) -> str:
    digest = hashlib.sha256(f"{rows.num_rows} {rows.schema.names}".encode())
    for column in rows.columns:
        digest.update(np.asarray(pc.is_null(column)).tobytes())
        if pa.types.is_string(column.type):
            digest.update("\n".join(map(str, column.to_pylist())).encode())
        else:
            zero = pa.scalar(0).cast(column.type)
            digest.update(np.asarray(pc.fill_null(column, zero)).tobytes())
    return digest.hexdigest()


def _weights(folder: Path) -> str:
    results, digest = Results(Folder(folder)), hashlib.sha256()
    for run_id in sorted(results.runs["run_id"]):
        for name, array in sorted(results.params(run_id).items()):
            digest.update(f"{run_id} {name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


# A pack without a network: values that say which run, step and layer they belong to.

RUNS = tuple(Run(seed=seed, depth=3, steps=40) for seed in range(3))
RECORD = Record(every=3, probe_every=10, metrics=("fake",), probes=("fake",))
PACK = pack_id(run.run_id for run in RUNS)
CHUNK = 10
COLUMNS = {
    "metrics": (
        Column("norm", "steps", "", "of a step"),
        Column("cosine", "layers", "", "of a layer"),
        Column("undefined", "layers", "", "never computed"),
    ),
    "probes": (Column("test_loss", "probe", "nats", "of a probe"),),
}


def fake_plugins(patch: pytest.MonkeyPatch) -> None:
    """Makes `fake` the name of a metric and of a probe, without JAX."""
    module = registry.module
    fakes = {package: SimpleNamespace(COLUMNS=columns) for package, columns in COLUMNS.items()}
    patch.setattr(
        registry, "module", lambda p, name: fakes[p] if name == "fake" else module(p, name)
    )


def value(lane: Any, step: Any, layer: Any = 0) -> Any:
    """A number that is exact in float32 and that no other place has."""
    return np.asarray(lane * 100_000 + step * 100 + layer, np.float32)


def make_chunk(start: int, stop: int, n_runs: int = len(RUNS), record: Record = RECORD) -> Chunk:
    """What the engine hands out for these steps; run 1 has NaN losses from step 25 on."""
    lane, step = np.arange(n_runs)[:, None], np.arange(start, stop)
    measured = record.measured_steps(start, stop)
    layer = np.arange(1, RUNS[0].depth + 1)
    loss = np.where((lane == 1) & (step >= 25), np.float32("nan"), value(lane, step))
    return Chunk(
        span=Span(start, stop, tuple(measured)),
        every_step={"loss": loss, "accuracy": value(lane, step, 50)},
        measured={
            "norm": value(lane, np.array(measured, int), 7),
            "cosine": value(lane[:, :, None], np.array(measured, int)[:, None], layer),
        },
        probe=make_probe(stop, n_runs) if stop % record.probe_every == 0 else None,
        carry=None,
    )


def make_probe(step: int, n_runs: int = len(RUNS)) -> dict[str, np.ndarray]:
    return {"test_loss": value(np.arange(n_runs), step, 60)}


def make_state(step: int, width: int = 4) -> dict[str, np.ndarray]:
    """The carry of a pack of `width` lanes, the last of them padding."""
    first_bad = np.where((np.arange(width) == 1) & (step > 25), 25, -1)
    weights = value(np.arange(width)[:, None, None], step, np.arange(6).reshape(2, 3))
    return {
        "params/layers/0/kernel": weights,
        "opt_state/0/trace": weights.astype(ml_dtypes.bfloat16),
        "step": np.full(width, step, np.int32),
        "first_bad_step": first_bad,
    }


def make_store(folder: Folder, runs: tuple[Run, ...] = RUNS) -> PackStore:
    facts = {"schedule": "mapped", "pack_width": 4, "program": "fakefake", "prior_loss": 2.0}
    return PackStore(folder, pack_id(run.run_id for run in runs), runs, RECORD, facts)


def fake_task(folder: Folder, steps: int = 40) -> Task:
    """What a worker is told of the pack of `make_store`."""
    return Task(
        out=str(folder.root),
        pack=PACK,
        program="fakefake",
        runs=RUNS,
        width=4,
        schedule="mapped",
        record=RECORD,
        steps=steps,
    )


def train_fake_pack(
    out: Path, steps: int = 40, commit_every: int = 20, runs: tuple[Run, ...] = RUNS
) -> None:
    """What a launch does with one pack of three runs, network and clock apart."""
    folder = Folder(out)
    out.mkdir(exist_ok=True)
    started = {pack_id(r.run_id for r in pack.runs): pack for pack in started_packs(folder)}
    create(folder, RECORD)
    store = make_store(folder, runs)
    if store.pack in started and started[store.pack].steps_done >= steps:
        return
    checkpoint = store.recover()
    step = checkpoint.step if checkpoint else 0
    if checkpoint is None:
        store.add_first_probe(make_probe(0))
    if checkpoint and step >= steps:
        store.write_params(checkpoint.arrays)
        store.write_runs("done", step, 1.0)
        store.release()
        return
    store.write_runs("running", step, 0.0)
    for start in range(step, steps, CHUNK):
        stop = start + CHUNK
        store.add(make_chunk(start, stop))
        end = store.next_end(stop)
        if stop in (end, steps) or (end is None and stop % commit_every == 0):
            store.commit(make_state(stop), 1.0, "done" if stop == steps else "running")
    store.release()


def commit_group(out: Path, start: int, stop: int, status: str = "running") -> None:
    """Commits steps start..stop-1 of a pack that may have earlier ones."""
    train = make_store(Folder(out))
    if train.recover() is None:
        train.add_first_probe(make_probe(0))
    train.add(make_chunk(start, stop))
    train.commit(make_state(stop), 1.0, status)


def commit_thrice(root: Path) -> Folder:
    """Commits 10 steps each at 10, 20 and 30 of 40 steps."""
    folder = Folder(root)
    folder.root.mkdir()
    create(folder, RECORD)
    make_store(folder).write_runs("running", 0, 0.0)
    for stop in (10, 20, 30):
        commit_group(folder.root, stop - 10, stop)
    return folder


def lose_newest(folder: Folder) -> None:
    """Damages the checkpoint at 30, so that the rows from 20 on are computed again."""
    folder.checkpoint(PACK, 30).write_bytes(b"")
