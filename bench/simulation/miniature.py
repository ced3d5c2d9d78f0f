"""The sweep in miniature: real runs, planned for real, of few steps; and what must come of it."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from bench.simulation.packs import DEPTH, RECORD, RUNS_PER_PACK, STEPS, value
from tfc_jax import fsck, manifest
from tfc_jax.config import Sweep, load_sweep
from tfc_jax.devices import Devices
from tfc_jax.folder_tables import create
from tfc_jax.layout import Folder
from tfc_jax.options import Options
from tfc_jax.plan import make_plan
from tfc_jax.task import Task

FLAGS = {"set": [], "filter": None, "limit": None} | {
    name: getattr(Options(), name)
    for name in ("workers", "pack_width", "schedule", "max_memory", "deterministic")
}


def tasks_of(n_packs: int, out: Folder) -> list[Task]:
    """Plans so many packs and makes their results folder, as a launch does."""
    out.root.mkdir()
    sweep = _sweep(n_packs, out.root.parent)
    plan = make_plan(sweep, platform="gpu", width=RUNS_PER_PACK)
    create(out, sweep.record)
    manifest.write(out, sweep, Devices("gpu", (0,)), FLAGS, trains=True)
    return [Task.of(pack, sweep, str(out.root)) for pack in plan.packs]


def _sweep(n_packs: int, folder: Path) -> Sweep:
    content = {
        "name": "miniature",
        "base": {"dataset": "digits", "depth": DEPTH, "width": 8, "steps": STEPS},
        "seeds": n_packs * RUNS_PER_PACK,
        "record": {
            "every": RECORD.every,
            "probe_every": RECORD.probe_every,
            "metrics": list(RECORD.metrics),
            "probes": list(RECORD.probes),
        },
    }
    path = folder / "miniature.yaml"
    path.write_text(json.dumps(content))  # JSON is YAML
    return load_sweep(path)


def check(tasks: Sequence[Task], out: Folder) -> None:
    """Looks at every row: each is there once and holds what was to be stored.

    Raises:
      AssertionError: one is lost, doubled or another.
    """
    report = fsck.check(out)
    assert not report.damage, report.findings
    lanes = {run.run_id: lane for task in tasks for lane, run in enumerate(task.runs)}
    for table, n_layers in (("steps", 1), ("layers", DEPTH)):
        rows = pq.read_table(out.table(table), columns=_columns(table))
        assert len(rows) == len(lanes) * STEPS * n_layers, f"{len(rows)} rows of {table}"
        lane = np.array([lanes[run] for run in rows["run_id"].to_pylist()])
        layer = rows["layer"].to_numpy() if n_layers > 1 else 0
        step = rows["step"].to_numpy()
        found = rows[_columns(table)[-1]].to_numpy()
        np.testing.assert_array_equal(found, value(step, layer, lane))
        numbers = {
            (r, s, y)
            for r, s, y in zip(
                rows["run_id"].to_pylist(), step, np.broadcast_to(layer, len(step)), strict=True
            )
        }
        assert len(numbers) == len(rows), f"rows of {table} stand twice"


def _columns(table: str) -> list[str]:
    return ["run_id", "step", "loss"] if table == "steps" else ["run_id", "step", "layer", "alive"]
