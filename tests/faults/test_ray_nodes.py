"""Nodes of a Ray cluster are lost, join, or are not as they should be; the launcher is killed."""

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.executors.commands import ended, start, until_logged
from tests.faults.clusters import Nodes, nodes
from tests.faults.launches import LONGER, judge
from tests.faults.tally import Tally, Tries
from tests.sweeps import make_sweep, train
from tfc_jax import execution
from tfc_jax.config import Sweep
from tfc_jax.errors import InputError
from tfc_jax.execution import Executor
from tfc_jax.executors.local import Interrupt
from tfc_jax.launch import launch
from tfc_jax.layout import Folder
from tfc_jax.options import Options
from tfc_jax.results import open_results

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
WAIT_S = 30.0  # a guard against hangs
Events = list[dict[str, Any]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    with nodes() as cluster:
        cluster.add()
        cluster.add()
        yield cluster


@pytest.fixture(scope="module")
def executor(cluster: Nodes) -> Iterator[Executor]:
    options = Options(executor="ray", address=cluster.address)
    with execution.opened(options) as executor:
        yield executor


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return LONGER


def fly(sweep: Sweep, out: Path, executor: Executor, on_event: Any, **options: Any) -> bool:
    """Trains on the cluster; returns whether all is done then."""
    chosen = Options(**{"pack_width": 3, "commit_seconds": 0.0, "executor": "ray", **options})
    given = (sweep, Folder(out), chosen, executor.found, on_event, Interrupt(), executor)
    return launch(*given) == {"done": len(sweep.runs)}


def test_a_ray_node_killed_in_the_middle_of_a_pack(
    tmp_path: Path,
    cluster: Nodes,
    executor: Executor,
    sweep: Sweep,
    reference: Path,
    tries: Tries,
    tally: Tally,
) -> None:
    """Its packs go on elsewhere from their last commits, and nothing is there twice."""
    draws, again, resumed = random.Random(0), 0, 0
    killed = list[Any]()

    def strike(folder: Folder, packs: set[str]) -> None:
        """As soon as all packs have a commit, and a node is at work."""
        busy, give_up = list[Any](), time.monotonic() + WAIT_S
        while not busy and time.monotonic() < give_up:
            time.sleep(0.05)
            busy = cluster.busy if all(map(folder.checkpoints_of, packs)) else []
        killed.append(draws.choice(busy))
        cluster.kill(killed[-1])

    for index in range(tries(1, 20)):
        events: Events = []
        killers: list[threading.Timer] = []
        out = tmp_path / str(index)

        def watch(
            event: dict[str, Any], out: Path = out, events: Events = events, killers: Any = killers
        ) -> None:
            events.append(event)
            packs = {event["pack"] for event in events if event["event"] == "started"}
            if len(packs) == 2 and not killers:
                given = (Folder(out), packs)
                killers.append(threading.Timer(draws.uniform(0.0, 0.5), strike, given))
                killers[0].start()

        tally.wrong += not fly(sweep, out, executor, watch)
        killers[0].join()
        while len(cluster.nodes) < 2:
            cluster.add()
        starts = [event for event in events if event["event"] == "started"]
        again += len(starts) > 2
        resumed += any(event["step"] > 0 for event in starts)
        judge(tally, out, reference)
    assert not tally.bad
    assert len(killed) == tally.tried
    assert again >= tally.tried / 2
    assert resumed


def test_ray_nodes_that_join_during_a_launch(
    tmp_path: Path,
    cluster: Nodes,
    executor: Executor,
    sweep: Sweep,
    reference: Path,
    tally: Tally,
) -> None:
    """They take the packs of a launch that has begun without any node."""
    for node in cluster.nodes:
        cluster.kill(node)
    joining = threading.Thread(target=lambda: (cluster.add(), cluster.add()))

    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "planned":
            joining.start()

    out = tmp_path / "out"
    tally.wrong += not fly(sweep, out, executor, watch)
    joining.join()
    judge(tally, out, reference)
    assert not tally.bad


def test_a_ray_head_that_is_gone(tmp_path: Path, sweep: Sweep, tally: Tally) -> None:
    """Ray itself would end the process with a line about itself alone; another cluster goes on."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    train(sweep, whole, width=1)
    flags = ("--pack-width", 1, "--commit-seconds", 0, "--out", out, "--executor", "ray")
    with nodes() as own:
        own.add()
        address = own.address
        process = start(tmp_path, "run", sweep.path, *flags, "--address", address)
        until_logged(out, "started", process)
        own.kill_head()
        code, said = ended(process)
    tally.tracebacks += "Traceback" in said
    assert code == 1, said
    assert f"The head of the Ray cluster at {address} is gone. What is committed" in said
    assert train(sweep, out, width=1) == {"done": 6}
    judge(tally, out, whole)
    assert not tally.bad


def test_a_ray_launcher_killed(
    tmp_path: Path,
    cluster: Nodes,
    executor: Executor,
    sweep: Sweep,
    reference: Path,
    tries: Tries,
    tally: Tally,
) -> None:
    """The next one goes on; what the first has left in the cluster writes nothing."""
    draws = random.Random(1)
    for index in range(tries(1, 20)):
        out = tmp_path / str(index)
        flags = ("--pack-width", 3, "--commit-seconds", 0, "--out", out, "--executor", "ray")
        process = start(tmp_path, "run", sweep.path, *flags, "--address", cluster.address)
        until_logged(out, "started", process)
        time.sleep(draws.uniform(0, 2))
        process.kill()
        tally.tracebacks += "Traceback" in process.communicate()[0]
        tally.wrong += not fly(sweep, out, executor, lambda event: None)
        judge(tally, out, reference)
    assert not tally.bad


def fake_versions(folder: Path) -> str:
    """A path on which jax has another version."""
    info = folder / "jax-0.0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: jax\nVersion: 0.0.1\n")
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


def test_ray_nodes_with_other_versions_or_without_the_data(
    tmp_path: Path,
    cluster: Nodes,
    executor: Executor,
    tally: Tally,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All are named at once, and nothing trains."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    x, y = np.arange(24, dtype=np.uint8).reshape(6, 4), np.arange(6) % 2
    np.savez(home / "mine.npz", allow_pickle=False, x_train=x, y_train=y, x_test=x, y_test=y)
    base = {"dataset": "npz:~/mine.npz", "n_train": None, "batch_size": 2}
    sweep = make_sweep(tmp_path, base=base)
    for node in cluster.nodes:
        cluster.kill(node)
    cluster.add(HOME=str(home))
    cluster.add(HOME=str(home), PYTHONPATH=fake_versions(tmp_path / "old"))
    cluster.add(HOME=str(tmp_path / "nobody"))
    tally.tried += 1
    try:
        fly(sweep, tmp_path / "out", executor, lambda event: None)
    except InputError as error:
        said = sorted(error.messages)
        tally.wrong += not (
            len(said) == 2
            and "jax 0.0.1 is installed there" in said[0]
            and "npz:~/mine.npz cannot be loaded there" in said[1]
        )
    else:
        tally.wrong += 1
    tally.wrong += len(open_results(tmp_path / "out").runs) != 0
    assert not tally.bad
