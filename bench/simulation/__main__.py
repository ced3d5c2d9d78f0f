"""How sweeps scale from one node to a thousand: `python -m bench.simulation`.

Plans a sweep in miniature with the real planner and trains it on a simulated cluster with the real
commit code, in simulated time, on a folder in memory; each of its packs stands for a pack of the
sweep that is given, whose seconds and bytes are those of `tfc plan`. Nodes fail, are cut off, or
are slow. In the end every row is looked at, and `tfc fsck` finds nothing. Prints a table, and
writes it with a figure: `--out bench/results/simulation`.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from bench.simulation.actors import SharedDisk
from bench.simulation.cluster import Simulation
from bench.simulation.costs import STORAGES, Cluster, PackCosts, Storage, costs_of
from bench.simulation.curve import Point, draw, table
from bench.simulation.miniature import check, tasks_of
from tfc_jax import committer
from tfc_jax.config import load_sweep
from tfc_jax.layout import Folder

NODES = (1, 3, 10, 30, 100, 300, 1000)
SWEEP = Path(__file__).with_name("pack.yaml")


def simulate(
    n_packs: int,
    costs: PackCosts,
    cluster: Cluster,
    storage: Storage,
    seed: int = 0,
    commit_cost_factor: float = committer.COMMIT_COST_FACTOR,
) -> Point:
    """Trains so many packs on a cluster, and looks at every row that comes of it."""
    with tempfile.TemporaryDirectory(dir=_memory(), prefix="tfc_simulation.") as folder:
        out = Folder(Path(folder) / "out")
        began = time.perf_counter()
        tasks = tasks_of(n_packs, out)
        simulation = Simulation(tasks, costs, cluster, storage, seed)
        factor = patch.object(committer, "COMMIT_COST_FACTOR", commit_cost_factor)
        with factor, SharedDisk(out.root).installed():
            outcome = simulation.run()
        check(tasks, out)
        return Point(n_packs, costs, cluster, storage, outcome, time.perf_counter() - began)


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def main() -> None:
    options = _options()
    costs = costs_of(load_sweep(options.sweep), options.platform, options.pack_width)
    ideal = Cluster(1, options.slots)
    real = replace(
        ideal,
        node_mtbf_s=options.mtbf_days * 86_400,
        slow_share=options.slow_share,
        spread=options.spread,
    )
    points: list[Point] = []
    for name in options.storage:
        for nodes in options.nodes:
            cluster = replace(real, nodes=nodes)
            n_packs = nodes * options.slots * options.packs
            points.append(
                simulate(n_packs, costs, cluster, STORAGES[name], 0, options.commit_cost_factor)
            )
            print(table(points[-1:], heading=len(points) == 1), flush=True)
    if options.out:
        options.out.with_suffix(".json").write_text(
            json.dumps([point.as_dict() for point in points], indent=1) + "\n"
        )
        draw(points, options.out.with_suffix(".png"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweep", type=Path, default=SWEEP)
    parser.add_argument("--platform", choices=("cpu", "gpu", "tpu"), default="gpu")
    parser.add_argument("--pack-width", type=int)
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES)
    parser.add_argument("--slots", type=int, default=1, help="accelerators of a node")
    parser.add_argument("--packs", type=int, default=4, help="for each accelerator")
    parser.add_argument(
        "--storage", nargs="+", choices=STORAGES, default=["nfs", "parallel", "objects"]
    )
    parser.add_argument(
        "--mtbf-days",
        type=float,
        default=2.0,
        help="of one node; of machines that may be preempted, say",
    )
    parser.add_argument(
        "--commit-cost-factor",
        type=float,
        default=committer.COMMIT_COST_FACTOR,
        help="a commit waits for so many times the seconds of the last; 0: the clock alone decides",
    )
    parser.add_argument("--slow-share", type=float, default=0.02, help="of nodes, half as fast")
    parser.add_argument("--spread", type=float, default=0.03, help="of the speed of all others")
    parser.add_argument("--out", type=Path, help="writes OUT.json and OUT.png")
    return parser.parse_args()


if __name__ == "__main__":
    main()
