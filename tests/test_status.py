"""Status: from the files alone, whatever state they are in."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.owners import alive, dead, elsewhere
from tests.sweeps import make_sweep, train
from tfc_jax import glance, status
from tfc_jax.config import Sweep
from tfc_jax.errors import InputError
from tfc_jax.executors.local import Interrupt
from tfc_jax.layout import Folder
from tfc_jax.manifest import launched_sweep
from tfc_jax.results import open_results
from tfc_jax.status import Reader, read_status


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 runs in 2 packs, the first of them stopped after 20 of 60 steps."""
    folder = tmp_path_factory.mktemp("half")
    interrupt = Interrupt()

    def stop(event: dict[str, Any]) -> None:
        interrupt.level = int(event["event"] != "planned")

    train(make_sweep(folder), folder / "out", on_event=stop, interrupt=interrupt)
    return folder / "out"


@pytest.fixture
def log(half: Path) -> Any:
    """The log, put back after the test."""
    path = half / "log.jsonl"
    text = path.read_text()
    yield path
    path.write_text(text)


def events(now: float, *said: dict[str, Any]) -> str:
    lines = [{"time": now + i, **event} for i, event in enumerate(said)]
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_committed_work_is_counted_and_the_rest_is_pending(half: Path) -> None:
    state = read_status(Folder(half))
    assert state.counts == {"done": 0, "diverged": 0, "running": 3, "failed": 0, "pending": 3}
    assert (state.committed_steps, state.total_steps) == (3 * 20, 6 * 60)
    assert state.eta_s is None
    assert "3 interrupted (tfc run goes on), 3 pending" in state.as_text()
    assert "committed: 16.7 %" in state.as_text()
    assert "nobody is training" in state.as_text()


def test_time_left_is_what_is_missing_over_the_rate_of_this_launch(half: Path, log: Path) -> None:
    pack = open_results(half).runs["pack"].iloc[0]
    log.write_text(
        events(
            time.time() - 3,
            {"event": "launched", "committed_steps": 60},
            {"event": "started", "pack": pack, "step": 20},
            {"event": "step", "pack": pack, "step": 40},
        )
    )
    # 3 runs x 20 steps in 2 seconds; 360 - 60 - 60 are left
    state = read_status(Folder(half))
    assert state.eta_s == pytest.approx(240 / (60 / 2))
    assert state.rate == pytest.approx(60 / 2)
    assert "training now; about 8 s left at 30 run-steps/s" in state.as_text()


def test_a_long_silence_means_that_nobody_is_training(half: Path, log: Path) -> None:
    pack = open_results(half).runs["pack"].iloc[0]
    log.write_text(
        events(
            time.time() - status.SILENT_SECONDS - 60,
            {"event": "launched", "committed_steps": 0},
            {"event": "step", "pack": pack, "step": 20},
        )
    )
    state = read_status(Folder(half))
    assert state.eta_s is None
    assert state.last_event_s is not None
    assert state.last_event_s > status.SILENT_SECONDS


@pytest.mark.parametrize(("owner", "trains"), [(alive, True), (elsewhere, True), (dead, False)])
def test_a_launch_whose_process_is_gone_trains_no_more(
    half: Path, log: Path, owner: Callable[[], str], trains: bool
) -> None:
    """It was killed, so that its log does not say that it ended."""
    lock = half / ".lock"
    before = lock.read_bytes()
    lock.write_text(owner())
    log.write_text(events(time.time() - 1, {"event": "launched", "committed_steps": 0}))
    try:
        state = read_status(Folder(half))
    finally:
        lock.write_bytes(before)
    assert state.training is trains
    assert ("nobody is training" in state.as_text()) is not trains


def test_a_pack_is_where_the_log_says_unless_a_commit_knows_better(half: Path, log: Path) -> None:
    pack = open_results(half).runs["pack"].iloc[0]
    launched = {"event": "launched", "committed_steps": 60}
    started = {"event": "started", "pack": pack, "step": 20}
    said = [launched, started, {"event": "step", "pack": pack, "step": 40}]
    states = []
    for count in (1, 2, 3):
        log.write_text(events(time.time() - 3, *said[:count]))
        states.append(read_status(Folder(half)).packs[0])
    assert [state.state for state in states] == ["waiting", "compiling", "training"]
    assert [state.step for state in states] == [20, 20, 40]
    log.unlink()
    (state,) = read_status(Folder(half)).packs
    assert (state.id, state.runs, state.step, state.state) == (pack, 3, 20, "interrupted")
    # init_scale is 0.8 in all runs of this pack and in half of the sweep's; their rates differ
    assert state.what == "digits mlp 3x16, init_scale 0.8, learning_rate 0.05 to 0.8"


def test_runs_are_on_the_plateau_while_their_last_losses_are(
    half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = open_results(half)
    means = results.steps(columns=["loss"]).groupby("run_id")["loss"].mean()
    share = (means / results.runs["prior_loss"].iloc[0]).sort_values()
    monkeypatch.setattr(status, "PLATEAU", share.iloc[1])  # two of three lie at or above it
    state = read_status(Folder(half))
    assert (state.plateaued, state.judged) == ({"running": 2, "done": 0}, 3)
    assert "on the plateau: 2 of 3 runs (2 interrupted)" in state.as_text()


def test_reading_again_sees_what_was_written_since(half: Path, log: Path) -> None:
    log.unlink()
    reader = Reader(Folder(half))
    assert reader.read().last_event_s is None
    text = events(time.time(), {"event": "launched", "committed_steps": 0})
    log.write_text(text[:-9])
    assert reader.read().last_event_s is None  # a line that is not whole yet
    with log.open("a") as file:
        file.write(text[-9:])
    assert reader.read().last_event_s is not None
    log.write_text(events(time.time() - 5, {"event": "launched"}, {"event": "ended"}))
    state = reader.read()
    assert state.last_event_s is not None
    assert not state.training
    log.write_text(events(time.time() - 5, {"event": "launched"}))
    assert reader.read().training  # a shorter log is a new one


def test_a_longer_log_of_a_fresh_start_is_read_from_its_beginning(half: Path, log: Path) -> None:
    def failed(pack: str) -> dict[str, Any]:
        return {"event": "failed", "pack": pack, "error": "no room"}

    log.write_text(events(time.time() - 60, {"event": "launched"}, failed("old")))
    reader = Reader(Folder(half))
    assert reader.read().errors == ("pack old: no room",)
    log.unlink()
    log.write_text(events(time.time() - 5, {"event": "launched"}, failed("a"), failed("b")))
    assert reader.read().errors == ("pack a: no room", "pack b: no room")


def test_what_has_not_changed_is_not_read_again(
    half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(Folder(half))
    first = reader.read()
    monkeypatch.setattr(glance, "launched_outline", lambda _: pytest.fail("read again"))
    monkeypatch.setattr(pq, "ParquetFile", lambda *_, **__: pytest.fail("read again"))
    assert reader.read().counts == first.counts


def test_errors_are_those_of_the_newest_launch(half: Path, log: Path) -> None:
    failed = {"event": "failed", "pack": "p", "error": "old"}
    log.write_text(
        events(0, {"event": "launched"}, failed, {"event": "launched"}, failed | {"error": "new"})
    )
    assert read_status(Folder(half)).errors == ("pack p: new",)


def test_a_folder_is_known_without_its_log(half: Path, log: Path) -> None:
    log.unlink()
    state = read_status(Folder(half))
    assert (state.last_event_s, state.eta_s, state.counts["running"]) == (None, None, 3)


def test_overrides_of_the_launch_count(tmp_path: Path) -> None:
    sweep: Sweep = make_sweep(tmp_path)
    given = {"set": ["steps=20"], "filter": "init_scale < 0.9", "limit": 2}
    train(sweep, tmp_path / "out", given=given, interrupt=Interrupt(1))
    assert [run.steps for run in launched_sweep(Folder(tmp_path / "out")).runs] == [20, 20]
    assert read_status(Folder(tmp_path / "out")).counts["pending"] == 2


def test_no_results_are_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no results here \(no manifest.json\)"):
        read_status(Folder(tmp_path))
