"""What commits cost a sweep: `python -m bench.commits` trains the quickstart for ten minutes.

Its steps are multiplied until it takes so long. Prints for each pack how often it was committed,
how long the commits took, fsync included, and their share of the time that the pack trained. While
a commit waits for the disk, training goes on, so the share is an upper bound of what it costs.
`--minutes 10`, `--workers`: as of `tfc run`; `--folder`: a disk to write to.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfc_jax import devices
from tfc_jax.config import load_sweep
from tfc_jax.executors.local import Interrupt
from tfc_jax.launch import launch
from tfc_jax.layout import Folder
from tfc_jax.options import Options

QUICKSTART = Path(__file__).parents[1] / "sweeps" / "quickstart.yaml"
# From the second launch on, nothing compiles: two of different length tell what a step takes.
FEW_STEPS, MORE_STEPS = 2000, 20_000


@dataclass
class Pack:
    """Times of one pack, in seconds."""

    began: float = 0.0
    ended: float = 0.0
    commits: int = 0
    commit_s: float = 0.0

    def __str__(self) -> str:
        took = self.ended - self.began
        share = self.commit_s / took
        return f"{took:8.1f} s  {self.commits:3} commits  {self.commit_s:6.2f} s  {share:6.2%}"


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="tfc_bench.") as folder:
        _train(Path(folder) / "compiles", FEW_STEPS, options.workers)
        _, few = _train(Path(folder) / "few", FEW_STEPS, options.workers)
        _, more = _train(Path(folder) / "more", MORE_STEPS, options.workers)
        step_s = (more - few) / (MORE_STEPS - FEW_STEPS)
        steps = MORE_STEPS + max(round((60 * options.minutes - more) / step_s), 0)
        print(f"{FEW_STEPS} steps: {few:.1f} s, {MORE_STEPS}: {more:.1f} s; now {steps}")
        packs, seconds = _train(Path(folder) / "long", steps, options.workers)
    for name, pack in packs.items():
        print(f"{name}  {pack}")
    commit_s = sum(pack.commit_s for pack in packs.values())
    trained_s = sum(pack.ended - pack.began for pack in packs.values())
    print(f"{seconds:.1f} s in all; commits take {commit_s / trained_s:.2%} of the packs' time")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--folder", help="where to write; the system's for temporary files")
    return parser.parse_args()


def _train(out: Path, steps: int, workers: int | None) -> tuple[dict[str, Pack], float]:
    """Returns the packs by id, and the seconds of the launch."""
    packs: dict[str, Pack] = defaultdict(Pack)

    def note(event: dict[str, Any]) -> None:
        pack = packs[event["pack"]] if "pack" in event else Pack()
        match event["event"]:
            case "started":
                pack.began = time.monotonic()
            case "step" if "commit_s" in event:
                pack.commits += 1
                pack.commit_s += event["commit_s"]
            case "finished":
                pack.ended = time.monotonic()

    sweep = load_sweep(QUICKSTART, overrides=[f"steps={steps}"])
    began = time.monotonic()
    counts = launch(sweep, Folder(out), Options(workers=workers), devices.find(), note, Interrupt())
    assert counts == {"done": len(sweep.runs)}, counts
    return dict(packs), time.monotonic() - began


if __name__ == "__main__":
    main()
