"""The promises of the project: the same numbers whatever stands around a run, or happens to it.

For each schedule one small sweep is trained with all metrics, measured at every step, in this
process; every other way of training it must give the same bits in every table and final weight.
"""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.sweeps import AXES, BASE, FULL, content, make_sweep, read_rows, train, write_sweep
from tfc_jax import devices, files
from tfc_jax.config import Sweep, load_sweep
from tfc_jax.layout import Folder
from tfc_jax.replay import replay
from tfc_jax.results import open_results

pytestmark = pytest.mark.slow

SCHEDULES = ("mapped", "lockstep")
RECORD = FULL | {"every": 1, "probe_every": 10}
PLACE = ("wall_s", "pack", "lane", "pack_width")  # where a run was trained, not what it gave
KILLS = 6


@pytest.fixture(scope="module", params=SCHEDULES)
def schedule(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return make_sweep(tmp_path_factory.mktemp("sweep"), record=RECORD)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, sweep: Sweep, schedule: str) -> Path:
    """6 runs in 2 packs of 3, trained in this process."""
    out = tmp_path_factory.mktemp("reference") / "out"
    assert train(sweep, out, schedule=schedule) == {"done": 6}
    return out


@contextmanager
def on_cores(n: int) -> Iterator[None]:
    """Restricts this process and those it starts to n cores."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not bind processes to cores")
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:n])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(("workers", "cores"), [(1, 2), (2, 1)])
def test_neither_workers_nor_cores_change_a_bit(
    tmp_path: Path, sweep: Sweep, schedule: str, reference: Path, workers: int, cores: int
) -> None:
    with on_cores(cores):
        counts = train(
            sweep, tmp_path / "out", schedule=schedule, workers=workers, found=devices.find()
        )
    assert counts == {"done": 6}
    assert content(tmp_path / "out", without=("wall_s",)) == content(reference)


def test_neither_order_nor_neighbours_change_a_bit(
    tmp_path: Path, schedule: str, reference: Path
) -> None:
    grid = {name: values[::-1] for name, values in reversed(AXES.items())} | {"seed": [3, 0]}
    other = make_sweep(tmp_path, grid=grid, record=RECORD)
    found = devices.find()
    assert train(other, tmp_path / "out", schedule=schedule, workers=4, found=found) == {"done": 12}
    assert_same_runs(tmp_path / "out", reference)


@pytest.mark.parametrize("schedule", ["mapped"], indirect=True)
def test_mapped_lanes_do_not_feel_the_pack_width(
    tmp_path: Path, sweep: Sweep, schedule: str, reference: Path
) -> None:
    """Lockstep lanes share matrix products: their bits may depend on the width, which is stored."""
    assert train(sweep, tmp_path / "out", width=4, schedule=schedule) == {"done": 6}
    assert_same_runs(tmp_path / "out", reference)


def assert_same_runs(out: Path, reference: Path) -> None:
    """All rows of the reference's runs are in `out` too, wherever they were trained there."""
    ids = set(open_results(reference).runs["run_id"])
    drop_other_runs(out, ids)
    assert content(out, without=PLACE) == content(reference, without=PLACE)


def drop_other_runs(out: Path, ids: set[str]) -> None:
    """Deletes the rows of all runs but these."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for part in out.glob("*/*.parquet"):
        rows = pq.read_table(part, partitioning=None)
        kept = pc.is_in(rows["run_id"], pc.cast(list(ids), "string"))
        pq.write_table(rows.filter(kept), part)


def test_a_replay_finds_no_difference(reference: Path) -> None:
    run_id = open_results(reference).runs["run_id"].iloc[4]
    outcome = replay(Folder(reference), run_id, devices.find())
    stored = open_results(reference).layers(f"run_id == '{run_id}'")
    assert (outcome.differing, outcome.where) == (0, ())
    assert outcome.values > stored.size > BASE["steps"] * BASE["depth"]


def test_a_run_that_blows_up_touches_no_other(
    tmp_path: Path, sweep: Sweep, schedule: str, reference: Path
) -> None:
    grid = AXES | {"learning_rate": [0.05, 1e6, 0.2, 0.8]}
    wild = make_sweep(tmp_path, grid=grid, record=RECORD)
    counts = train(wild, tmp_path / "out", width=4, schedule=schedule)
    assert counts["diverged"] >= 1  # where no unit is left alive, the loss is finite
    assert counts.total() == counts["diverged"] + counts["done"] == 8
    runs = open_results(tmp_path / "out").runs
    bad = runs[runs["status"] == "diverged"]
    assert set(bad["learning_rate"]) == {1e6}
    losses = open_results(tmp_path / "out").steps("learning_rate == 1e6", columns=["loss"])
    for run_id, first_bad in zip(bad["run_id"], bad["first_bad_step"], strict=True):
        is_bad = ~np.isfinite(losses[losses["run_id"] == run_id]["loss"].to_numpy())
        assert np.flatnonzero(is_bad)[0] == first_bad
    tame = make_sweep(tmp_path, name="tame", record=RECORD)
    train(tame, tmp_path / "tame", width=4, schedule=schedule)
    assert_same_runs(tmp_path / "out", tmp_path / "tame")


def launch_here(path: str, out: str, schedule: str, cache: str) -> None:
    """A launch in a process of its own, which commits after every chunk, slowly.

    Each of a commit's five renames takes 15 ms, so that kills hit every part of it, and no launch
    gets through many commits before it is killed.
    """
    import jax

    jax.config.update("jax_compilation_cache_dir", cache)
    quick = files.move_in

    def slow(source: Path, target: Path) -> None:
        time.sleep(0.015)
        quick(source, target)

    files.move_in = slow
    train(load_sweep(path), Path(out), schedule=schedule, commit_seconds=0.0)


def killed_launch(arguments: tuple[str, ...], delay_s: float) -> bool:
    """Launches; kills after the next checkpoint and a delay; returns whether it got there."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.sweeps", "tfc_jax.worker"])
    checkpoints = Path(arguments[1]) / "checkpoints"
    before = set(checkpoints.glob("*.npz"))
    process = context.Process(target=launch_here, args=arguments)
    process.start()
    while process.is_alive() and set(checkpoints.glob("*.npz")) <= before:
        time.sleep(0.002)
    time.sleep(delay_s)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def test_kills_at_any_time_lose_and_double_nothing(
    tmp_path: Path, sweep: Sweep, schedule: str, reference: Path
) -> None:
    shutil.copytree(os.environ["JAX_COMPILATION_CACHE_DIR"], tmp_path / "cache")
    arguments = (sweep.path, str(tmp_path / "out"), schedule, str(tmp_path / "cache"))
    random_delay = random.Random(0)
    kills = sum(killed_launch(arguments, random_delay.uniform(0, 0.05)) for _ in range(KILLS))
    assert kills >= KILLS - 2  # the last ones may find everything done
    assert train(sweep, tmp_path / "out", schedule=schedule) == {"done": 6}
    assert content(tmp_path / "out") == content(reference)
    steps = read_rows(tmp_path / "out" / "steps").to_pandas()
    assert len(steps) == 6 * BASE["steps"]
    assert not steps.duplicated(["run_id", "step"]).any()


@pytest.mark.parametrize("schedule", ["mapped"], indirect=True)
def test_a_killed_launcher_takes_its_workers_along_and_the_next_one_goes_on(
    tmp_path: Path, schedule: str, reference: Path
) -> None:
    path = write_sweep(tmp_path, record=RECORD)
    shutil.copytree(Path(os.environ["TFC_CACHE"]), tmp_path / "cache")
    command = [sys.executable, "-m", "tfc_jax.cli", "run", str(path), "--out", "out", "--quiet"]
    command += ["--commit-seconds", "0", "--pack-width", "3", "--schedule", schedule]
    cache = str(tmp_path / "cache")  # a kill may leave half an entry in it
    environment = os.environ | {"TFC_CACHE": cache, "JAX_COMPILATION_CACHE_DIR": f"{cache}/xla"}
    launcher = subprocess.Popen(command, cwd=tmp_path, env=environment)
    while launcher.poll() is None and not list((tmp_path / "out").glob("checkpoints/*.npz")):
        time.sleep(0.01)
    launcher.kill()
    assert launcher.wait() == -signal.SIGKILL
    ended = subprocess.run(command, cwd=tmp_path, env=environment, check=False)
    assert ended.returncode == 0
    assert content(tmp_path / "out") == content(reference)
