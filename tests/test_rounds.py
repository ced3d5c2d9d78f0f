"""A sweep that refines trains round after round, and goes on wherever it was stopped."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.sweeps import content, make_sweep, train, write_sweep
from tfc_jax import rounds, worker
from tfc_jax.cli import app
from tfc_jax.config import Sweep
from tfc_jax.executors.local import Interrupt
from tfc_jax.layout import Folder
from tfc_jax.results import open_results
from tfc_jax.rounds import known
from tfc_jax.status import Reader, read_status

Events = list[dict[str, Any]]

# A loss of 2.2 after 60 steps lies between the first and the last of these learning rates.
GRID = {"learning_rate": {"logspace": [0.01, 1.0, 3]}, "init_scale": [0.8, 1.0]}
REFINE = {"axes": ["learning_rate"], "boundary": "final_loss < 2.2", "halvings": 2}


def make(folder: Path, **sections: Any) -> Sweep:
    return make_sweep(folder, **{"grid": GRID, "refine": REFINE, **sections})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the refined sweep: 6 runs and what follows from them."""
    folder = tmp_path_factory.mktemp("finished")
    train(make(folder), folder / "out")
    return folder / "out"


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished results."""
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def cells(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "cells").sort_values("run_id", ignore_index=True)


def planned_runs(events: Events) -> list[int]:
    """Runs that each round of a launch had still to train."""
    plans = [event["plan"] for event in events if event["event"] == "planned"]
    return [sum(len(pack.runs) for pack in plan.unfinished) for plan in plans]


def test_cells_are_halved_where_the_outcome_changes_sides(finished: Path, tmp_path: Path) -> None:
    sweep = known(make(tmp_path), Folder(finished))
    runs = open_results(finished).table(
        "cells", config=["init_scale", "learning_rate", "final_loss"]
    )
    assert len(sweep.runs) == len(open_results(finished).runs) > 12
    assert (sweep.round, sweep.more) == (2, 0)
    assert set(runs["level"]) <= {0, 1, 2}
    assert (runs["holds"].astype(bool) == (runs["final_loss"] < 2.2)).all()
    inside = runs["learning_rate"].between(runs["learning_rate_low"], runs["learning_rate_high"])
    assert inside.all()
    for _, part in runs.groupby("init_scale"):
        row = part.sort_values("learning_rate", ignore_index=True)
        assert row["learning_rate_low"][1:].to_list() == pytest.approx(
            row["learning_rate_high"][:-1].to_list()
        )
        changes = row["holds"].astype(bool) != row["holds"].astype(bool).shift(fill_value=False)
        after = row.index[changes & (row.index > 0)]
        assert len(after)
        assert set(row["level"][after]) == set(row["level"][after - 1]) == {2}


def test_the_cells_say_what_their_columns_mean(finished: Path) -> None:
    answer = CliRunner().invoke(app, ["show", str(finished), "--columns"])
    assert "whether final_loss < 2.2 for at least half" in answer.stdout


def test_a_finished_refinement_is_not_touched_again(out: Path, tmp_path: Path) -> None:
    before, events = cells(out), Events()
    train(make(tmp_path), out, on_event=events.append)
    assert planned_runs(events) == [0]
    pd.testing.assert_frame_equal(cells(out), before)


@pytest.mark.parametrize("stopped_after", [1, 2, 3, 5])
def test_a_launch_stopped_anywhere_goes_on_to_the_same_runs_and_bits(
    finished: Path, tmp_path: Path, stopped_after: int
) -> None:
    """After so many packs: round 0 has two of three runs, and others are stopped in the middle."""
    interrupt, ended = Interrupt(), Events()

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "finished":
            ended.append(event)
        interrupt.level = int(len(ended) >= stopped_after)

    counts = train(make(tmp_path), tmp_path / "out", on_event=stop, interrupt=interrupt)
    assert counts["pending"] + counts["running"] > 0
    state = read_status(Folder(tmp_path / "out"))
    assert state.counts["pending"] == counts["pending"]
    assert state.more > 0
    train(make(tmp_path), tmp_path / "out")
    assert content(tmp_path / "out", without=("wall_s", "pack", "lane")) == content(
        finished, without=("wall_s", "pack", "lane")
    )
    pd.testing.assert_frame_equal(cells(tmp_path / "out"), cells(finished))


def test_the_runs_do_not_depend_on_how_they_are_packed(finished: Path, tmp_path: Path) -> None:
    train(make(tmp_path), tmp_path / "out", width=4)
    pd.testing.assert_frame_equal(cells(tmp_path / "out"), cells(finished))


def test_status_says_which_round_it_is_and_what_can_follow(out: Path, tmp_path: Path) -> None:
    state = read_status(Folder(out))
    assert (state.round, state.more) == (2, 0)
    assert sum(state.counts.values()) == state.counts["done"] == len(open_results(out).runs)
    assert "refine: round 2; ended" in state.as_text()
    train(make(tmp_path), tmp_path / "new", interrupt=Interrupt(1))
    assert (
        "refine: round 0; at most 36 runs more" in read_status(Folder(tmp_path / "new")).as_text()
    )


def test_rounds_are_worked_out_again_only_when_a_run_changed(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Sweep] = []

    def counted(sweep: Sweep, folder: Folder) -> Sweep:
        calls.append(sweep)
        return known(sweep, folder)

    monkeypatch.setattr(rounds, "known", counted)
    reader = Reader(Folder(out))
    assert reader.read().counts == reader.read().counts
    assert len(calls) == 1
    next((out / "runs").glob("*.parquet")).touch()
    assert reader.read().round == 2
    assert len(calls) == 2


def test_a_sweep_without_refine_has_no_round(tmp_path: Path) -> None:
    train(make_sweep(tmp_path), tmp_path / "out", interrupt=Interrupt(1))
    state = read_status(Folder(tmp_path / "out"))
    assert state.round is None
    assert "refine" not in state.as_text()
    assert not (tmp_path / "out" / "cells").exists()


def test_cells_of_an_earlier_launch_go_when_nothing_is_refined_any_more(
    out: Path, tmp_path: Path
) -> None:
    train(make_sweep(tmp_path, grid=GRID), out)
    assert not open_results(out).has("cells", "cell")


def test_validate_and_plan_say_that_runs_may_follow(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, grid=GRID, refine=REFINE)
    answer = CliRunner().invoke(app, ["validate", str(path)])
    assert "6 runs of 60 steps, and at most 36 more by refine" in answer.stdout
    answer = CliRunner().invoke(app, ["plan", str(path), "--out", str(tmp_path / "out")])
    assert "(refine: up to round 0, at most 36 more, by their outcomes)" in answer.stdout


def test_a_plan_of_finished_results_knows_all_rounds(finished: Path, tmp_path: Path) -> None:
    path = write_sweep(tmp_path, grid=GRID, refine=REFINE)
    answer = CliRunner().invoke(app, ["plan", str(path), "--out", str(finished)])
    assert "(refine: up to round 2, the last); 0 runs in 0 packs to train" in answer.stdout


def test_more_steps_refine_from_the_first_round_again(out: Path, tmp_path: Path) -> None:
    longer = make(tmp_path, base={"steps": 80})
    assert (known(longer, Folder(out)).round, len(known(longer, Folder(out)).runs)) == (0, 6)
    train(longer, out)
    train(longer, tmp_path / "whole")
    pd.testing.assert_frame_equal(cells(out), cells(tmp_path / "whole"))


def test_another_seed_adds_its_runs_to_the_cells(out: Path, tmp_path: Path) -> None:
    before = set(open_results(out).runs["run_id"])
    train(make(tmp_path, seeds=2), out)
    assert before < set(open_results(out).runs["run_id"])
    assert set(cells(out).groupby("cell").size()) == {2}


def test_failed_runs_have_no_vote_until_a_retry(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make(tmp_path)
    original = worker.train_pack

    def fail(task: Any, report: Any, should_stop: Any) -> bool:
        if sweep.runs[-1] in task.runs:
            raise MemoryError("no room")
        return original(task, report, should_stop)

    with monkeypatch.context() as patch:
        patch.setattr(worker, "train_pack", fail)
        counts = train(sweep, tmp_path / "out")
    assert counts["failed"] == 3
    assert not counts["pending"]
    lost = cells(tmp_path / "out")
    assert lost["holds"].isna().any()
    train(sweep, tmp_path / "out", retry=True)
    pd.testing.assert_frame_equal(cells(tmp_path / "out"), cells(finished))


def test_a_filter_and_a_limit_hold_for_all_rounds(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, grid=GRID, refine=REFINE)
    quick = ["--workers", "0", "--pack-width", "3", "--quiet"]
    chosen = ["--filter", "init_scale < 0.9", "--limit", "5", "--out", str(tmp_path / "out")]
    answer = CliRunner().invoke(app, ["run", str(path), *chosen, *quick])
    assert answer.stdout.endswith("out: 5 done\n")
    assert Counter(open_results(tmp_path / "out").runs["init_scale"]) == {0.8: 5}
    assert read_status(Folder(tmp_path / "out")).counts["done"] == 5
