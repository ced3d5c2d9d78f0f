"""`make bench` compares contenders that compute the same, and says so when one does not."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.__main__ import main
from bench.contenders.jax_plain import MapScan
from bench.problem import Problem
from bench.profiles import GOALS, PROFILES, Entry, tiny
from bench.session import LossesDisagreeError, Measured, compare, measure, tolerance
from bench.summary import Spread, lines, outcomes
from tests.sweeps import ROOT

PROBLEM = Problem("small", "images", depth=3, width=8, runs=2, steps=3, n_train=60, batch_size=10)
SCAN, MAP = (e for e in PROFILES["images256"].entries if e.name in ("scan_vmap", "map_scan"))
TIMING = {"wall_s": 2.0, "cpu_s": 1.0, "work": 8.0}


class WrongScale(MapScan):
    """Scales its inputs by another number than the others."""

    def prepare(self) -> None:
        super().prepare()
        self.multiplier *= 1.01


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.fixture
def from_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # children import bench and tests


@pytest.mark.slow
@pytest.mark.usefixtures("from_root")
def test_a_quick_run_compares_losses_and_writes_everything_it_measured(tmp_path: Path) -> None:
    main(
        ["images256", "--quick", "--only", "scan_vmap", "ours", "--repeats=2", f"--out={tmp_path}"]
    )
    content = read(tmp_path / "quick_images256.json")
    assert {"date", "cpu", "cores", "python", "seconds", "note"} <= content.keys()
    (problem,) = content["problems"].values()
    assert problem["rows"].keys() >= {
        "jit(scan(vmap))",
        "tfc_jax, bare",
        "tfc_jax, whole pack, to Parquet",
    }
    assert problem["rows"].keys() | {"matmul peak", "memory copy"} == problem["repeats"].keys()
    assert all(len(repeats) == len(problem["load"]) == 2 for repeats in problem["repeats"].values())
    assert problem["versions"].keys() == {"jax", "tfc_jax"}
    first_and_last = problem["losses"]["mean_of_first_and_last_step"]
    assert len(first_and_last) == 5
    assert len({round(last, 3) for _, last in first_and_last.values()}) == 1
    assert 0 < problem["losses"]["largest_relative_difference"] < 1e-5
    assert (tmp_path / "quick_images256.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.usefixtures("from_root")
def test_a_contender_that_trains_something_else_ends_the_benchmark(tmp_path: Path) -> None:
    wrong = Entry("wrong", "tests.bench.test_bench:WrongScale", "wrong")
    with pytest.raises(LossesDisagreeError, match=r"losses of 'wrong' differ .* 'jit.scan.vmap"):
        measure(PROBLEM, [SCAN, wrong], 1, tmp_path, lambda text: None)


@pytest.mark.parametrize("wrong", [1.01, np.nan])
def test_losses_that_differ_or_are_no_numbers_are_refused(wrong: float) -> None:
    losses = np.ones((2, 3))
    with pytest.raises(LossesDisagreeError, match="'b'"):
        compare(Measured(PROBLEM), {"a": losses, "b": losses * wrong})


def test_losses_that_differ_by_rounding_agree_and_the_difference_is_noted() -> None:
    measured = Measured(PROBLEM)
    near = 1 + 0.9 * tolerance(PROBLEM)
    compare(measured, {"a": np.ones((2, 3)), "b": np.full((1, 3), near)})
    assert measured.difference == pytest.approx(near - 1)
    assert measured.between == ("b", "a")


def test_a_network_in_which_a_relu_switched_may_part_ways_but_not_at_the_first_step() -> None:
    losses, later, first = np.ones((20, 3)), np.ones((20, 3)), np.ones((20, 3))
    later[7, 1:] = 1.1
    measured = Measured(PROBLEM)
    compare(measured, {"a": losses, "b": later})
    assert measured.parted == {"a": 0, "b": 1}
    first[7] = 1.1
    with pytest.raises(LossesDisagreeError, match="1 of 20 networks"):
        compare(measured, {"a": losses, "b": first})


def test_contenders_without_pytorch_say_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(name='torch')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    place, problem = "bench.contenders.torch_loop:Loop", PROBLEM.to_json()
    command = [sys.executable, "-m", "bench.child", place, problem, str(tmp_path), "-"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, input="all\n")
    assert "PyTorch is not installed" in json.loads(answer.stdout)["unavailable"]


@pytest.mark.slow
@pytest.mark.usefixtures("from_root")
@pytest.mark.parametrize("name", ["loop", "vmap", "baddbmm"])
def test_pytorch_trains_the_same_networks(tmp_path: Path, name: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is of the extra `bench` alone")
    (entry,) = (e for e in PROFILES["images256"].entries if e.name == name)
    measured = measure(PROBLEM, [MAP, entry], 1, tmp_path, lambda text: None)
    assert len(measured.timings) == 2


def test_a_step_costs_three_products_per_layer_but_no_gradient_of_the_inputs() -> None:
    forward = 2 * 10 * (784 * 8 + 8 * 8 + 8 * 10)
    assert PROBLEM.step_flops == 3 * forward - 2 * 10 * 784 * 8


def test_goals_name_rows_that_their_profile_has() -> None:
    titles = {
        entry.title.format(row=row)
        for profile in PROFILES.values()
        for entry in profile.entries
        for row in (
            "bare",
            "metrics every step",
            "metrics every 10 steps",
            "whole pack, dropped",
            "whole pack, to Parquet",
        )
    } | {"tfc_jax, one worker", "tfc_jax, two workers", "matmul peak"}
    assert {g.better for goals in GOALS.values() for g in goals} <= titles
    assert {g.than for goals in GOALS.values() for g in goals} <= titles


def test_a_goal_compares_work_per_second_round_by_round() -> None:
    measured = Measured(PROFILES["images256"].problems[0])
    measured.timings = {
        "tfc_jax, bare": [TIMING, TIMING | {"work": 16.0}],
        "PyTorch loop": [TIMING | {"work": 4.0}, TIMING | {"work": 4.0}],
    }
    (outcome,) = outcomes(measured)
    assert outcome.ratio == Spread(2.5, 3.0, 3.5)
    assert outcome.holds


def test_a_row_that_did_not_get_its_core_shows_it() -> None:
    measured = Measured(PROBLEM, timings={"PyTorch loop": [TIMING, TIMING]})
    (line,) = lines(measured)
    assert line.cores == 0.5
    assert line.per_cpu.median == 2 * line.per_wall.median == 8.0


def test_quick_profiles_are_tiny_and_have_files_of_their_own() -> None:
    for profile in map(tiny, PROFILES.values()):
        assert profile.name not in PROFILES
        assert max(p.params * p.runs * p.steps for p in profile.problems) < 1e6
