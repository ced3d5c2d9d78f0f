"""Simulated sweeps take as long as arithmetic says, and lose no row whatever becomes of nodes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.simulation import __main__ as command
from bench.simulation.__main__ import simulate
from bench.simulation.actors import SharedDisk
from bench.simulation.cluster import Simulation
from bench.simulation.costs import STORAGES, Cluster, PackCosts, costs_of
from bench.simulation.miniature import check, tasks_of
from bench.simulation.packs import STEPS
from tests.sweeps import make_sweep
from tfc_jax.layout import Folder
from tfc_jax.pricing import SPEEDS
from tfc_jax.task import Task

COSTS = PackCosts(train_s=400.0, row_bytes=1e8, checkpoint_bytes=2e8, weight_bytes=1e8)
FREE = STORAGES["free"]
FAILING = Cluster(8, node_mtbf_s=900.0, detect_s=10.0, repair_s=100.0, partitions=0.5)


def test_without_storage_and_faults_a_sweep_takes_what_its_packs_take() -> None:
    cluster = Cluster(nodes=2, slots=2, dispatch_s=0.0, compile_s=7.0)
    point = simulate(8, COSTS, cluster, FREE)
    assert point.outcome.seconds == pytest.approx(7.0 + 2 * COSTS.train_s)
    assert point.outcome.spent.trained == pytest.approx(8 * COSTS.train_s)
    assert point.efficiency == pytest.approx(2 * COSTS.train_s / point.outcome.seconds)
    assert point.outcome.spent.stored == 0


def test_the_launcher_hands_out_one_pack_after_another() -> None:
    cluster = Cluster(nodes=3, dispatch_s=1.0, compile_s=0.0)
    point = simulate(3, COSTS, cluster, FREE)
    assert point.outcome.seconds == pytest.approx(3 * 1.0 + COSTS.train_s)
    assert point.outcome.dispatch_s == pytest.approx(1 + 2 + 3)


def test_storage_without_room_for_all_is_what_a_sweep_waits_for() -> None:
    narrow = replace(FREE, bytes_per_s=1e7)
    point = simulate(4, COSTS, Cluster(nodes=4), narrow)
    at_least = 4 * (COSTS.row_bytes + COSTS.checkpoint_bytes + COSTS.weight_bytes)
    assert point.outcome.sent_bytes >= at_least
    assert point.outcome.seconds >= point.outcome.sent_bytes / narrow.bytes_per_s
    assert point.outcome.spent.stored > 0


def test_calls_of_all_nodes_wait_for_one_server() -> None:
    slow = replace(FREE, calls_per_s=1.0)
    outcome = simulate(2, COSTS, Cluster(nodes=2), slow).outcome
    assert outcome.calls["link"] > 0
    assert outcome.storage_busy_s == sum(outcome.calls.values())


def test_nodes_that_die_or_are_cut_off_lose_time_and_no_row() -> None:
    outcome = simulate(12, COSTS, FAILING, STORAGES["nfs"], seed=1).outcome
    assert outcome.failures > 2
    assert outcome.cut_off > 2
    assert outcome.fenced > 2  # by whoever took over what a node that was cut off went on with
    lost_s = outcome.spent.trained - 12 * COSTS.train_s
    per_fault_s = 60.0 + COSTS.train_s / STEPS  # between two commits
    assert 0 < lost_s <= outcome.failures * per_fault_s + outcome.cut_off * COSTS.train_s


def test_slow_nodes_take_longer() -> None:
    cluster = Cluster(nodes=2, dispatch_s=0.0, compile_s=0.0, slow_share=1.0, slow_factor=3.0)
    assert simulate(2, COSTS, cluster, FREE).outcome.seconds == pytest.approx(3 * COSTS.train_s)


def test_no_two_nodes_are_equally_fast_where_speeds_spread() -> None:
    cluster = Cluster(nodes=4, dispatch_s=0.0, compile_s=0.0, spread=0.05)
    point = simulate(4, COSTS, cluster, FREE)
    assert point.outcome.seconds != pytest.approx(COSTS.train_s)
    assert point.outcome.seconds == pytest.approx(COSTS.train_s, rel=0.3)


def test_the_same_seed_gives_the_same_sweep() -> None:
    first, again = (simulate(6, COSTS, FAILING, STORAGES["nfs"]).outcome for _ in range(2))
    assert first == again


def test_a_pack_can_die_before_any_of_its_calls(tmp_path: Path) -> None:
    """An attempt that goes on from there ends with the same rows; every 16th call is tried."""
    planned = Folder(tmp_path / "planned" / "out")
    planned.root.parent.mkdir()
    tasks, n_calls = tasks_of(1, planned), 0
    for n_calls in range(0, 10_000, 16):
        out = Folder(tmp_path / str(n_calls))
        shutil.copytree(planned.root, out.root)
        tasks = [replace(task, out=str(out.root)) for task in tasks]
        with SharedDisk(out.root).installed():
            if not _dies(tasks, at=n_calls):
                break
            Simulation(tasks, COSTS, Cluster(1), FREE).run()
        check(tasks, out)
    assert n_calls > 100


def _dies(tasks: list[Task], at: int) -> bool:
    """Runs an attempt up to a request; whether it came so far."""
    simulation = Simulation(tasks, COSTS, Cluster(1), FREE)
    actor = simulation.actor(tasks[0], slowness=1.0)
    for _ in range(at + 1):
        if actor.resume() is None:
            return False
    actor.kill()
    return True


def test_a_row_that_is_lost_or_another_is_noticed(tmp_path: Path) -> None:
    out = Folder(tmp_path / "out")
    tasks = tasks_of(2, out)
    with SharedDisk(out.root).installed():
        Simulation(tasks, COSTS, Cluster(1), FREE).run()
    check(tasks, out)
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        check([replace(task, runs=task.runs[::-1]) for task in tasks], out)
    next(out.table("layers").glob(f"{tasks[0].pack}-*")).unlink()
    with pytest.raises(AssertionError, match="is missing"):
        check(tasks, out)


def test_costs_are_those_of_the_planner(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    costs = costs_of(sweep, "gpu", 6)
    assert costs.train_s > sweep.steps * SPEEDS["gpu"].step_s
    assert costs.checkpoint_bytes >= costs.weight_bytes > 0
    assert costs.row_bytes > 6 * sweep.steps * 2 * 2


def test_the_command_prints_and_draws_its_curve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "curve"
    given = f"simulation --nodes 1 2 --packs 1 --storage free nfs --out {out}"
    monkeypatch.setattr("sys.argv", given.split())
    command.main()
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split()[:3] == ["storage", "nodes", "packs"]
    assert [line.split()[:3] for line in printed[1:]] == [
        [name, nodes, nodes] for name in ("free", "nfs") for nodes in ("1", "2")
    ]
    assert out.with_suffix(".png").stat().st_size > 10_000
    points = json.loads(out.with_suffix(".json").read_text())
    assert [point["cluster"]["nodes"] for point in points] == [1, 2, 1, 2]
    assert points[0]["efficiency"] > points[2]["efficiency"] > 0
