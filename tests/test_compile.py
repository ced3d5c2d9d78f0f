"""How often programs are compiled: once, by whoever comes first, for all packs and launches."""

import gc
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from tests.compilations import compilations
from tests.sweeps import ROOT, make_sweep, train
from tfc_jax import worker
from tfc_jax.keys import Run
from tfc_jax.record import Record
from tfc_jax.task import Task
from tfc_jax.timetable import Schedule
from tfc_jax.train import Trainer

PROGRAM = ("jit(init)", "jit(chunk)", "jit(probe)", "jit(intervene)")
LAUNCH = """
import json, sys
from pathlib import Path
from tests.compilations import cache_events
from tests.sweeps import make_sweep, train

events, folder = cache_events(), Path(sys.argv[1])
train(make_sweep(folder), folder / "out")
print(json.dumps(events))
"""


@pytest.fixture(autouse=True)
def nothing_compiled() -> None:
    """Programs of other tests must not serve these."""
    worker.compiled_program.cache_clear()


def of_programs(found: list[str]) -> Counter[str]:
    return Counter(name for name in found if name in PROGRAM)


def make_task(**keys: Any) -> Task:
    runs = tuple(Run(depth=2, width=8, n_train=200, seed=seed, steps=30, **keys) for seed in (0, 1))
    record = Record(every=2, probe_every=20, probe_samples=64)
    return Task("", "pack", "program", runs, 2, "mapped", record, 30)


def test_compilations_are_noticed() -> None:
    with compilations() as found:
        jax.jit(lambda a: a + 1)(jnp.zeros(3))
    assert "jit(<lambda>)" in found


def test_all_packs_of_a_program_share_one_compilation(tmp_path: Path) -> None:
    with compilations() as found:
        # 2 packs, the last of 2 runs; 50 steps end with a chunk of 10, where others have 20.
        train(make_sweep(tmp_path, base={"steps": 50}), tmp_path / "out", width=4)
    assert of_programs(found) == {"jit(init)": 1, "jit(chunk)": 1, "jit(probe)": 1}


def test_resuming_compiles_nothing_new(tmp_path: Path) -> None:
    train(make_sweep(tmp_path, base={"steps": 50}), tmp_path / "out", width=4)
    with compilations() as found:
        train(make_sweep(tmp_path, base={"steps": 70}), tmp_path / "out", width=4)
    assert not of_programs(found)


@pytest.mark.parametrize("schedule", ["mapped", "lockstep"])
def test_a_step_is_traced_once(schedule: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[str] = []

    def count(name: str) -> None:
        step = getattr(Trainer, name)

        def counted(*arguments: Any) -> Any:
            traced.append(name)
            return step(*arguments)

        monkeypatch.setattr(Trainer, name, counted)

    for name in ("init", "step", "measured_step"):
        count(name)
    worker.prepare(replace(make_task(), schedule=schedule))[0].compile()
    assert sorted(traced) == ["init", "measured_step", "step"]


def test_what_a_worker_imported_is_not_searched_for_garbage_while_it_traces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TFC_CORE", raising=False)
    worker.settle()
    try:
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def launch_in_a_new_process(folder: Path, cache: Path) -> Counter[str]:
    """Returns how often the compilation cache had, or had not, what was asked for."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH, str(folder)],
        env=os.environ
        | {
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "PYTHONPATH": str(ROOT),
        },
        check=True,
        capture_output=True,
        text=True,
    )
    return Counter(json.loads(done.stdout))


def test_a_second_launch_finds_everything_compiled(tmp_path: Path) -> None:
    first, second = (
        launch_in_a_new_process(tmp_path / name, tmp_path / "cache") for name in ("one", "two")
    )
    assert first["misses"] >= 3  # init, chunk and probe at least
    assert second["misses"] == 0
    assert second["hits"] >= first["misses"]


@pytest.mark.parametrize(
    "keys",
    [{}, {"intervention": "remove_feature_mean", "intervene_at": 10, "intervene_layer": 1}],
    ids=["plain", "intervention"],
)
def test_what_is_compiled_before_a_pack_comes_is_what_its_calls_use(keys: dict[str, Any]) -> None:
    engine, _ = worker.prepare(make_task(**keys))
    with compilations() as found:
        engine.compile()
    ahead = of_programs(found)
    with compilations() as found:
        carry = engine.init()
        engine.probe(carry)
        stops = [chunk.span.stop for chunk in engine.train(carry, 0, 30, lambda _: False)]
    assert stops[-1] == 30
    assert ahead == dict.fromkeys(PROGRAM if keys else PROGRAM[:3], 1)
    assert not of_programs(found)
