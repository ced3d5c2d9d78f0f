"""A pack far too wide for an accelerator halves until it fits: `python -m bench.out_of_memory`.

256 networks 64-2048-2048-10 in one pack, on a device of which only a share is given to JAX; then
the same runs at the width that was found, without a fault. Prints JSON: the widths that were tried,
rows lost and doubled, and how far the losses of the two launches are apart. Needs an accelerator.
`--share 0.05`: of the device's memory. Exit code 1: nothing was halved, or a row is wrong.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfc_jax import devices
from tfc_jax.event_log import entries
from tfc_jax.layout import Folder
from tfc_jax.results import open_results

RUNS, STEPS = 256, 20
SWEEP: dict[str, Any] = {
    "name": "too_wide",
    "base": {"depth": 3, "width": 2048, "batch_size": 32, "steps": STEPS, "learning_rate": 0.01},
    "seeds": RUNS,
    "record": {"metrics": [], "probes": []},
}


def main() -> None:
    options = _options()
    if devices.find().platform == "cpu":
        sys.exit("bench.out_of_memory: needs an accelerator, and this machine has none.")
    with tempfile.TemporaryDirectory(prefix="tfc_bench.") as folder:
        found = measure(Path(folder), options.share)
    print(json.dumps(found, indent=1))
    sys.exit(bool(not found["halved"] or found["lost"] or found["doubled"] or found["failed"]))


def measure(folder: Path, share: float) -> dict[str, Any]:
    """Returns everything that is printed."""
    launch(folder, "wide", RUNS, {"XLA_PYTHON_CLIENT_MEM_FRACTION": str(share)})
    found = account(folder / "wide")
    launch(folder, "narrow", found["pack_width"], {})
    return found | {"apart": apart(folder / "wide", folder / "narrow")}


def launch(folder: Path, out: str, width: int, environment: dict[str, str]) -> None:
    """What a user would type; the sweep is the same for every width."""
    sweep = folder / "too_wide.yaml"
    sweep.write_text(json.dumps(SWEEP))
    flags = ["--out", str(folder / out), "--pack-width", str(width), "--schedule", "lockstep"]
    subprocess.run(
        [sys.executable, "-m", "tfc_jax.cli", "run", str(sweep), *flags],
        env=os.environ | environment,
        stdout=sys.stderr,
        check=False,  # runs that failed are counted
    )


def account(out: Path) -> dict[str, Any]:
    """Returns what became of a launch: widths, runs by status, rows lost and doubled."""
    results = open_results(out)
    runs, rows = results.runs, results.steps(columns=["loss"])
    halved = [entry for entry in entries(Folder(out)) if entry.event == "halved"]
    n_distinct = len(rows[["run_id", "step"]].drop_duplicates())
    return {
        "device": runs["device_kind"].iloc[0],
        "halved": [entry.width for entry in halved],
        "pack_width": int(runs["pack_width"].iloc[0]),
        "failed": int((runs["status"] == "failed").sum()),
        "lost": RUNS * STEPS - n_distinct,
        "doubled": len(rows) - n_distinct,
    }


def apart(one: Path, other: Path) -> float:
    """Returns the largest relative difference between the losses of two launches."""
    a, b = (_losses(out) for out in (one, other))
    return float(np.max(np.abs(a - b) / np.abs(b)))


def _losses(out: Path) -> pd.Series:
    return open_results(out).steps(columns=["loss"]).set_index(["run_id", "step"])["loss"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.05)
    return parser.parse_args()


if __name__ == "__main__":
    main()
