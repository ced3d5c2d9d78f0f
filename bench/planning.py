"""What planning costs: `tfc validate` and `tfc plan`, as a user types them, for many runs.

Each line is one process of its own, imports included: seconds on the clock, seconds of processor
time, and the peak of its resident memory. Four kinds of sweep: `seeds` has few programs (2) and
many seeds, `programs` has 100, `stored` is `programs` in a folder in which the first tenth of the
packs is done, `killed` is that without the copy of the runs table that the end of a launch leaves.
All have an exclude and, in `plan`, a --filter. `launch` is all that `tfc run` does until the first
worker would start.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.costs import HEADINGS, cost

STORED_SHARE = 0.1
FILTER = "depth > 2 and not (width == 16 and learning_rate > 0.19)"
LAUNCH = """
import sys
from tfc_jax.executors import local
local.execute = lambda *_: None  # before the first worker starts
from tfc_jax.cli import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    sys.exit(end.code if end.code != 1 else 0)  # 1: some runs are not done, of course
"""


def main() -> None:
    options = _options()
    print(f"{'runs':>9}  {'sweep':8}  {'command':8}  {HEADINGS}")
    for n in options.runs:
        for kind in options.kind:
            with tempfile.TemporaryDirectory() as folder:
                _report(n, kind, options.command, Path(folder))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kind", nargs="*", default=["seeds", "programs", "stored", "killed"])
    parser.add_argument("--command", nargs="*", default=["validate", "plan"])
    return parser.parse_args()


def _report(n: int, kind: str, commands: list[str], folder: Path) -> None:
    path, out = folder / "sweep.yaml", folder / "results"
    path.write_text(json.dumps(_sweep(n, 2 if kind == "seeds" else 100)))  # JSON is YAML
    if kind in ("stored", "killed"):
        # In a process of its own: what this one holds would count as its children's peak.
        storing = multiprocessing.get_context("spawn").Process(
            target=_store, args=(path, out, kind)
        )
        storing.start()
        storing.join()
    for command in commands:
        took = cost(_arguments(command, path, out), folder)
        print(f"{n:9}  {kind:8}  {command:8}  {took}", flush=True)


def _sweep(n: int, n_programs: int) -> dict[str, Any]:
    """A sweep of n runs before its exclude, which takes few."""
    depths, widths = (10, 10) if n_programs == 100 else (1, 2)
    traced = n // (depths * widths)
    return {
        "name": "planning",
        "base": {"dataset": "digits", "steps": 4000},
        "grid": {
            "depth": list(range(3, 3 + depths)),
            "width": [16 * (i + 1) for i in range(widths)],
            "init_scale": {"logspace": [0.6, 1.2, 5]},
            "learning_rate": {"logspace": [0.002, 0.2, 5]},
        },
        "exclude": ["depth == 12 and init_scale < 0.7"],
        "seeds": traced // 25,
        "record": {"every": 10},
    }


def _arguments(command: str, path: Path, out: Path) -> list[str]:
    tfc = [sys.executable, "-m", "tfc_jax.cli"]
    if command == "validate":
        return [*tfc, "validate", str(path)]
    selected = [str(path), "--out", str(out), "--filter", FILTER]
    if command == "launch":
        return [sys.executable, "-c", LAUNCH, "run", "--quiet", *selected]
    return [*tfc, command, *selected]


def _store(path: Path, out: Path, kind: str) -> None:
    """Writes rows of the runs table as if the first packs of a plan had been trained."""
    from tfc_jax.config import load_sweep
    from tfc_jax.folder_tables import create, gather_runs
    from tfc_jax.layout import Folder
    from tfc_jax.plan import make_plan
    from tfc_jax.store import PackStore

    sweep, folder = load_sweep(path), Folder(out)
    create(folder, sweep.record)
    packs = make_plan(sweep, platform="cpu").packs
    for pack in packs[: int(STORED_SHARE * len(packs))]:
        facts = {
            "schedule": pack.schedule,
            "pack_width": pack.width,
            "program": pack.program.id,
            "dataset_sha256": pack.program.dataset.sha256,
        }
        store = PackStore(folder, pack.id, pack.runs, sweep.record, facts)
        store.write_runs("done", sweep.steps, wall_s=1.0)
    if kind == "stored":
        gather_runs(folder)


if __name__ == "__main__":
    main()
