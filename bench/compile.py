"""What a program costs before its first step: tracing, lowering, and XLA's compilation.

For each program, one process with an empty compilation cache and then one that finds it full, as a
second launch does. Processor seconds on one CPU core of init, probe and chunk, of packs of 16 runs
of the digits, mapped. `start` is what comes before: interpreter, imports, the data set.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from tfc_jax.executors.local import cpu_environment
from tfc_jax.options import Options, worker_settings

STAGES = ("trace", "lower", "compile")
RECORDS: dict[str, dict[str, Any]] = {
    "every step": {},
    "every 10": {"every": 10},
    "no metrics": {"metrics": ()},
}
Seconds = dict[str, dict[str, float]]  # of each stage, by executable


def main() -> None:
    options = _options()
    if options.child:
        print(json.dumps(_measured(*json.loads(options.child))))
        return
    print(f"{'':38}{'start':>8}" + "".join(f"{stage:>8}" for stage in STAGES) + f"{'sum':>8}")
    for depth in options.depth:
        for record in options.record:
            _report(depth, options.width, record)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, nargs="*", default=[9, 10, 50])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--record", nargs="*", default=list(RECORDS), choices=list(RECORDS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def _report(depth: int, width: int, record: str) -> None:
    sums = []
    with tempfile.TemporaryDirectory() as cache:
        for launch in ("first", "second"):
            start, seconds = _child(depth, width, record, cache)
            parts = [sum(of[stage] for of in seconds.values()) for stage in STAGES]
            sums.append(sum(parts))
            cells = "".join(f"{value:8.2f}" for value in (start, *parts, sums[-1]))
            print(f"{f'mlp {depth}x{width}, {record}, {launch}':38}{cells}")
            for name, of in seconds.items():
                print(f"{name:>38}{'':8}" + "".join(f"{of[stage]:8.2f}" for stage in STAGES))
    print(f"{'second / first':>38}{sums[1] / sums[0]:40.1%}", flush=True)


def _child(depth: int, width: int, record: str, cache: str) -> tuple[float, Seconds]:
    settings = worker_settings(Options()) | {"JAX_COMPILATION_CACHE_DIR": cache}
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps([depth, width, record])],
        env=os.environ | cpu_environment() | settings,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    start, seconds = json.loads(done.stdout)
    return start, seconds


def _measured(depth: int, width: int, record: str) -> tuple[float, Seconds]:
    from tfc_jax.keys import Run
    from tfc_jax.record import Record
    from tfc_jax.task import Task
    from tfc_jax.timetable import Span
    from tfc_jax.worker import prepare, settle

    settle()
    runs = tuple(Run(depth=depth, width=width, seed=seed, steps=100) for seed in range(16))
    engine, _ = prepare(Task("", "", "", runs, 16, "mapped", Record(**RECORDS[record]), 100))
    lanes, hyper, program = engine._n_lanes, engine._hyper, engine.program
    timetable = engine._timetable(Span(0, 1, (0,)))
    start = time.process_time()
    seconds = {"init": _stages(program.init, lanes, hyper)}
    state = (lanes, program.init.trace(lanes, hyper).out_info, hyper, engine.data)
    seconds["probe"] = _stages(program.probe, *state)
    seconds["chunk"] = _stages(program.chunk, *state, timetable)
    return start, seconds


def _stages(function: Any, *arguments: Any) -> dict[str, float]:
    times = [time.process_time()]
    traced = function.trace(*arguments)
    times.append(time.process_time())
    lowered = traced.lower()
    times.append(time.process_time())
    lowered.compile()
    times.append(time.process_time())
    return {stage: times[i + 1] - times[i] for i, stage in enumerate(STAGES)}


if __name__ == "__main__":
    main()
