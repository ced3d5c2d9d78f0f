"""A TPU host's worker shares a pack among its chips: the same bits on 1, 2, 4 and 8 of them.

XLA shows the processor as so many devices, each of which trains a slice of the pack width.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from tests.sweeps import ROOT, content, make_sweep, train
from tfc_jax import chips
from tfc_jax.config import Sweep
from tfc_jax.devices import Devices
from tfc_jax.executors import local
from tfc_jax.executors.local import Interrupt
from tfc_jax.layout import Folder
from tfc_jax.options import Options, worker_settings
from tfc_jax.replay import replay
from tfc_jax.results import open_results
from tfc_jax.slices import Slices
from tfc_jax.started import started_packs

Patch = pytest.MonkeyPatch
TPU, WIDTH = Devices("tpu", (0,)), 2
STEPS = 160  # in chunks of 20
# 20 runs: a full pack of 8 slices, and one of 2.
GRID = {"init_scale": [0.8, 1.2]}
LATER = {"intervention": ["none", "remove_feature_mean"], "intervene_at": [None, 10]}
METRICS = {"lockstep": ["norms"], "mapped": []}  # steps without metrics compile faster


def environment(n_chips: int) -> dict[str, str]:
    """What makes a process one of a TPU host with so many chips."""
    flags = f"--xla_force_host_platform_device_count={n_chips}"
    return {"JAX_PLATFORMS": "cpu", "TFC_CHIPS": "8", "XLA_FLAGS": flags}


@pytest.fixture
def host(monkeypatch: Patch) -> Callable[[int], None]:
    """Gives the workers that are started from now on so many chips."""

    def give(n_chips: int) -> None:
        monkeypatch.setenv("XLA_FLAGS", environment(n_chips)["XLA_FLAGS"])
        monkeypatch.setattr(local, "worker_environment", lambda *_: environment(n_chips))

    return give


def sweep_in(folder: Path, schedule: str) -> Sweep:
    record = {"metrics": METRICS[schedule], "probes": ["generalization"]}
    base = {"depth": 2, "width": 8, "momentum": 0.5, "steps": STEPS}
    return make_sweep(folder, base=base, grid=GRID, record=record, zip=[LATER], seeds=5)


def launch(folder: Path, schedule: str, **options: Any) -> None:
    chosen: dict[str, Any] = {"width": WIDTH, "schedule": schedule, "workers": None, "found": TPU}
    train(sweep_in(folder, schedule), folder / "out", **(chosen | options))


@pytest.fixture(scope="module")
def one_chip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the results of a host with one chip, on which all slices take turns."""

    @cache
    def trained(schedule: str) -> Path:
        folder = tmp_path_factory.mktemp(f"one-{schedule}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(local, "worker_environment", lambda *_: environment(1))
            launch(folder, schedule)
        return folder / "out"

    return trained


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["lockstep", "mapped"])
def test_a_pack_has_eight_slices_of_the_pack_width(
    one_chip: Callable[[str], Path], schedule: str
) -> None:
    packs = list(started_packs(Folder(one_chip(schedule))))
    assert sorted(len(pack.runs) for pack in packs) == [4, 16]
    assert {pack.width for pack in packs} == {WIDTH}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "n_chips"),
    [("lockstep", 2), ("lockstep", 4), ("lockstep", 8), ("mapped", 8)],
)
def test_the_number_of_chips_changes_no_bit(
    one_chip: Callable[[str], Path],
    schedule: str,
    n_chips: int,
    tmp_path: Path,
    host: Callable[[int], None],
) -> None:
    host(n_chips)
    launch(tmp_path, schedule)
    assert content(tmp_path / "out") == content(one_chip(schedule))
    assert (open_results(tmp_path / "out").runs["status"] == "done").all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "chips"),
    [("lockstep", (2, 1)), ("mapped", (1, 8))],
    ids=["fewer", "more"],
)
def test_stopped_on_one_host_a_sweep_goes_on_with_the_same_bits_on_another(
    one_chip: Callable[[str], Path],
    schedule: str,
    chips: tuple[int, int],
    tmp_path: Path,
    host: Callable[[int], None],
) -> None:
    interrupt = Interrupt()

    def stop(event: dict[str, Any]) -> None:
        interrupt.level = max(interrupt.level, int(event["event"] == "started"))

    host(chips[0])
    launch(tmp_path, schedule, on_event=stop, interrupt=interrupt)
    steps = open_results(tmp_path / "out").runs["steps_done"]
    assert 0 < steps.max() < STEPS
    host(chips[1])
    launch(tmp_path, schedule)
    assert content(tmp_path / "out") == content(one_chip(schedule))


@pytest.mark.slow
def test_a_run_is_replayed_alone_on_another_number_of_chips(
    one_chip: Callable[[str], Path], host: Callable[[int], None]
) -> None:
    host(2)
    out = one_chip("lockstep")
    runs = open_results(out).runs
    changed = runs[runs["intervention"] != "none"].iloc[-1]
    found = replay(Folder(out), changed["run_id"], TPU)
    assert found.values > 500
    assert found.differing == 0


# Runs in a process of its own, which has 4 chips: 13 runs take two turns, of 8 and of 5 runs.
INSIDE = """
import json, sys
from dataclasses import replace
import jax, numpy as np
from tests.compilations import compilations
from tfc_jax import slices, timetable, worker
from tfc_jax.carry import to_arrays
from tfc_jax.keys import Run
from tfc_jax.record import Record
from tfc_jax.task import Task

runs = tuple(Run(depth=2, width=8, n_train=200, seed=seed, steps=40) for seed in range(13))
record = Record(every=2, probe_every=20, probe_samples=64, metrics=("norms",),
                probes=("generalization",))
whole, _ = worker.prepare(Task("", "pack", "program", runs, 2, sys.argv[1], record, 40))
pack = slices.fitting(whole)
short = replace(pack, is_short=True)

def trained(pack):
    chunks = list(pack.train(pack.init(), 0, 40, lambda span: True))
    arrays = [a for c in chunks for a in (*c.every_step.values(), *to_arrays(c.carry).values())]
    return [(a.shape[0], a.tobytes()) for a in arrays]

def places(tree):
    pieces = jax.tree.leaves(tree)[0].addressable_shards
    return sorted({(piece.device.id, piece.data.shape[0]) for piece in pieces})

with compilations() as ahead:
    pack.compile()
    waits = [pack.waits_on_host, short.waits_on_host]
with compilations() as later:
    bits = trained(pack)
    same = bits == trained(short)  # its states come from the host
first, second = pack.parts
span = next(timetable.spans(record, 0, 40))
state, fetch = first.advance(first.init(), span)
ours = ("jit(init)", "jit(chunk)", "jit(probe)")
print(json.dumps({
    "state": places(state),
    "data": places(whole.data),
    "fetched": fetch(None).every_step["loss"].shape[0],
    "real": second._n_lanes.tolist(),
    "kept": len(second.fetch_carry(second.init()).step),
    "ahead": sorted(name for name in ahead if name in ours),
    "later": sorted(name for name in later if name in ours),
    "waits": waits,
    "on_host": isinstance(jax.tree.leaves(short.init())[0], np.ndarray),
    "same": same,
    "lanes": bits[0][0],
}))
"""


def test_slices_are_trained_on_different_chips_by_one_executable() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INSIDE, "lockstep"],
        env=os.environ | environment(4) | {"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert json.loads(done.stdout) == {
        "state": [[chip, WIDTH] for chip in range(4)],
        "data": [[chip, 200] for chip in range(4)],  # each has it all, once
        "fetched": 8,
        "real": [2, 2, 1, 0],
        "kept": 5,  # not what only pads
        "ahead": ["jit(chunk)", "jit(init)", "jit(probe)"],
        "later": [],
        "waits": [False, True],
        "on_host": True,
        "same": True,  # wherever they wait
        "lanes": 13,
    }


@pytest.mark.parametrize(
    ("room", "waits"), [(None, False), (1.0, True), (1e9, False)], ids=["unknown", "none", "enough"]
)
def test_states_wait_on_the_host_where_the_chips_have_no_room_for_them(
    room: float | None, waits: bool, monkeypatch: Patch
) -> None:
    asked: list[int] = []

    def memory_bytes(n_states: int) -> int:
        asked.append(n_states)
        return 1000

    part: Any = SimpleNamespace(memory_bytes=memory_bytes)
    monkeypatch.setattr(chips, "memory", lambda: room)
    monkeypatch.setattr(Slices, "parts", (part, part, part))
    engine: Any = None
    assert Slices(engine).waits_on_host == waits
    assert asked == ([] if room is None else [3])
    assert Slices(engine, is_short=True).waits_on_host


def test_of_several_chips_the_smallest_counts_and_the_user_may_allow_less(
    monkeypatch: Patch,
) -> None:
    sizes = [{"bytes_limit": 9e9}, {"bytes_limit": 8e9}, None]
    devices = [SimpleNamespace(memory_stats=lambda size=size: size) for size in sizes]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    monkeypatch.delenv("TFC_MAX_MEMORY", raising=False)
    assert chips.memory() == 8e9
    environment = worker_settings(Options(max_memory=5e9))
    monkeypatch.setenv("TFC_MAX_MEMORY", environment["TFC_MAX_MEMORY"])
    assert chips.memory() == 5e9
    monkeypatch.delenv("TFC_MAX_MEMORY")
    monkeypatch.setattr(jax, "local_devices", lambda: devices[2:])
    assert chips.memory() is None
    assert "TFC_MAX_MEMORY" not in worker_settings(Options())
