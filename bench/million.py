"""What commands cost where a sweep has a million runs: `python -m bench.million --folder DIR`.

The folder gets one sweep (digits, 6 layers of 32, packs of 16), and results as if a launch had
trained nothing, half or all of it: runs table, one part of each table, checkpoint and final weights
per pack, the log. Rows of runs are written by the code of a launch, without its syncs; all parts
are one small file under many names. `killed` is `all` without the copy of the runs table that a
launch leaves, `lagging` is with a copy that lacks the newest packs, as while a launch goes on.

Each line is one process of its own, imports included. `launch` is all that `tfc run` does but
training; of fewer than 20,000 runs it refuses the made-up checkpoints, which it reads then. What
was made is kept in the folder, and used again.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.costs import HEADINGS, cost
from bench.planning import LAUNCH

KINDS = {"empty": 0.0, "half": 0.5, "all": 1.0, "killed": 1.0, "lagging": 0.5}
COMMANDS = ("plan", "status", "json", "ls", "launch")
LAGS = 1000  # packs that the copy lacks
STEPS, WIDTH = 1000, 16
FILTER = "init_scale < 0.7 and seed < 20 and final_loss < 3"


def main() -> None:
    options = _options()
    print(f"{'runs':>9}  {'stored':8}  {'command':8}  {HEADINGS}")
    for kind in options.kind:
        share = KINDS[kind]
        name = "lagging" if kind == "lagging" else f"{share:g}"
        folder = options.folder / f"{options.runs}-{name}"
        if not folder.exists():
            # In a process of its own: what this one holds would count as its children's peak.
            making = multiprocessing.get_context("spawn").Process(
                target=make, args=(folder, options.runs, share, LAGS if kind == "lagging" else 0)
            )
            making.start()
            making.join()
            if making.exitcode:
                sys.exit(f"{folder} is not whole: delete it.")
        with _without_copy(folder / "results") if kind == "killed" else _as_it_is():
            for command in options.command:
                if share or command in ("plan", "launch"):
                    took = cost(_arguments(command, folder), folder)
                    print(f"{options.runs:9}  {kind:8}  {command:8}  {took}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where to make the results")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--kind", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--command", nargs="*", choices=COMMANDS, default=list(COMMANDS))
    return parser.parse_args()


def _arguments(command: str, folder: Path) -> list[str]:
    tfc = [sys.executable, "-m", "tfc_jax.cli"]
    out = str(folder / "results")
    sweep = [str(folder / "sweep.yaml"), "--out", out, "--pack-width", str(WIDTH)]
    return {
        "plan": [*tfc, "plan", *sweep],
        "status": [*tfc, "status", out],
        "json": [*tfc, "status", out, "--json"],
        "ls": [*tfc, "ls", out, "--filter", FILTER],
        "launch": [sys.executable, "-c", LAUNCH, "run", "--quiet", *sweep],
    }[command]


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextmanager
def _without_copy(results: Path) -> Iterator[None]:
    copy, aside = results / ".runs.parquet", results.parent / "copy"
    copy.rename(aside)
    try:
        yield
    finally:
        aside.rename(copy)


def make(folder: Path, n: int, share: float, lags: int) -> None:
    """Writes the sweep, and results in which this share of the packs is done.

    Args:
      lags: the copy of the runs table lacks so many of them.
    """
    from tfc_jax import files, manifest
    from tfc_jax.config import load_sweep
    from tfc_jax.devices import Devices
    from tfc_jax.folder_tables import create, gather_runs
    from tfc_jax.layout import Folder
    from tfc_jax.plan import make_plan

    folder.mkdir(parents=True)
    path, out = folder / "sweep.yaml", Folder(folder / "results")
    path.write_text(json.dumps(_sweep(n)))  # JSON is YAML
    sweep = load_sweep(path)
    plan = make_plan(sweep, platform="cpu", width=WIDTH)
    packs = plan.packs[: round(share * len(plan.packs))]
    if not packs:
        return
    with patch.object(files, "sync_folder"), patch.object(os, "fsync"):
        create(out, sweep.record)
        flags: dict[str, Any] = {"set": [], "filter": None, "limit": None}
        flags |= {"max_memory": None, "deterministic": False}
        manifest.write(out, sweep, Devices("cpu", (0, 1)), flags, trains=True)
        _write_log(out.log, [pack.id for pack in packs])
        for pack in packs[: len(packs) - lags]:
            _write_pack(out, sweep.record, pack)
        gather_runs(out)
        for pack in packs[len(packs) - lags :]:
            _write_pack(out, sweep.record, pack)


def _sweep(n: int) -> dict[str, Any]:
    return {
        "name": "million",
        "base": {"dataset": "digits", "depth": 6, "width": 32, "steps": STEPS},
        "grid": {
            "init_scale": {"logspace": [0.6, 1.2, 25]},
            "learning_rate": {"logspace": [0.002, 0.2, 20]},
        },
        "seeds": n // 500,
        "record": {"every": 10, "probes": []},
    }


def _write_pack(out: Any, record: Any, pack: Any) -> None:
    """Writes the rows of a pack as a commit does, and its other files under names of their own."""
    from tfc_jax.layout import part_name
    from tfc_jax.store import PackStore

    facts = {
        "schedule": pack.schedule,
        "pack_width": pack.width,
        "program": pack.program.id,
        "dataset_sha256": pack.program.dataset.sha256,
        "prior_loss": 2.3026,
        "built_width": 32,
        "n_params": pack.program.sizes.n_params,
        "tfc_version": "0.1.0",
        "jax_version": "0.10.2",
        "device_kind": "cpu",
    }
    store = PackStore(out, pack.id, pack.runs, record, facts)
    store._final = {name: _losses(pack) for name in ("loss", "accuracy")}
    store.write_runs("done", STEPS, wall_s=1.0)
    store.release()
    for table in ("steps", "layers"):
        _named(out.table(table) / part_name(pack.id, 0, STEPS), lambda path: _part(path, pack))
    for path in (out.checkpoint(pack.id, STEPS), out.weights_of(pack.id)):
        _named(path, lambda path: path.write_bytes(b"0" * 1000))


def _losses(pack: Any) -> Any:
    import numpy as np

    return np.array([run.seed % 7 + run.init_scale for run in pack.runs], np.float32)


def _named(path: Path, write: Any) -> None:
    """Gives the first file of its folder another name; every 50,000 a new one, as disks ask for."""
    same = path.parent.parent / f"{path.parent.name}.same"
    if not same.exists() or same.stat().st_nlink > 50_000:
        write(path)
        shutil.copy(path, same)
    else:
        os.link(same, path)


def _part(path: Path, pack: Any) -> None:
    """Writes rows of one pack: steps 0, 10, ... of the losses, or of one layer."""
    import numpy as np
    import pyarrow as pa

    from tfc_jax.tables import write_parquet

    ids = [run.run_id for run in pack.runs]
    steps = np.arange(0, STEPS, 10, dtype=np.int32)
    names = ("loss",) if path.parent.name == "steps" else ("feature_cos_between",)
    columns: dict[str, Any] = {
        "run_id": np.repeat(ids, len(steps)),
        "step": np.tile(steps, len(ids)),
    }
    if path.parent.name == "layers":
        columns["layer"] = np.full(len(steps) * len(ids), 3, np.int32)
    columns |= {name: np.ones(len(steps) * len(ids), np.float32) for name in names}
    write_parquet(pa.table(columns), path)


def _write_log(path: Path, packs: list[str]) -> None:
    """Writes what a launch says of each pack."""
    now = time.time() - 100
    entries: list[dict[str, Any]] = [{"event": "launched", "committed_steps": 0}]
    for pack in packs:
        entries += [{"event": "started", "pack": pack, "step": 0}]
        entries += [{"event": "step", "pack": pack, "step": STEPS // 2}]
        entries += [{"event": "step", "pack": pack, "step": STEPS, "commit_s": 0.01}]
        entries += [{"event": "finished", "pack": pack}]
    stamped = ({"time": now + i * 1e-4, "elapsed_s": i * 1e-4} for i in range(len(entries)))
    lines = (json.dumps(stamp | entry) for stamp, entry in zip(stamped, entries, strict=True))
    path.write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
