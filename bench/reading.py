"""How fast, and in how much memory, stored layers become a data frame.

Each call is made in a process of its own, whose peak of memory above what it had before the call is
compared with the memory of the frame. The first half of the steps has as many rows as asked for.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from tfc_jax.chunk import Chunk
from tfc_jax.folder_tables import create
from tfc_jax.keys import Run
from tfc_jax.layout import Folder, part_name
from tfc_jax.pack import pack_id
from tfc_jax.record import Record
from tfc_jax.results import open_results
from tfc_jax.schema import result_columns
from tfc_jax.store import PackStore
from tfc_jax.tables import group_tables, write_parquet
from tfc_jax.timetable import Span

DEPTH, RUNS_PER_PACK, STEPS, PART_STEPS = 9, 16, 2000, 500
CALLS: dict[str, dict[str, Any]] = {
    "one column": {"where": "depth == 9 and step < 1000", "columns": ["feature_cos"]},
    "five columns": {
        "where": "depth == 9 and step < 1000",
        "columns": [
            "feature_cos",
            "feature_cos_within",
            "feature_cos_between",
            "feature_deficit",
            "feature_norm",
        ],
    },
    "with config": {
        "where": "step < 1000",
        "columns": ["feature_cos"],
        "config": ["seed", "depth", "activation"],
    },
    "all columns": {"where": "step < 1000"},
    "row by row": {"where": "step < 1000 and (feature_cos > 0 or seed < 3)", "columns": []},
    "one layer": {"where": "layer == 5 and step < 1000", "columns": ["feature_cos"]},
    "hundred steps": {"where": "step < 100", "columns": ["feature_cos"]},
    "one run": {"where": "seed == 3", "columns": ["feature_cos"]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", help="where to write; the system's for temporary files")
    parser.add_argument("--read", help=argparse.SUPPRESS)  # a process for one call
    parser.add_argument("--arguments", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(options.read, options.arguments)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report(Path(folder) / "replica", options.rows)


def report(path: Path, rows: int) -> None:
    n_packs = max(round(rows / (RUNS_PER_PACK * STEPS // 2 * DEPTH)), 1)
    make_results(path, n_packs)
    print(f"\nread: layers of {n_packs} packs of {RUNS_PER_PACK} runs, {STEPS} steps", flush=True)
    for name, arguments in CALLS.items():
        best = min((measured(path, arguments) for _ in range(3)), key=lambda m: m["wall_s"])
        print(
            f"{name:14} {best['rows'] / 1e6:6.2f} M rows {best['wall_s']:6.2f} s "
            f"{best['cpu_s']:6.2f} CPU-s  frame {best['frame'] / 1e6:5.0f} MB  "
            f"peak {best['peak'] / 1e6:5.0f} MB = {best['peak'] / best['frame']:.2f} x",
            flush=True,
        )


def make_results(out: Path, n_packs: int) -> None:
    """A folder as packs leave it: random walks, the same for all packs."""
    folder, record = Folder(out), Record()
    create(folder, record)
    parts = [_walk(start, record) for start in range(0, STEPS, PART_STEPS)]
    for pack in range(n_packs):
        seeds = range(pack * RUNS_PER_PACK, (pack + 1) * RUNS_PER_PACK)
        runs = tuple(Run(seed=seed, depth=DEPTH, steps=STEPS) for seed in seeds)
        store = PackStore(folder, pack_id(r.run_id for r in runs), runs, record, {})
        ids = pa.array(np.repeat([r.run_id for r in runs], PART_STEPS * DEPTH).tolist())
        for i, part in enumerate(parts):
            name = part_name(store.pack, i * PART_STEPS, (i + 1) * PART_STEPS)
            write_parquet(
                part.set_column(0, part.schema.field(0), ids), folder.table("layers") / name
            )
        store.write_runs("done", STEPS, 1.0)


def _walk(start: int, record: Record) -> pa.Table:
    columns = result_columns(record)["layers"]
    shape = (RUNS_PER_PACK, PART_STEPS, DEPTH)
    rng = np.random.default_rng(start)
    walk = rng.standard_normal(shape).astype(np.float32).cumsum(axis=1)
    steps = tuple(range(start, start + PART_STEPS))
    values = dict.fromkeys([c.name for c in columns], walk)
    chunk = Chunk(Span(start, steps[-1] + 1, steps), {"loss": walk[..., 0]}, values, None, None)
    ids = [str(lane) for lane in range(RUNS_PER_PACK)]
    return group_tables([chunk], ids, {"layers": columns, "steps": ()}, None)["layers"]


def measured(path: Path, arguments: dict[str, Any]) -> dict[str, float]:
    """Reads in a process of its own; returns rows, seconds and bytes."""
    command = [sys.executable, __file__, "--read", str(path), "--arguments", json.dumps(arguments)]
    found = subprocess.run(command, capture_output=True, check=True).stdout
    return cast(dict[str, float], json.loads(found))


def read(path: str, arguments: dict[str, Any]) -> dict[str, float]:
    results = open_results(path)
    results.layers(where="run_id == 'none'", columns=[])  # imports and pools are there
    before = _status_bytes("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    frame = results.layers(**arguments)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    size = int(frame.memory_usage().sum())  # texts of Arrow included
    peak = _status_bytes("VmHWM") - before
    return {"rows": len(frame), "wall_s": wall, "cpu_s": cpu, "frame": size, "peak": peak}


def _status_bytes(field: str) -> int:
    """VmRSS, memory now, or VmHWM, its peak; not ru_maxrss, which a parent hands down (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    main()
