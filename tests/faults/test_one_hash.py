"""Whoever trains a sweep, on whatever devices, wherever it is stored: its tables have one hash.

Of each schedule. Left out is how long it took and, since packs of a TPU host have several slices,
how runs were cut into packs. XLA shows the processor as the chips of such a host.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.faults.clusters import Nodes, nodes
from tests.faults.tally import Tally
from tests.objects.store import Local, fresh_place, running
from tests.sweeps import content, make_sweep, train
from tests.test_chips import environment
from tfc_jax import execution
from tfc_jax.config import Sweep
from tfc_jax.devices import Devices
from tfc_jax.event_log import OnEvent
from tfc_jax.execution import Executor
from tfc_jax.executors import local
from tfc_jax.executors.local import Interrupt
from tfc_jax.launch import launch
from tfc_jax.layout import Folder
from tfc_jax.lock import Lock
from tfc_jax.objects.launching import launch_at
from tfc_jax.options import Options
from tfc_jax.results import open_results
from tfc_jax.task import Task

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray and submitit warn

Patch = pytest.MonkeyPatch
WIDTH = 2
RATES = [0.05, 0.2, 0.8, 3.0, 1e30]  # packs of 2, 2 and 1 runs; the last run diverges
NOT_OF_RUNS = ("wall_s", "pack", "lane")
TPU = Devices("tpu", (0,))
EXECUTORS: dict[str, dict[str, Any]] = {
    "local": {"workers": 2},
    "ray": {"executor": "ray"},
    "slurm": {"executor": "slurm", "slurm": {"cluster": "local"}},
}


@dataclass(frozen=True)
class Way:
    """One in which the sweep is trained.

    Attributes:
      chips: of a TPU host; 0 means processors, each of which has a worker.
      is_far: whether in an object store.
    """

    executor: str
    chips: int = 0
    is_far: bool = False


ALL = [Way(*way) for way in product(EXECUTORS, (0, 1, 2, 4, 8), (False, True))]
FEW = [Way("local"), Way("local", 4), Way("ray", 0, True), Way("slurm", 2, True)]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return make_sweep(
        tmp_path_factory.mktemp("sweep"),
        base={"depth": 2, "width": 8, "momentum": 0.5, "steps": 60},
        grid={"learning_rate": RATES},
        record={"metrics": ["norms"], "probes": ["generalization"]},
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Known to all processes that are started from now on."""
    with running(tmp_path_factory.mktemp("store")) as server, Patch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="module")
def cluster(store: Local) -> Iterator[Nodes]:
    """Its nodes are TPU hosts as soon as a launch says how many chips they have."""
    with Patch.context() as patch, nodes() as cluster:
        patch.setenv("TFC_CHIPS", environment(1)["TFC_CHIPS"])
        cluster.add()
        yield cluster


def one_hash(folder: Path) -> str:
    """Of all rows of all tables, and of all final weights."""
    told = json.dumps(content(folder, without=NOT_OF_RUNS), sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def is_host(patch: Patch, chips: int) -> None:
    """Makes all that is started from now on one of a TPU host."""
    for name, value in environment(chips).items():
        patch.setenv(name, value)
    patch.setattr(local, "worker_environment", lambda *_: environment(chips))


@dataclass(frozen=True)
class On:
    """An executor whose machines are hosts of another kind than it knows."""

    executor: Executor
    found: Devices

    def execute(
        self, tasks: Sequence[Task], lock: Lock, on_event: OnEvent, interrupt: Interrupt
    ) -> None:
        self.executor.execute(tasks, lock, on_event, interrupt)


def trained(way: Way, sweep: Sweep, options: Options, store: Local, out: Path) -> Path:
    """Returns the folder that holds what is stored."""
    with Patch.context() as patch:
        if way.chips:
            is_host(patch, way.chips)
        place = fresh_place(patch, store, out / "cache", f"{out.parent.name}-{out.name}")
        with execution.opened(options) as executor:
            there = On(executor, TPU if way.chips else executor.found)
            if way.is_far:
                launch_at(place, sweep, options, there, ignore, Interrupt(), pytest.fail)
                return store.as_folder(place, out / "copied")
            launch(sweep, Folder(out), options, there.found, ignore, Interrupt(), there)
    return out


def ignore(event: dict[str, Any]) -> None:
    """Of a launch."""


@pytest.mark.parametrize("schedule", ["lockstep", "mapped"])
def test_executors_and_devices_leave_one_hash(
    schedule: Any,
    sweep: Sweep,
    cluster: Nodes,
    store: Local,
    tmp_path: Path,
    pytestconfig: pytest.Config,
    tally: Tally,
) -> None:
    alone = tmp_path / "alone"
    train(sweep, alone, width=WIDTH, schedule=schedule)
    assert sorted(open_results(alone).runs["status"]) == ["diverged", *["done"] * 4]
    wanted, hashes = one_hash(alone), dict[Way, str]()
    for number, way in enumerate(ALL if pytestconfig.getoption("--long-faults") else FEW):
        given: dict[str, Any] = {"workers": 1} if way.chips else {}
        given |= {"address": cluster.address} if way.executor == "ray" else {}
        options = Options(pack_width=WIDTH, schedule=schedule, **(EXECUTORS[way.executor] | given))
        out = trained(way, sweep, options, store, tmp_path / str(number))
        assert open_results(out).runs["pack"].nunique() == (1 if way.chips else 3)
        hashes[way] = one_hash(out)
        tally.tried += 1
        tally.wrong += hashes[way] != wanted
    assert hashes == dict.fromkeys(hashes, wanted)
