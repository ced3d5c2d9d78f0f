"""What planning does once per run, once per kind of pack, or not at all; no clock is read."""

import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps import make_sweep, train
from tfc_jax import launch, started
from tfc_jax.config import Sweep
from tfc_jax.estimate import program_rows, summary
from tfc_jax.files import write_whole
from tfc_jax.keys import Run
from tfc_jax.layout import Folder
from tfc_jax.pack import Pack, ProgramPlan, pack_id, prices
from tfc_jax.plan import Plan, StartedPack, make_plan, name_packs
from tfc_jax.started import started_packs

Count = Callable[[type, str], Counter[str]]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Count:
    """Counts the calls of a method, or the reads of a property, from now on."""

    def count(owner: type, name: str) -> Counter[str]:
        calls: Counter[str] = Counter()
        original: Any = vars(owner)[name]
        is_property = isinstance(original, property)
        method: Callable[..., object] = original.fget if is_property else original

        def counting(*args: object) -> object:
            calls[name] += 1
            return method(*args)

        monkeypatch.setattr(owner, name, property(counting) if is_property else counting)
        return calls

    return count


def sweep_of(folder: Path, seeds: int) -> Sweep:
    """Two programs of `seeds` runs each."""
    return make_sweep(folder, grid={"depth": [2, 3]}, seeds=seeds)


def shown(plan: Plan) -> list[object]:
    return [program_rows(plan, 2, measure=False), summary(plan, 2)]


def test_programs_are_priced_as_often_for_many_packs_as_for_few(
    tmp_path: Path, counted: Count
) -> None:
    calls = []
    for seeds in (8, 80):
        plan = make_plan(sweep_of(tmp_path, seeds), platform="cpu", width=4)
        assert len(plan.packs) == seeds / 2
        looks, needs = counted(ProgramPlan, "look_flops"), counted(Pack, "device_bytes")
        shown(plan)
        make_plan(plan.sweep, platform="cpu", width=4, max_memory=2**40)
        calls.append((looks["look_flops"], needs["device_bytes"]))
    assert calls[0] == calls[1]
    assert min(calls[0]) > 0


def test_a_price_is_that_of_the_pack_itself(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, 7)  # packs of 4 and 3 runs
    packs = make_plan(sweep, platform="cpu", width=4).packs

    def disk(pack: Pack) -> float:
        return pack.disk_bytes(sweep.record, sweep.steps)

    assert prices(disk, packs) == [disk(pack) for pack in packs]
    assert len(set(prices(disk, packs))) == 4


@pytest.mark.parametrize("has_started", [False, True])
def test_a_plan_hashes_no_run(tmp_path: Path, counted: Count, has_started: bool) -> None:
    sweep, started = sweep_of(tmp_path, 20), list[StartedPack]()
    if has_started:
        train(sweep_of(tmp_path, 4), tmp_path / "out")
        started = list(started_packs(Folder(tmp_path / "out")))
    hashes = counted(Run, "run_id")
    plan = make_plan(sweep, platform="cpu", width=4, started=started)
    shown(plan)
    assert sum(pack.steps_done > 0 for pack in plan.packs) == len(started)
    assert not hashes


@pytest.mark.parametrize("has_started", [False, True])
def test_packs_are_named_without_hashing_runs_again(
    tmp_path: Path, counted: Count, has_started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(started, "CHECKED_WHOLE", 0)
    sweep, known = sweep_of(tmp_path, 7), list[StartedPack]()
    if has_started:
        train(sweep_of(tmp_path, 4), tmp_path / "out")
        known = list(started_packs(Folder(tmp_path / "out"), sweep))
    plan = make_plan(sweep, platform="cpu", width=4, started=known)
    hashes = counted(Run, "run_id")
    name_packs(plan)
    named = [pack.id for pack in plan.packs]
    assert not hashes
    assert named == [pack_id(run.run_id for run in pack.runs) for pack in plan.packs]


def test_packs_with_runs_that_the_sweep_does_not_have_are_named_too(tmp_path: Path) -> None:
    train(sweep_of(tmp_path, 4), tmp_path / "out", width=4)
    known = list(started_packs(Folder(tmp_path / "out")))
    plan = make_plan(sweep_of(tmp_path, 2), platform="cpu", width=4, started=known)
    name_packs(plan)
    found = {path.stem for path in (tmp_path / "out" / "runs").glob("*.parquet")}
    assert {pack.id for pack in plan.packs} == found - {"empty"}


def test_a_run_takes_less_than_half_a_kilobyte_while_it_is_read(tmp_path: Path) -> None:
    # 31 slots of 8 bytes and a header; while ids are compared, also one of those in a set.
    tracemalloc.start()
    sweep = make_sweep(tmp_path, grid={"depth": [2, 3]}, seeds=4000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / len(sweep.runs) < 500


def test_a_launch_plans_once_where_nobody_else_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, plans = make_sweep(tmp_path), Counter[str]()
    train(sweep, tmp_path / "out")
    original = launch.plan_sweep

    def plan(*args: object) -> Plan:
        plans["made"] += 1
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(launch, "plan_sweep", plan)
    train(sweep, tmp_path / "out")
    train(sweep, tmp_path / "new")
    assert plans["made"] == 2


@pytest.mark.parametrize("written", ["runs", "manifest"])
def test_a_launch_plans_again_if_another_wrote_before_it_had_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    sweep, plans, folder = make_sweep(tmp_path), Counter[str](), Folder(tmp_path / "out")
    train(sweep, folder.root)
    rows = next(folder.runs.glob("*.parquet"))
    path = {"runs": rows, "manifest": folder.manifest}[written]
    original = launch.plan_sweep

    def plan(*args: object) -> Plan:
        plans["made"] += 1
        made = original(*args)  # type: ignore[arg-type]
        if plans["made"] == 1:
            write_whole(path, path.read_bytes())
        return made

    monkeypatch.setattr(launch, "plan_sweep", plan)
    train(sweep, folder.root)
    assert plans["made"] == 2
