"""How near an accelerator's limits a lockstep pack comes: `python -m bench.gpu`, prints JSON.

512 networks 784-512x8-10, batch 100, in one pack of one process. Times are between chunks that the
engine hands out, so they are those of its dispatch loop. Needs JAX with the accelerator's plugin,
no PyTorch. `--precision high`, `--momentum 0.9 --momentum-dtype bfloat16`: keys of all runs.
`--quick`: tiny networks, to see on a CPU that it runs.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bench import sweep
from bench.draw import write_images
from bench.problem import Problem
from tfc_jax.engine import PackEngine
from tfc_jax.folder_tables import create
from tfc_jax.keys import KEYS
from tfc_jax.keytypes import Key
from tfc_jax.layout import Folder
from tfc_jax.pack import Pack
from tfc_jax.record import Record
from tfc_jax.task import Task
from tfc_jax.timetable import LONGEST_CHUNK
from tfc_jax.worker import prepare, train_pack

PROBLEM = Problem("784-512x8-10", "images", depth=9, width=512, runs=512)
TINY = replace(PROBLEM, title="tiny", depth=3, width=16, runs=4, n_train=500)
COPY_BYTES, TINY_COPY_BYTES = 2**32, 2**24
WEIGHT_TRIPS = 3  # a step reads each weight forward and backward, and writes it
REPEATS = 5
KEYS_OF_RUNS = ("precision", "momentum", "momentum_dtype")
PRODUCTS = {  # batched over runs: forward, weight gradient, feature gradient
    "forward": "rbi,rio->rbo",
    "weight gradient": "rbi,rbo->rio",
    "feature gradient": "rbo,rio->rbi",
}


@dataclass(frozen=True)
class Prepared:
    """A pack and its engine, nothing of it on the device yet but the data set."""

    pack: Pack
    task: Task
    engine: PackEngine


def main() -> None:
    options = _options()
    problem = TINY if options.quick else PROBLEM
    problem = replace(problem, runs=options.runs or problem.runs)
    with tempfile.TemporaryDirectory(prefix="tfc_bench.") as folder:
        write_images(problem, Path(folder))
        print(json.dumps(measure(problem, Path(folder), options), indent=1))


def measure(problem: Problem, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Returns everything that is printed. Memory first: what is used at most only ever rises."""
    record = sweep.EVERY_STEP
    keys = options.keys
    bare = prepared(problem, folder, sweep.BARE, keys)
    result: dict[str, Any] = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    result["keys"] = keys
    result["bare"] = _pace(problem, bare, sweep.BARE, options.chunks)
    measured = prepared(problem, folder, record, keys)
    result["every step"] = _pace(problem, measured, record, options.chunks)
    chunk_s = result["every step"]["chunk_s"]["median"]
    result["to Parquet"] = _stored(problem, folder, keys, options.chunks, chunk_s)
    alone = replace(problem, runs=1)
    lone = prepared(alone, folder, sweep.BARE, keys)
    result["one run alone"] = _pace(alone, lone, sweep.BARE, options.chunks)
    precision = bare.task.runs[0].precision
    limits = _limits(problem, precision, TINY_COPY_BYTES if options.quick else COPY_BYTES)
    result["limits"] = limits
    for name in ("bare", "every step"):
        result[name]["of_larger_floor"] = limits["larger_floor_s"] / result[name]["step_s"]
    result["times_one_run_alone"] = (
        result["bare"]["run_steps_per_s"] / result["one run alone"]["run_steps_per_s"]
    )
    return result


def prepared(
    problem: Problem,
    folder: Path,
    record: Record,
    keys: sweep.Keys,
    steps: int = LONGEST_CHUNK,
    out: str = "",
) -> Prepared:
    """Returns all runs of a problem as one lockstep pack."""
    ((pack, of_sweep),) = sweep.packs(
        problem, folder, record, steps, width=problem.runs, schedule="lockstep", keys=keys
    )
    task = Task.of(pack, of_sweep, out)
    return Prepared(pack, task, prepare(task)[0])


def _pace(problem: Problem, ready: Prepared, record: Record, chunks: int) -> dict[str, Any]:
    """Speed and memory of the dispatch loop, records fetched and dropped."""
    engine = ready.engine
    far = (chunks + 2) * LONGEST_CHUNK  # never reached: the last chunk fetches the whole state
    training = engine.train(engine.init(), 0, far, lambda span: False)
    times = [time.perf_counter() for _ in islice(training, chunks + 1)]
    del training  # and the state with it
    _wait_for_device()
    seconds = [after - before for before, after in pairwise(times)]
    step_s = statistics.median(seconds) / LONGEST_CHUNK
    return {
        "step_s": step_s,
        "run_steps_per_s": problem.runs / step_s,
        "chunk_s": {"median": statistics.median(seconds), "all": seconds},
        "planned_bytes": ready.pack.device_bytes(record),
        "peak_bytes_so_far": _peak_bytes(),
    }


def _stored(
    problem: Problem, folder: Path, keys: sweep.Keys, chunks: int, chunk_s: float
) -> dict[str, Any]:
    """How long the device waits for the store: until the last chunk but one is stored, and in all.

    Args:
      chunk_s: of a chunk whose records are dropped.
    """
    record, steps = sweep.EVERY_STEP, (chunks + 1) * LONGEST_CHUNK
    out = folder / "results"
    create(Folder(out), record)
    task = prepared(problem, folder, record, keys, steps, str(out)).task
    times: list[float] = []
    if not train_pack(task, lambda event: times.append(time.perf_counter()), lambda: False):
        raise RuntimeError("the pack stopped before its end")
    until_last_but_one, whole = times[-2] - times[0], times[-1] - times[0]
    return {
        "seconds": until_last_but_one,
        "idle_share": 1 - chunks * chunk_s / until_last_but_one,
        "seconds_with_final_commit": whole,
        "idle_share_with_final_commit": 1 - (chunks + 1) * chunk_s / whole,
        "bytes": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()),
    }


def _limits(problem: Problem, precision: str, copy_bytes: int) -> dict[str, Any]:
    """The time that a step of all runs needs at least, by memory and by arithmetic."""
    bandwidth = _copy_bandwidth(copy_bytes)
    speeds = {name: _matmul_speed(problem, kind, precision) for name, kind in PRODUCTS.items()}
    weight_bytes = WEIGHT_TRIPS * 4 * problem.params * problem.runs
    floors = {
        "memory_floor_s": weight_bytes / bandwidth,
        "arithmetic_floor_s": problem.step_flops * problem.runs / max(speeds.values()),
    }
    return {
        "copy_bytes_per_s": bandwidth,
        "matmul_flops_per_s": speeds,
        "precision": precision,
        **floors,
        "larger_floor_s": max(floors.values()),
    }


def _copy_bandwidth(n_bytes: int) -> float:
    """Bytes read and written per second by x -> -x."""
    x = jnp.ones(n_bytes // 4, jnp.float32)
    return 2 * n_bytes / _seconds(jax.jit(lambda x: -x), x)


def _matmul_speed(problem: Problem, kind: str, precision: str) -> float:
    """FLOPs per second of the products of one hidden layer of all runs."""
    sizes = {"r": problem.runs, "b": problem.batch_size, "i": problem.width, "o": problem.width}
    keys = jax.random.split(jax.random.key(0))
    left, right = kind.partition("->")[0].split(",")
    operands = [
        jax.random.normal(key, [sizes[axis] for axis in axes])
        for key, axes in zip(keys, (left, right), strict=True)
    ]
    product = jax.jit(lambda a, b: jnp.einsum(kind, a, b, precision=precision))
    flops = 2 * problem.runs * problem.batch_size * problem.width**2
    return flops / _seconds(product, *operands)


def _seconds(call: Callable[..., Array], *arguments: Array) -> float:
    """Median of the calls after the first, which compiles."""
    jax.block_until_ready(call(*arguments))
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(call(*arguments))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _wait_for_device() -> None:
    """A device computes in order, so what is asked last is done last."""
    jax.block_until_ready(jnp.zeros(()) + 1)


def _peak_bytes() -> int | None:
    """Device memory used at most until now; None where JAX does not count it (CPU)."""
    memory = jax.devices()[0].memory_stats()
    return None if memory is None else memory["peak_bytes_in_use"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="tiny networks, whose times say nothing"
    )
    parser.add_argument("--runs", type=int, help="of the pack; default: 512")
    parser.add_argument("--chunks", type=int, default=4, help=f"timed, {LONGEST_CHUNK} steps each")
    for name in KEYS_OF_RUNS:
        _add_key(parser, KEYS[name])
    options = parser.parse_args()
    options.keys = {name: getattr(options, name) for name in KEYS_OF_RUNS}
    return options


def _add_key(parser: argparse.ArgumentParser, key: Key) -> None:
    """A key of the sweep language as an option, checked likewise."""

    def checked(text: str) -> Any:
        try:
            return key.checked(type(key.default)(text))
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    option, help_text = f"--{key.name.replace('_', '-')}", f"{key.allowed}; default: {key.default}"
    parser.add_argument(option, type=checked, default=key.default, help=help_text)


if __name__ == "__main__":
    main()
