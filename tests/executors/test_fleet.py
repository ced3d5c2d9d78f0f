"""Packs that train elsewhere leave the same results, and their ends are told as here."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.executors.engines import Inline, Late, OnInline, as_a_worker, fly, lost, shortened
from tests.sweeps import CPU, content, make_sweep, train
from tfc_jax import data, event_log
from tfc_jax.config import Sweep
from tfc_jax.errors import InputError
from tfc_jax.executors import channel, fleet, remote
from tfc_jax.executors.local import Interrupt
from tfc_jax.launch import launch
from tfc_jax.layout import Folder
from tfc_jax.lock import LockLost
from tfc_jax.options import Options
from tfc_jax.progress import Display
from tfc_jax.results import open_results

Events = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    with as_a_worker():
        yield


@pytest.mark.parametrize("schedule", ["lockstep", "mapped"])
def test_results_are_those_of_this_process_bit_by_bit(
    sweep: Sweep, tmp_path: Path, schedule: Any
) -> None:
    assert fly(sweep, tmp_path / "far", Inline(), schedule=schedule) == {"done": 6}
    train(sweep, tmp_path / "here", schedule=schedule)
    assert content(tmp_path / "far") == content(tmp_path / "here")
    assert not (tmp_path / "far" / "progress").exists()


def test_a_sweep_that_refines_is_refined(tmp_path: Path) -> None:
    sweep = make_sweep(
        tmp_path,
        grid={"learning_rate": {"logspace": [0.01, 1.0, 3]}, "init_scale": [0.8, 1.0]},
        refine={"axes": ["learning_rate"], "boundary": "final_loss < 2.2", "halvings": 1},
    )
    engine = Inline()
    fly(sweep, tmp_path / "far", engine)
    train(sweep, tmp_path / "here")
    assert len({order.path for order in engine.orders}) == 2  # rounds
    assert content(tmp_path / "far") == content(tmp_path / "here")


@pytest.mark.parametrize("engine", [Inline, Late])
def test_the_events_are_those_of_this_machine(
    sweep: Sweep, tmp_path: Path, engine: type[Inline]
) -> None:
    events: Events = []
    fly(sweep, tmp_path / "out", engine(), events.append)
    told = [(event["event"], event.get("step")) for event in events]
    pack = [("compiling", None), ("compiled", None), ("started", 0), ("step", 20), ("step", 60)]
    assert told == [("planned", None), *[*pack, ("finished", None)] * 2]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["flags"]["executor"] == "local"


def test_no_more_packs_are_given_away_than_the_engine_has_room_for(
    sweep: Sweep, tmp_path: Path
) -> None:
    engine = Inline(at_a_time=2)
    assert fly(sweep, tmp_path / "out", engine, pack_width=1) == {"done": 6}
    assert (engine.most, len(engine.orders)) == (2, 6)


def test_what_looks_at_a_data_set_and_what_trains_on_it_read_it_once(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    load = data.load

    def counted(name: str, **part: Any) -> data.Dataset:
        loads.append(name)
        return load(name, **part)

    def new_process(order: str) -> str:
        data.loaded.cache_clear()
        loads.clear()
        return remote.train(order)

    monkeypatch.setattr(data, "load", counted)
    assert fly(sweep, tmp_path / "out", Inline(new_process), pack_width=6) == {"done": 6}
    assert len(loads) == 1


def test_a_pack_that_the_engine_gives_up_has_failed_and_is_tried_again_later(
    sweep: Sweep, tmp_path: Path, reference: Path
) -> None:
    events: Events = []
    out = tmp_path / "out"
    assert fly(sweep, out, Inline(lost), events.append) == {"failed": 6}
    told = [event["error"] for event in events if event["event"] == "failed"]
    assert told == ["its machine is gone"] * 2
    assert fly(sweep, out, Inline(), retry=True) == {"done": 6}
    assert content(out) == content(reference)


def test_a_pack_that_is_called_again_goes_on_from_its_last_commit(
    sweep: Sweep, tmp_path: Path, reference: Path
) -> None:
    """As an engine does when a machine is lost."""
    steps: list[int] = []

    def twice(order: str) -> str:
        assert json.loads(remote.train(shortened(order, 20)))["event"] == "finished"
        return remote.train(order)

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "started":
            steps.append(event["step"])

    assert fly(sweep, tmp_path / "out", Inline(twice), note) == {"done": 6}
    assert steps == [0, 20, 0, 20]
    assert content(tmp_path / "out") == content(reference)


def test_a_machine_that_does_not_fit_is_named_before_anything_trains(
    sweep: Sweep, tmp_path: Path
) -> None:
    engine = Inline(why=["node a: no.", "node b: no."])
    with pytest.raises(InputError) as refusal:
        fly(sweep, tmp_path / "out", engine)
    assert refusal.value.messages == ("node a: no.", "node b: no.")
    assert not engine.orders
    assert len(open_results(tmp_path / "out").runs) == 0


def test_a_machine_that_joins_later_and_does_not_fit_ends_the_launch_and_no_pack_has_failed(
    sweep: Sweep, tmp_path: Path
) -> None:
    def refuses(order: str) -> str:
        tools = json.loads(order)["tools"] | {"jax": "0.0.1"}
        return remote.train(json.dumps(json.loads(order) | {"tools": tools}))

    with pytest.raises(InputError, match=r"node .*: jax .* is installed there, but 0\.0\.1"):
        fly(sweep, tmp_path / "out", Inline(refuses))
    assert len(open_results(tmp_path / "out").runs) == 0


def test_a_worker_that_does_not_see_the_results_refuses(sweep: Sweep, tmp_path: Path) -> None:
    def blind(order: str) -> str:
        return remote.train(json.dumps(json.loads(order) | {"path": str(tmp_path / "elsewhere")}))

    with pytest.raises(InputError, match="it does not see"):
        fly(sweep, tmp_path / "out", Inline(blind))


def test_jax_that_started_with_other_settings_is_refused(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with pytest.raises(InputError, match="JAX was imported before"):
        fly(sweep, tmp_path / "out", Inline())


def test_what_jax_is_told_here_it_is_told_there_but_for_caches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("JAX_DEFAULT_MATMUL_PRECISION", "XLA_FLAGS", "XLA_FLAGSHIP", "SECRET"):
        monkeypatch.setenv(variable, "x")
    told = remote.environment(CPU)
    assert set(told) >= {"JAX_DEFAULT_MATMUL_PRECISION", "XLA_FLAGS", "JAX_NUMPY_RANK_PROMOTION"}
    assert not {name for name in told if "CACHE" in name} | (set(told) & {"XLA_FLAGSHIP", "SECRET"})
    assert (told["PJRT_NPROC"], told["OMP_NUM_THREADS"]) == ("1", "1")


def test_a_worker_elsewhere_has_the_settings_of_the_launch(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, float | None]] = []
    options = Options(deterministic=True, max_memory=2e9)

    def settle(variables: object, deterministic: bool, max_memory: float | None) -> bool:
        seen.append((deterministic, max_memory))
        return True

    with monkeypatch.context() as patch:
        patch.setattr(remote, "_prepare", settle)
        there = OnInline(Inline(), options=options)
        launch(
            sweep, Folder(tmp_path / "out"), options, CPU, lambda event: None, Interrupt(), there
        )
    assert set(seen) == {(True, 2e9)}


def test_a_stop_lets_a_pack_end_its_chunk_and_the_next_launch_goes_on(
    sweep: Sweep, tmp_path: Path, reference: Path
) -> None:
    interrupt = Interrupt()
    events: Events = []

    def train_until_stop(order: str) -> str:
        interrupt.level = 1
        (Path(json.loads(order)["path"]) / "orders").write_bytes(channel.STOP)
        return remote.train(order)

    engine = Inline(train_until_stop)
    fly(sweep, tmp_path / "out", engine, events.append, interrupt)
    assert [event["event"] for event in events] == ["planned", "stopped"]
    assert len(engine.orders) == 1
    assert fly(sweep, tmp_path / "out", Inline()) == {"done": 6}
    assert content(tmp_path / "out") == content(reference)


def test_a_stop_does_not_wait_for_packs_that_have_not_begun(sweep: Sweep, tmp_path: Path) -> None:
    """An engine may take minutes to say that what it cancelled has ended."""
    interrupt = Interrupt()

    class Queues(Inline):
        looks = 0

        def landed(self, flying: Any, seconds: float) -> Any:
            self.looks, interrupt.level = self.looks + 1, 1
            assert self.looks < 10
            return ()

    engine = Queues(at_a_time=2)
    assert fly(sweep, tmp_path / "out", engine, interrupt=interrupt) == {"pending": 6}
    assert set(engine.cancelled) == {0, 1}


def test_packs_that_are_not_taken_now_are_given_away_again(
    sweep: Sweep, tmp_path: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "AGAIN_SECONDS", 0.0)

    class Busy(Inline):
        refusals = 0

        def room(self, flying: int) -> int:
            return 1

        def submit(self, orders: Any) -> Any:
            if self.orders and self.refusals < 3:
                self.refusals += 1
                raise InputError("timed out.")
            return super().submit(orders)

        def landed(self, flying: Any, seconds: float) -> Any:
            return super().landed(flying, seconds) if self.refusals == 3 else ()

    engine = Busy()
    assert fly(sweep, tmp_path / "out", engine) == {"done": 6}
    assert engine.refusals == 3
    assert content(tmp_path / "out") == content(reference)


def test_a_launch_that_waits_for_long_says_so(
    sweep: Sweep,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Else `tfc status` would say that nobody is training."""
    monkeypatch.setattr(fleet, "SILENT_SECONDS", -1.0)

    class Queues(Inline):
        asked = False

        def landed(self, flying: Any, seconds: float) -> Any:
            was_asked, self.asked = self.asked, True
            return super().landed(flying, seconds) if was_asked else ()

    with Display(Console(), quiet=False) as display:
        fly(sweep, tmp_path / "out", Queues(), display, pack_width=6)
    assert "nothing new from the 1 pack that the cluster has taken" in capsys.readouterr().out
    assert "waiting" in [entry.event for entry in event_log.entries(Folder(tmp_path / "out"))]


def test_a_second_stop_ends_all_packs_at_once(sweep: Sweep, tmp_path: Path) -> None:
    interrupt = Interrupt()

    class Hangs(Inline):
        def landed(self, flying: Any, seconds: float) -> Any:
            interrupt.level += 1
            return ()

    engine = Hangs(at_a_time=2)
    fly(sweep, tmp_path / "out", engine, interrupt=interrupt)
    assert set(engine.cancelled) == {0, 1}
    assert not interrupt.attended


def test_workers_of_a_launch_that_was_killed_write_nothing_any_more(
    sweep: Sweep, tmp_path: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[str] = []

    def keep(order: str) -> str:
        orders.append(order)
        raise KeyboardInterrupt  # stands for the end of the launcher, which clears nothing away

    with monkeypatch.context() as patch:
        patch.setattr(channel, "_drop", lambda path: None)
        with pytest.raises(KeyboardInterrupt):
            fly(sweep, tmp_path / "out", Inline(keep))
    assert Path(json.loads(orders[0])["path"]).is_dir()

    def late(order: str) -> str:
        end = remote.train(order)
        before = content(tmp_path / "out")
        assert json.loads(remote.train(orders[0]))["event"] == "refused"
        assert content(tmp_path / "out") == before
        return end

    assert fly(sweep, tmp_path / "out", Inline(late)) == {"done": 6}
    assert content(tmp_path / "out") == content(reference)


def test_a_launch_that_is_over_while_a_pack_trains_lets_it_write_nothing_more(
    sweep: Sweep, tmp_path: Path
) -> None:
    def over(order: str) -> str:
        folder, said = Folder(tmp_path / "out"), channel.Post.say

        def say(post: channel.Post, event: dict[str, Any]) -> None:
            if event["event"] == "compiled":  # the last word before anything is written
                channel.dismiss(folder)
            said(post, event)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(channel.Post, "say", say)
            return remote.train(order)

    fly(sweep, tmp_path / "out", Inline(over), pack_width=6)
    runs = open_results(tmp_path / "out").runs
    assert set(runs["status"]) == {"failed"}  # as the launcher, which lives, says
    assert not list((tmp_path / "out" / "steps").glob("*-*"))


def test_a_launch_that_lost_its_lock_ends_what_it_has_given_away(
    sweep: Sweep, tmp_path: Path
) -> None:
    def steal(order: str) -> str:
        (tmp_path / "out" / ".lock").unlink()
        return remote.train(order)

    engine = Inline(steal, at_a_time=2)
    with pytest.raises(LockLost):
        fly(sweep, tmp_path / "out", engine)
    assert engine.cancelled == [1]
