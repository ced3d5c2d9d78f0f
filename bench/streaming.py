"""What it costs to keep every record: from chunks to Parquet, from Parquet to a data frame.

write: real records (a pack of digits, 9 layers of width 64, default metrics at every step) through
`group_tables` and `write_parquet`, and through other settings of the same file, table by table.
A value is a cell that is no key; the bytes of its keys, and of all else in the file, count as its.

cost: the processor time of the whole process, threads included, for training such a pack and
storing everything, over that for training it and discarding the records; in turn, median of ratios.

read: bench/reading.py.
"""

import os

os.environ |= {"JAX_PLATFORMS": "cpu", "PJRT_NPROC": "1"}  # before JAX starts: one thread

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tfc_jax.chunk import Chunk
from tfc_jax.committer import Committer
from tfc_jax.engine import PackEngine
from tfc_jax.files import sha256, sync_file
from tfc_jax.folder_tables import create
from tfc_jax.keys import Run
from tfc_jax.layout import Folder
from tfc_jax.pack import pack_id
from tfc_jax.record import Record
from tfc_jax.schema import KEY_COLUMNS, result_columns
from tfc_jax.store import PackStore
from tfc_jax.tables import group_tables, parquet_options, write_parquet
from tfc_jax.task import Task
from tfc_jax.worker import prepare

READING = str(Path(__file__).with_name("reading.py"))
PARTS = ("write", "cost", "read")
EVERYTHING = ("similarity", "gradients", "norms", "units", "weight_gradients", "common_direction")


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if "write" in options.part:
            for metrics in (Record().metrics, EVERYTHING):
                _report_writing(_task(64, options, Path(folder), metrics), options.repeats)
        if "cost" in options.part:
            for width in options.width:
                _report_cost(_task(width, options, Path(folder)), options.repeats)
        if "read" in options.part:
            reading = [sys.executable, READING, "--rows", str(options.rows), "--folder", folder]
            subprocess.run(reading, check=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--width", type=int, nargs="*", default=[64, 256], help="of `cost`")
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the frame of `read`")
    parser.add_argument("--folder", help="where to write; the system's for temporary files")
    return parser.parse_args()


def _task(
    width: int, options: argparse.Namespace, folder: Path, metrics: tuple[str, ...] = ()
) -> Task:
    runs = tuple(
        Run(seed=seed, depth=9, width=width, init_scale=0.8, steps=options.steps)
        for seed in range(options.runs)
    )
    record = replace(Record(), metrics=metrics or Record().metrics)
    pack = pack_id(run.run_id for run in runs)
    return Task(str(folder), pack, "bench", runs, len(runs), "mapped", record, options.steps)


@dataclass(frozen=True)
class Cost:
    """What it takes to write one table.

    Attributes:
      values: cells that are no key.
      cpu_s: processor time; wall_s: until it is on the disk; size: of the file in bytes.
    """

    values: int
    cpu_s: float
    wall_s: float
    size: int

    def __str__(self) -> str:
        return (
            f"{self.values / 1e6:7.2f} M values {1e9 * self.cpu_s / self.values:7.1f} CPU-ms/M"
            f" {self.values / self.wall_s / 1e6:7.1f} M/s {self.size / self.values:6.2f} bytes each"
        )


def _report_writing(task: Task, repeats: int) -> None:
    chunks = list(_trained(prepare(task)[0], task))
    run_ids, columns = [run.run_id for run in task.runs], result_columns(task.record)
    print(f"\nwrite: {task.steps} steps of {len(task.runs)} runs, {', '.join(task.record.metrics)}")
    seconds = [_timed(lambda: group_tables(chunks, run_ids, columns, None)) for _ in range(repeats)]
    tables = group_tables(chunks, run_ids, columns, None)
    n_values = sum(_n_values(name, table) for name, table in tables.items())
    grouping = 1e9 * statistics.median(cpu for cpu, _ in seconds) / n_values
    print(f"{'group_tables':34} {n_values / 1e6:7.2f} M values {grouping:7.1f} CPU-ms/M")
    for name, table in tables.items():
        for setting, write in {"write_parquet": write_parquet, **_variants(table.schema)}.items():
            path = Path(task.out) / "part.parquet"
            costs = [_writing(name, table, path, write) for _ in range(repeats)]
            print(f"{name:12} {setting:21} {min(costs, key=lambda c: c.cpu_s)}")
    both = [_timed(lambda: _all_on_disk(chunks, task)) for _ in range(repeats)]
    cpu, wall = (statistics.median(times) for times in zip(*both, strict=True))
    print(f"{'all to disk with SHA-256':34} {Cost(n_values, cpu, wall, _size(Path(task.out)))}")


def _all_on_disk(chunks: list[Chunk], task: Task) -> None:
    """What a commit does with the records."""
    run_ids, columns = [run.run_id for run in task.runs], result_columns(task.record)
    for name, table in group_tables(chunks, run_ids, columns, None).items():
        path = Path(task.out) / f"{name}.parquet"
        write_parquet(table, path)
        sync_file(path)
        sha256(path)


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.glob("*.parquet") if p.stem in KEY_COLUMNS)


def _n_values(name: str, table: pa.Table) -> int:
    return table.num_rows * (table.num_columns - len(KEY_COLUMNS[name]))


def _timed(call: Callable[[], Any]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def _writing(
    name: str, table: pa.Table, path: Path, write: Callable[[pa.Table, Path], None]
) -> Cost:
    def to_disk() -> None:
        write(table, path)
        sync_file(path)

    return Cost(_n_values(name, table), *_timed(to_disk), path.stat().st_size)


def _variants(schema: pa.Schema) -> dict[str, Callable[[pa.Table, Path], None]]:
    """Writers that differ from write_parquet in one setting."""
    base = parquet_options(schema)
    keys = [name for name in ("run_id", "step", "layer") if name in schema.names]
    encoding = {n: e for n, e in base["column_encoding"].items() if n not in keys}
    changed: dict[str, Mapping[str, Any]] = {
        "zstd 3": {"compression_level": 3},
        "lz4": {"compression": "lz4"},
        "no byte split": {"column_encoding": dict.fromkeys(encoding, "PLAIN")},
        "keys by dictionary": {"use_dictionary": keys, "column_encoding": encoding},
        "no statistics": {"write_statistics": False},
        "statistics of keys": {"write_statistics": keys},
        "pages of 256 KiB": {"data_page_size": 2**18},
        "pages of 4 MiB": {"data_page_size": 2**22},
        "no checksums": {"write_page_checksum": False},
    }
    return {name: _writer(base | dict(change)) for name, change in changed.items()}


def _writer(options: dict[str, Any]) -> Callable[[pa.Table, Path], None]:
    return lambda table, path: pq.write_table(table, path, **options)


def _trained(engine: PackEngine, task: Task) -> Iterator[Chunk]:
    return engine.train(engine.init(), 0, task.steps, lambda span: False)


def _report_cost(task: Task, repeats: int) -> None:
    engine, facts = prepare(task)
    discarded: list[float] = []
    stored: list[float] = []
    for repeat in range(repeats + 1):
        discarding = _timed(lambda: _discard(engine, task))
        with tempfile.TemporaryDirectory(dir=task.out) as out:
            mine = replace(task, out=out)
            storing = _timed(lambda: _store(engine, mine, facts))  # noqa: B023 - called here
        if repeat:  # the first compiles
            discarded.append(discarding[0])
            stored.append(storing[0])
    ratios = [b / a - 1 for a, b in zip(discarded, stored, strict=True)]
    per_step = 1e6 * statistics.median(discarded) / task.steps / len(task.runs)
    print(
        f"\ncost: width {task.runs[0].width}, {per_step:.1f} us per step without storing, "
        f"{statistics.median(ratios):+.2%} with ({min(ratios):+.2%} to {max(ratios):+.2%})"
    )


def _discard(engine: PackEngine, task: Task) -> None:
    for _ in _trained(engine, task):
        pass


def _store(engine: PackEngine, task: Task, facts: Mapping[str, Any]) -> None:
    folder = Folder(Path(task.out))
    create(folder, task.record)
    store = PackStore(folder, task.pack, task.runs, task.record, facts)
    store.write_runs("running", 0, 0.0)
    with Committer(store, task, 0.0, lambda event: None) as committer:
        for chunk in engine.train(engine.init(), 0, task.steps, committer.is_due):
            committer.put(chunk)


if __name__ == "__main__":
    main()
