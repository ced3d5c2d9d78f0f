"""How packs per second grow with workers, and what a pack costs beside its training.

Each line is one launch, a process of its own: a sweep of equal packs (digits, 3 layers of 32, one
program), by each executor with 1 to 8 workers. Counted from the moment at which as many packs are
done as there are workers, so that starting and compiling do not count. `overhead` is what a worker
takes for a pack that has next to nothing to train: taking it, its first and last commit, its end;
by Ray and SLURM also what the engine takes, by SLURM a new process. Where there are more workers
than cores they share these: `efficiency` is against as many single workers as there are cores.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.costs import cost
from tfc_jax import event_log
from tfc_jax.layout import Folder

STEPS = {"training": 2_000, "overhead": 10}  # of a pack
RUNS_PER_PACK = 16
RECORD: dict[str, object] = {"every": 100}
ENGINES = {
    "local": [],
    "ray": ["--executor", "ray"],
    "slurm": ["--executor", "slurm", "--slurm", "cluster=local"],
}

HEADINGS = f"{'executor':8} {'workers':>7} {'packs/s':>8} {'efficiency':>10} {'overhead s':>10}"


@dataclass(frozen=True)
class Point:
    """Packs of a launch per second, once all workers are at work.

    Attributes:
      packs: that were counted.
      packs_per_s: of `steps` steps each.
    """

    executor: str
    workers: int
    steps: int
    packs: int
    packs_per_s: float

    @property
    def worker_s(self) -> float:
        """Seconds of a worker for each pack."""
        return self.workers / self.packs_per_s


def main() -> None:
    options = _options()
    cores = len(os.sched_getaffinity(0))
    points: list[Point] = []
    print(f"{cores} cores\n{HEADINGS}")
    for executor in options.executor:
        for workers in options.workers:
            n_packs = max(options.packs, 3 * workers)
            both = [measured(executor, workers, steps, n_packs) for steps in STEPS.values()]
            points += both
            print(line(both[0], both[1], single(points), cores), flush=True)
    if options.out:
        options.out.write_text(
            json.dumps({"cores": cores, "points": list(map(asdict, points))}, indent=1) + "\n"
        )


def single(points: Sequence[Point]) -> Point:
    """Returns the measured launch with the fewest workers, the first of several."""
    training = [point for point in points if point.steps == STEPS["training"]]
    return min(training, key=lambda point: point.workers)


def line(training: Point, overhead: Point, alone: Point, cores: int) -> str:
    """Efficiency is against as many of `alone` as there are workers, cores at most."""
    ideal = alone.packs_per_s / alone.workers * min(training.workers, cores)
    return (
        f"{training.executor:8} {training.workers:7} {training.packs_per_s:8.3f} "
        f"{training.packs_per_s / ideal:10.0%} {overhead.worker_s:10.3f}"
    )


def measured(executor: str, workers: int, steps: int, n_packs: int) -> Point:
    """Launches a sweep, and looks in its log when packs ended."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sweep.yaml").write_text(json.dumps(_sweep(steps, n_packs)))  # JSON is YAML
        command = ["-m", "tfc_jax", "run", "sweep.yaml", "--out", "results", "-q"]
        sized = ["--workers", str(workers), "--pack-width", str(RUNS_PER_PACK)]
        cost([sys.executable, *command, *sized, *ENGINES[executor]], folder)
        log = event_log.entries(Folder(folder / "results"))
        ends = [entry.elapsed_s or 0.0 for entry in log if entry.event == "finished"]
    counted = ends[workers - 1 :]
    n_counted = len(counted) - 1
    return Point(executor, workers, steps, n_counted, n_counted / (counted[-1] - counted[0]))


def _sweep(steps: int, n_packs: int) -> dict[str, object]:
    return {
        "name": "scaling",
        "base": {"dataset": "digits", "depth": 3, "width": 32, "steps": steps},
        "seeds": n_packs * RUNS_PER_PACK,
        "record": RECORD,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--executor", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--packs", type=int, default=24, help="of a launch, at least 3 per worker")
    parser.add_argument("--out", type=Path, help="writes the points as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
