"""Whether a run costs the same in a large sweep as in a small one.

`tfc run` of one small program (digits) with ever more seeds, each in a process of its own and an
empty results folder, with the compilation cache full. Few steps: what a pack costs besides its
steps shows most. `us per run-step` is by the clock, from the end of the first pack to that of the
last, as log.jsonl tells it: start and compilation apart. `CPU us` is processor time, workers
included, beyond that of a sweep of one pack; where runs are few, its noise is that of two starts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ONE_PACK = 16


class Cost(NamedTuple):
    """What one `tfc run` took, its workers included."""

    wall_s: float
    cpu_s: float
    packs_s: float  # on the clock, from the end of the first pack to that of the last


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        os.environ["TFC_CACHE"] = str(Path(folder) / "cache")
        sweep = Path(folder) / "sweep.yaml"
        sweep.write_text(json.dumps(_sweep(max(options.runs), options)))  # JSON is YAML
        _cost(sweep, ONE_PACK)  # compiles
        print(f"{'runs':>6}  {'wall s':>7}  {'CPU s':>7}  {'us per run-step':>15}  {'CPU us':>7}")
        for _ in range(options.repeats):
            _report(sweep, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="*", default=[64, 256, 1024, 4096])
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--folder", help="where to write; the system's for temporary files")
    return parser.parse_args()


def _sweep(n: int, options: argparse.Namespace) -> dict[str, object]:
    shape = {"depth": options.depth, "width": options.width}
    base = {"dataset": "digits", "steps": options.steps, **shape}
    return {"name": "flat", "base": base, "grid": {"seed": {"range": [0, n]}}}


def _report(sweep: Path, options: argparse.Namespace) -> None:
    start = _cost(sweep, ONE_PACK)
    print(f"{ONE_PACK:6}  {start.wall_s:7.2f}  {start.cpu_s:7.2f}", flush=True)
    for n in options.runs:
        cost = _cost(sweep, n)
        steps = (n - ONE_PACK) * options.steps
        wall, cpu = 1e6 * cost.packs_s / steps, 1e6 * (cost.cpu_s - start.cpu_s) / steps
        print(f"{n:6}  {cost.wall_s:7.2f}  {cost.cpu_s:7.2f}  {wall:15.1f}  {cpu:7.1f}", flush=True)


def _cost(sweep: Path, n: int) -> Cost:
    with tempfile.TemporaryDirectory(dir=sweep.parent) as out:
        selected = [str(sweep), "--limit", str(n), "--out", out]
        command = [sys.executable, "-m", "tfc_jax.cli", "run", "--quiet", *selected]
        begun = os.times().elapsed
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(command)} ended with exit code {process.returncode}.")
        wall_s, cpu_s = os.times().elapsed - begun, usage.ru_utime + usage.ru_stime
        return Cost(wall_s, cpu_s, _packs_seconds(Path(out)))


def _packs_seconds(out: Path) -> float:
    events = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    ends = [event["elapsed_s"] for event in events if event["event"] == "finished"]
    return float(ends[-1] - ends[0])


if __name__ == "__main__":
    main()
