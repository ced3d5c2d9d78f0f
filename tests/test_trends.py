"""Curves at a glance: the same numbers as the tables, from a bounded sample of parts."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.sweeps import make_sweep, train
from tfc_jax import trends
from tfc_jax.layout import Folder
from tfc_jax.results import Results, open_results
from tfc_jax.trends import SIMILARITY, Trends


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """6 runs of 60 steps in 2 packs, committed every chunk of 20 steps."""
    folder = tmp_path_factory.mktemp("trends")
    sweep = make_sweep(folder, record={"metrics": ["similarity"]})
    train(sweep, folder / "out", commit_seconds=0.0)
    return open_results(folder / "out")


def trends_of(results: Results) -> tuple[Trends, list[str]]:
    runs = results.runs
    found = Trends(Folder(results.path), 60, dict.fromkeys(runs["pack"], 2))
    return found, sorted(runs["pack"].unique())


def test_the_curve_is_the_median_over_runs_of_every_step(results: Results) -> None:
    found, packs = trends_of(results)
    loss, similarity = found.curves(packs)
    expected = results.steps(columns=["loss"]).groupby("step")["loss"].median()
    assert loss.steps == tuple(expected.index)
    assert loss.values == pytest.approx(expected.to_numpy(), rel=1e-6)  # float32 columns
    assert loss.runs == 6
    middle = results.layers("layer == 2", [SIMILARITY]).groupby("step")[SIMILARITY].median()
    assert similarity.steps == tuple(middle.index)
    assert similarity.values == pytest.approx(middle.to_numpy(), rel=1e-6)


def test_long_runs_are_binned(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trends, "BINS", 12)
    found, packs = trends_of(results)
    loss = found.curves(packs)[0]
    steps = results.steps(columns=["loss"])
    binned = steps.groupby(["run_id", steps["step"] // 5])["loss"].mean()
    expected = binned.groupby("step").median()
    assert loss.steps == tuple(range(0, 60, 5))
    assert loss.values == pytest.approx(expected.to_numpy(), rel=1e-6)


def test_the_end_of_a_run_is_the_mean_of_the_last_losses_of_its_newest_part(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, packs = trends_of(results)
    steps = results.steps(columns=["loss"])
    newest = steps[steps["step"] >= 40].groupby("run_id")["loss"].mean()
    assert found.ends(packs) == pytest.approx(newest.to_dict(), rel=1e-6)
    monkeypatch.setattr(trends, "END_STEPS", 5)
    found, _ = trends_of(results)
    last = steps[steps["step"] >= 55].groupby("run_id")["loss"].mean()
    assert found.ends(packs[:1]) == pytest.approx(
        last[results.runs.set_index("run_id").loc[last.index, "pack"] == packs[0]].to_dict(),
        rel=1e-6,
    )


def test_no_more_parts_are_read_than_the_sample_has(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trends, "CURVE_PARTS", 2)
    found, packs = trends_of(results)
    loss = found.curves(packs)[0]
    assert loss.runs == 6
    assert loss.steps == tuple(range(40, 60))  # one part of each pack: its newest
    monkeypatch.setattr(trends, "END_PARTS", 1)
    assert len(found.ends(packs)) == 3


def test_a_part_is_read_once_and_one_that_is_gone_is_left_out(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "out"
    shutil.copytree(results.path, copy)
    runs = open_results(copy).runs
    found = Trends(Folder(copy), 60, dict.fromkeys(runs["pack"], 2))
    packs = sorted(runs["pack"].unique())
    whole = found.curves(packs)
    monkeypatch.setattr(trends, "_binned", lambda *_: pytest.fail("read again"))
    assert found.curves(packs) == whole
    listed = Folder.part_names

    def then_vanish(folder: Folder, table: str, packs: list[str]) -> dict[str, list[str]]:
        parts = listed(folder, table, packs)
        for name in (name for of_pack in parts.values() for name in of_pack[1:]):
            (folder.table(table) / name).unlink(missing_ok=True)
        return parts

    monkeypatch.setattr(Folder, "part_names", then_vanish)
    assert max(found.curves(packs)[0].steps) == 19


def test_a_loss_that_is_not_finite_is_no_plateau_and_leaves_the_median(results: Results) -> None:
    values = np.array([[1.0, np.nan], [3.0, 5.0]])
    part = trends.Part(("a", "b"), values, values.mean(axis=1))
    curve = trends._curve("loss", [part], 2)
    assert curve.values == (2.0, 5.0)


def test_ends_come_from_the_first_packs_that_have_a_part(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, packs = trends_of(results)
    every = found.ends(packs)
    monkeypatch.setattr(trends, "END_PARTS", 1)
    runs = results.runs
    of_first = set(runs[runs["pack"] == packs[0]]["run_id"])
    for asked in (packs, ["f" * 12, *packs]):
        assert found.ends(asked) == {run: end for run, end in every.items() if run in of_first}


def test_files_whose_names_tell_no_steps_are_no_parts(results: Results, tmp_path: Path) -> None:
    shutil.copytree(results.path, tmp_path / "out")
    found, packs = trends_of(open_results(tmp_path / "out"))
    before = found.ends(packs)
    (tmp_path / "out" / "steps" / f"{packs[0]}-x.parquet").write_bytes(b"no part")
    assert found.ends(packs) == before
