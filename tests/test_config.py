"""A sweep from YAML to runs: order, selection, and every sweep that the project ships."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfc_jax.config
from tfc_jax import config, grid
from tfc_jax.config import Record, Run, Sweep, load_sweep
from tfc_jax.errors import InputError

ROOT = Path(tfc_jax.config.__file__).parent.parent
SHIPPED = sorted([*ROOT.glob("sweeps/**/*.yaml"), ROOT / "tfc_jax" / "sweep_template.yaml"])


def load(tmp_path: Path, text: str, where: str | None = None, limit: int | None = None) -> Sweep:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    return load_sweep(path, where=where, limit=limit)


EXAMPLE = """
name: depth_by_scale
description: >
  Phase length against depth
  and initialisation scale.
base:
  dataset: digits
  width: 128
  learning_rate: 2e-2
  momentum: 0.5
  steps: 4000
grid:
  depth: [3, 5, 7, 9]
  init_scale: {logspace: [0.6, 1.2, 8]}
zip:
  - {momentum: [0.0, 0.9], learning_rate: [2e-2, 2e-3]}
exclude: ["depth == 9 and init_scale < 0.7"]
seeds: 16
"""


def test_the_example_of_the_manual_is_read_whole(tmp_path: Path) -> None:
    sweep = load(tmp_path, EXAMPLE)
    # logspace: 0.6 and 0.6 * 2^(1/7) = 0.662454 lie below 0.7, so depth 9 keeps 6 of its 8 scales.
    assert len(sweep.runs) == (3 * 8 + 6) * 2 * 16
    assert sweep.name == "depth_by_scale"
    assert sweep.description == "Phase length against depth and initialisation scale."
    assert sweep.record == Record()
    assert (sweep.steps, sweep.text, sweep.path) == (4000, EXAMPLE, str(tmp_path / "s.yaml"))


def test_runs_come_in_the_order_of_the_file_and_seeds_move_fastest(tmp_path: Path) -> None:
    runs = load(tmp_path, EXAMPLE).runs
    assert [run.seed for run in runs[:17]] == [*range(16), 0]
    assert [run.momentum for run in runs[::16][:3]] == [0.0, 0.9, 0.0]
    assert [run.learning_rate for run in runs[::16][:2]] == [0.02, 0.002]
    scales = [float(f"{0.6 * 2 ** (i / 7):.6g}") for i in range(3)]
    assert [run.init_scale for run in runs[::32][:3]] == scales
    assert [run.depth for run in runs[:: 32 * 8]] == [3, 5, 7, 9]


def test_zip_blocks_follow_the_grid_wherever_they_stand(tmp_path: Path) -> None:
    text = "name: a\nzip: [{bias: [true, false]}, {width: [1, 2]}]\ngrid: {depth: [3, 4]}"
    runs = load(tmp_path, text).runs
    expected = [(d, b, w) for d in (3, 4) for b in (True, False) for w in (1, 2)]
    assert [(run.depth, run.bias, run.width) for run in runs] == expected


def test_the_smallest_sweep_is_one_run_of_defaults(tmp_path: Path) -> None:
    for text in ("name: a", "name: a\nbase:\ngrid:\nzip:\nexclude:\nrecord:\ndescription:"):
        assert load(tmp_path, text).runs == (Run(),)


def test_what_an_axis_overrides_need_not_be_removed_from_base(tmp_path: Path) -> None:
    text = "name: a\nbase: {depth: 9, seed: 7}\ngrid: {depth: [3]}\nseeds: 1"
    assert load(tmp_path, text).runs == (Run(depth=3, seed=0),)


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [("3", [0, 1, 2]), ("[7, 3]", [7, 3]), ("{range: [100, 103]}", [100, 101, 102])],
)
def test_seeds_are_a_number_or_a_list(tmp_path: Path, seeds: str, expected: list[int]) -> None:
    assert [run.seed for run in load(tmp_path, f"name: a\nseeds: {seeds}").runs] == expected


@pytest.mark.parametrize("name", ["a", "A_b.c-9", "_x", "7", "x" * 64])
def test_names_are_those_of_folders(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, f"name: '{name}'").name == name


def test_a_filter_keeps_what_it_describes_and_a_limit_the_first_of_it(tmp_path: Path) -> None:
    whole = load(tmp_path, EXAMPLE).runs
    expected = tuple(run for run in whole if run.depth > 5 and run.seed in (2, 3))
    assert load(tmp_path, EXAMPLE, "depth > 5 and seed in [2, 3]").runs == expected
    assert load(tmp_path, EXAMPLE, "depth > 5 and seed in [2, 3]", 5).runs == expected[:5]
    assert load(tmp_path, EXAMPLE, limit=10**9).runs == whole


def test_adding_values_and_seeds_keeps_the_names_of_runs(tmp_path: Path) -> None:
    few = load(tmp_path, "name: a\ngrid: {depth: [3, 5]}\nseeds: 2").runs
    text = "name: b\nbase: {steps: 9999}\ngrid: {width: [128], depth: [9, 5, 3]}\nseeds: 4"
    more = load(tmp_path, text).runs
    assert {run.run_id for run in few} < {run.run_id for run in more}


def test_a_contradiction_points_to_the_first_of_its_keys(tmp_path: Path) -> None:
    text = "name: a\nbase:\n  optimizer: adam\nzip:\n  - width: [1, 2]\n    momentum: [0.5, 0.9]"
    with pytest.raises(InputError) as error:
        load(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path}/s.yaml:3: momentum has no effect")
    with pytest.raises(InputError) as error:
        load(tmp_path, "name: a\n\nseeds: 2\ngrid:\n  n_train: [null, 10]")
    assert str(error.value).startswith(f"{tmp_path}/s.yaml:5: a batch takes no sample twice")
    with pytest.raises(InputError) as error:
        load(tmp_path, "name: a\nzip:\n  - depth: [1, 3]\n    norm: [layer, none]")
    assert str(error.value).startswith(f"{tmp_path}/s.yaml:4: norm stands in hidden layers")


def test_excluding_the_contradiction_makes_the_sweep_valid(tmp_path: Path) -> None:
    text = "name: a\ngrid: {optimizer: [sgd, adam], momentum: [0, 0.9]}\n"
    with pytest.raises(InputError, match="momentum has no effect"):
        load(tmp_path, text)
    text += "exclude: [\"optimizer == 'adam' and momentum > 0\"]"
    assert len(load(tmp_path, text).runs) == 3


def test_a_filter_does_not_excuse_a_contradiction(tmp_path: Path) -> None:
    # The file is wrong whichever part of it is wanted today.
    text = "name: a\ngrid: {optimizer: [sgd, adam], momentum: [0, 0.9]}\n"
    with pytest.raises(InputError, match="momentum has no effect"):
        load(tmp_path, text, "optimizer == 'sgd'")


def test_two_runs_of_one_hash_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "run_ids", lambda *_: np.zeros(2, np.uint64))
    with pytest.raises(InputError) as error:
        load(tmp_path, "name: a\ngrid: {depth: [3, 4]}")
    assert "{'depth': 3} and {'depth': 4} have the same run_id 000000000000" in str(error.value)


def test_a_large_grid_is_refused_before_it_is_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid.Grid, "kept", lambda *_: pytest.fail("expanded"))
    text = "name: a\ngrid: {depth: {range: [1, 1001]}, width: {range: [1, 1001]}}\nseeds: 3"
    with pytest.raises(InputError, match="3,000,000 runs = 1000 ") as error:
        load(tmp_path, text)
    assert "split the sweep into several files" in str(error.value)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shipped_sweep_is_valid(path: Path) -> None:
    sweep = load_sweep(path)
    assert sweep.runs
    assert len(sweep.description) > 10


def test_shipped_sweeps_have_names_of_their_own() -> None:
    names = [load_sweep(path).name for path in SHIPPED]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", sorted(ROOT.glob("sweeps/paper/*.yaml")), ids=lambda p: p.stem)
def test_paper_sweeps_are_hundreds_of_wide_networks_and_say_how_many(path: Path) -> None:
    sweep = load_sweep(path)
    assert len(sweep.runs) >= 100
    images = {"mnist", "fashion_mnist", "cifar10", "tiny_imagenet"}
    on_images = [run for run in sweep.runs if run.dataset in images and run.architecture == "mlp"]
    assert all(run.width >= 256 for run in on_images)
    assert {run.dataset for run in sweep.runs} <= {
        *images,
        "checkerboard",
        "sine_mixture",
        "single_index",
    }
    assert f" {len(sweep.runs)} runs " in sweep.description


def test_reading_a_sweep_imports_no_heavy_library() -> None:
    program = (
        "import sys; from tfc_jax.config import json_schema, load_sweep; json_schema();"
        f"load_sweep({str(ROOT / 'sweeps' / 'quickstart.yaml')!r}, where='depth > 3');"
        "print([m for m in ('jax', 'flax', 'pandas', 'pyarrow', 'sklearn', 'tensorflow_datasets',"
        " 'tensorflow', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
