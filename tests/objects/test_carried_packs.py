"""Packs of a launch on an object store that workers elsewhere train, after it was killed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.executors.engines import Inline, OnInline, Train, as_a_worker
from tests.objects.packs import Killed
from tests.objects.store import Local
from tests.sweeps import CPU, content, make_sweep, train
from tfc_jax.config import Sweep
from tfc_jax.execution import Executor, Here
from tfc_jax.executors import channel, node, remote
from tfc_jax.executors.local import Interrupt
from tfc_jax.objects import keeper, lease
from tfc_jax.objects.launching import launch_at
from tfc_jax.objects.place import Place
from tfc_jax.options import Options


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 0.2)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.02)
    with as_a_worker():
        yield


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return make_sweep(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory, sweep: Sweep) -> dict[str, str]:
    out = tmp_path_factory.mktemp("folder") / "out"
    train(sweep, out)
    return content(out)


def launch_on(place: Place, sweep: Sweep, executor: Executor, chosen: Options) -> dict[str, int]:
    given = (executor, lambda event: None, Interrupt(), lambda line: None)
    return dict(launch_at(place, sweep, chosen, *given))


def finish(place: Place, sweep: Sweep) -> bool:
    """Does what the user does next, on this machine; returns whether all is done then."""
    chosen = Options(workers=0, pack_width=3)
    return launch_on(place, sweep, Here(chosen, CPU), chosen) == {"done": 6}


def killed(place: Place, sweep: Sweep, worker: Train) -> list[str]:
    """The orders of a launch that was killed, and cleared nothing away."""
    engine, chosen = Inline(worker), Options(pack_width=3, commit_seconds=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel, "_drop", lambda path: None)
        patch.setattr(keeper, "_release", lambda held: None)
        with pytest.raises(Killed):
            launch_on(place, sweep, OnInline(engine, options=chosen), chosen)
    return [order.to_json() for order in engine.orders]


def ends_in_the_second_pack(step: int) -> Train:
    """The launcher and its worker end when so many steps of it are told."""
    begun, said = list[str](), channel.Post.say

    def say(post: channel.Post, event: dict[str, Any]) -> None:
        said(post, event)
        if len(begun) == 2 and event.get("step", -1) >= step:
            raise Killed

    def train_it(order: str) -> str:
        begun.append(order)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(channel.Post, "say", say)
            return remote.train(order)

    return train_it


def objects(local: Local, place: Place) -> dict[str, bytes]:
    return {key: path.read_bytes() for key, path in local.objects(place).items()}


@pytest.mark.parametrize("step", [0, 20, 60])
def test_a_launch_here_ends_what_workers_of_a_killed_one_began(
    local: Local, place: Place, sweep: Sweep, wanted: dict[str, str], tmp_path: Path, step: int
) -> None:
    orders = killed(place, sweep, ends_in_the_second_pack(step))
    assert len(orders) == 2
    assert finish(place, sweep)
    before = objects(local, place)
    late = [json.loads(remote.train(order))["event"] for order in orders]
    assert late == ["refused", "refused"]
    assert objects(local, place) == before
    assert content(local.as_folder(place, tmp_path / "copied")) == wanted


def test_a_worker_of_a_killed_launch_that_comes_after_the_end_adds_no_row(
    local: Local,
    place: Place,
    sweep: Sweep,
    wanted: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The new launch is on another machine, which cannot tell it that its own is over."""
    orders = killed(place, sweep, ends_in_the_second_pack(20))
    with monkeypatch.context() as patch:
        patch.setenv("TFC_CACHE", str(tmp_path / "another machine"))
        assert finish(place, sweep)
    late = [json.loads(remote.train(order))["event"] for order in orders]
    assert late == ["finished", "finished"]
    assert content(local.as_folder(place, tmp_path / "copied")) == wanted
    assert finish(place, sweep)


def test_a_worker_whose_pack_another_machine_takes_meanwhile_adds_no_row(
    local: Local,
    place: Place,
    sweep: Sweep,
    wanted: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    orders = killed(place, sweep, ends_in_the_second_pack(20))
    said, others = channel.Post.say, list[bool]()

    def say(post: channel.Post, event: dict[str, Any]) -> None:
        if event["event"] == "step" and not others:
            others.append(True)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("TFC_CACHE", str(tmp_path / "another machine"))
                others.append(finish(place, sweep))
        said(post, event)

    monkeypatch.setattr(channel.Post, "say", say)
    end = json.loads(remote.train(orders[1]))
    assert others == [True, True]
    assert end["event"] == "failed"  # which is told, and not stored
    assert "another process has taken it over" in end["error"]
    assert content(local.as_folder(place, tmp_path / "copied")) == wanted


def test_a_worker_that_is_dismissed_in_the_middle_commits_nothing_more(
    local: Local, place: Place, sweep: Sweep, wanted: dict[str, str], tmp_path: Path
) -> None:
    """As by `tfc compact`, or a launch that begins where the first one was killed."""
    drop, said, stored = channel._drop, channel.Post.say, dict[str, bytes]()

    def say(post: channel.Post, event: dict[str, Any]) -> None:
        if event["event"] == "step":
            drop(post.path)
            stored.update(objects(local, place))
        said(post, event)

    def train_it(order: str) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(channel.Post, "say", say)
            assert json.loads(remote.train(order)) == {"event": "stopped"}
        raise Killed

    assert len(killed(place, sweep, train_it)) == 1
    assert stored
    assert objects(local, place) == stored
    assert finish(place, sweep)
    assert content(local.as_folder(place, tmp_path / "copied")) == wanted


def test_a_store_that_is_away_as_a_pack_begins_fails_that_pack_alone(
    local: Local,
    place: Place,
    sweep: Sweep,
    wanted: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node, "_usable", set[str]())
    monkeypatch.setenv("TFC_STORE_SECONDS", "0.3")
    ends = list[dict[str, Any]]()

    def train_it(order: str) -> str:
        is_away = not ends
        if is_away:
            local.kill()
        end = remote.train(order)
        if is_away:
            local.start()
        ends.append(json.loads(end))
        return end

    chosen = Options(pack_width=3)
    counts = launch_on(place, sweep, OnInline(Inline(train_it), options=chosen), chosen)
    assert [end["event"] for end in ends] == ["failed", "finished"]
    assert "the object store cannot be used" in ends[0]["error"]
    assert counts["done"] == 3
    assert finish(place, sweep)
    assert content(local.as_folder(place, tmp_path / "copied")) == wanted
