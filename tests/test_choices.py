"""The schedule and width of new packs: what comes first, what is stored, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.sweeps import AXES, CPU, make_sweep, train, write_sweep
from tfc_jax import choices
from tfc_jax.choices import Choice, Choices
from tfc_jax.cli import app
from tfc_jax.errors import InputError
from tfc_jax.executors import inline, local
from tfc_jax.launch import plan_sweep
from tfc_jax.layout import Folder
from tfc_jax.options import Options
from tfc_jax.replay import replay
from tfc_jax.results import open_results
from tfc_jax.started import started_packs
from tfc_jax.task import Task

LOCKSTEP = Choice("lockstep", 2)


def cuts(out: Path) -> list[tuple[str, int]]:
    """Schedule and width of the packs that have started, in the order in which they started."""
    return [(pack.schedule, pack.width) for pack in started_packs(Folder(out))]


def planned(out: Path, folder: Path, platform: str = "cpu", **options: Any) -> set[tuple[str, int]]:
    found = type(CPU)(platform, (0,))
    plan = plan_sweep(make_sweep(folder), Folder(out), Options(**options), found)
    return {(pack.schedule, pack.width) for pack in plan.packs}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_a_programs_own_choice_comes_before_that_of_all_and_flags_before_both() -> None:
    known = Choices(Choice("mapped", 8), {"a": Choice(None, 4), "b": LOCKSTEP})
    assert known.of("a") == Choice("mapped", 4)
    assert known.of("other") == Choice("mapped", 8)
    flagged = known.overridden(Choice(None, 16))
    assert [flagged.of(name) for name in "ab"] == [
        Choice("mapped", 16),
        Choice("lockstep", 16),
    ]
    assert "a" not in flagged.programs
    assert flagged.measured({"a": LOCKSTEP}).of("a") == LOCKSTEP
    assert known.overridden(Choice()) == known


def test_what_is_stored_is_read_again_and_other_platforms_keep_theirs(out: Path) -> None:
    folder = Folder(out)
    store = Choices(Choice(None, 4), {"a": LOCKSTEP})
    choices.store(folder, "gpu", Choices(Choice("mapped", None)))
    choices.store(folder, "cpu", store)
    assert choices.stored(folder, "cpu") == store
    assert choices.stored(folder, "gpu").every.schedule == "mapped"
    assert choices.stored(folder, "tpu") == Choices()


def test_choosing_nothing_writes_nothing(out: Path) -> None:
    choices.store(Folder(out), "cpu", Choices())
    assert list(out.iterdir()) == []


def test_new_runs_take_the_stored_schedule_and_width_and_old_packs_keep_theirs(
    out: Path, tmp_path: Path
) -> None:
    train(make_sweep(tmp_path), out, width=2, schedule="lockstep")
    wider = make_sweep(tmp_path, grid=AXES | {"seed": [0, 1]})
    assert train(wider, out, width=None) == {"done": 12}
    assert cuts(out) == [("lockstep", 2)] * 6
    more = make_sweep(tmp_path, grid=AXES | {"seed": [0, 1, 2]})
    assert train(more, out, width=3) == {"done": 18}
    assert sorted(cuts(out)) == [("lockstep", 2)] * 6 + [("lockstep", 3)] * 2
    assert choices.stored(Folder(out), "cpu").every == Choice("lockstep", 3)


def test_a_choice_for_another_platform_is_not_taken(out: Path, tmp_path: Path) -> None:
    default = planned(out, tmp_path)
    choices.store(Folder(out), "gpu", Choices(Choice("lockstep", 2)))
    assert planned(out, tmp_path) == default
    assert planned(out, tmp_path, platform="gpu") == {("lockstep", 2)}
    told = choices.origin(Folder(out), "cpu", Choice())
    assert "by default" in told
    assert "what gpu takes; this is cpu" in told


def test_fresh_forgets_what_is_stored_and_stores_what_it_is_given(
    out: Path, tmp_path: Path
) -> None:
    default = planned(out, tmp_path)
    choices.store(Folder(out), "cpu", Choices(LOCKSTEP))  # before the first launch: no manifest
    assert planned(out, tmp_path, fresh=True) == default
    train(make_sweep(tmp_path), out, width=None, fresh=True)
    assert set(cuts(out)) == default
    assert not (out / "schedules.json").exists()
    train(make_sweep(tmp_path), out, width=5, fresh=True)
    assert choices.stored(Folder(out), "cpu") == Choices(Choice(None, 5))


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"abacus": {"every": {}, "programs": {}}}',
        '{"cpu": {"programs": {}}}',
        '{"cpu": {"every": {"schedule": "fast"}, "programs": {}}}',
        '{"cpu": {"every": {"pack_width": 0}, "programs": {}}}',
        '{"cpu": {"every": {"pack_width": "8"}, "programs": {}}}',
        '{"cpu": {"every": {"width": 8}, "programs": {}}}',
        '{"cpu": {"every": {}, "programs": {"a": 3}}}',
        '{"cpu": {"every": {}, "programs": {}, "others": {}}}',
        "\udcff",
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_with_the_remedy(
    out: Path, tmp_path: Path, content: str
) -> None:
    (out / "schedules.json").write_text(content, errors="surrogateescape")
    with pytest.raises(InputError, match=r"schedules\.json.*Delete the file"):
        planned(out, tmp_path)


def tfc(*arguments: object) -> str:
    answer = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_a_plan_says_where_the_choice_comes_from(out: Path, tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    assert "New packs: schedule and width by default." in tfc("plan", path, "--out", out)
    choices.store(Folder(out), "cpu", Choices(Choice(None, 2)))
    told = tfc("plan", path, "--out", out, "--schedule", "lockstep")
    assert f"schedule by --schedule, width as stored in {out}/schedules.json" in told
    told = tfc("run", path, "--out", out, "--workers", "0")
    assert f"schedule by default, width as stored in {out}/schedules.json" in told
    assert set(cuts(out)) == {("mapped", 2)}
    told = tfc("plan", path, "--out", out, "--schedule", "lockstep")
    assert "No new packs: those that have started keep their schedule and width." in told
    assert "New packs" not in tfc("plan", path, "--out", out)


def test_a_retry_leaves_the_stored_choice_as_it_is(out: Path, tmp_path: Path) -> None:
    train(make_sweep(tmp_path), out, width=3, given={"set": [], "filter": None, "limit": None})
    choices.store(Folder(out), "cpu", Choices(Choice("lockstep", 2)))
    tfc("retry", out, "--workers", "0", "--quiet")
    assert choices.stored(Folder(out), "cpu") == Choices(Choice("lockstep", 2))
    assert json.loads((out / "manifest.json").read_text())["flags"]["pack_width"] == 3


def test_a_replay_takes_the_schedule_and_width_of_the_run_whatever_is_stored_now(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(make_sweep(tmp_path, grid={}, seeds=2), out, width=2, schedule="lockstep")
    choices.store(Folder(out), "cpu", Choices(Choice("mapped", 4)))
    asked: list[Task] = []
    train_here = inline.execute

    def execute(tasks: list[Task], _: object, *watched: Any) -> None:
        asked.extend(tasks)
        train_here(tasks, *watched)

    monkeypatch.setattr(local, "execute", execute)
    outcome = replay(Folder(out), open_results(out).runs["run_id"].iloc[1], CPU)
    assert outcome.differing == 0
    assert [(task.schedule, task.width) for task in asked] == [("lockstep", 2)]
