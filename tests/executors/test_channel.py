"""What a worker on another machine says arrives; what a launch that is over left writes no more."""

import json
import os
import time
from pathlib import Path

import pytest

from tfc_jax import event_log
from tfc_jax.contents import check_no_others, misplaced
from tfc_jax.errors import InputError
from tfc_jax.executors.channel import Channel, LaunchOver, Post, dismiss
from tfc_jax.layout import Folder

PACK = "0123456789ab"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def heard(channel: Channel) -> list[object]:
    return [(event["event"], event.get("step")) for event in channel.news(PACK)]


def test_what_a_worker_says_arrives_once_and_in_order(folder: Folder) -> None:
    with Channel.opened(folder) as channel:
        assert heard(channel) == []
        post = Post(channel.path, PACK)
        post.say({"event": "compiling", "pack": PACK})
        post.say({"event": "started", "pack": PACK, "step": 20})
        assert list(channel.news(PACK)) == [
            {"event": "compiling", "pack": PACK},
            {"event": "started", "step": 20, "pack": PACK},
        ]
        post.say({"event": "warned", "pack": PACK, "text": "a"})
        assert heard(channel) == [("warned", None)]


def test_of_steps_one_in_five_seconds_is_told(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with Channel.opened(folder) as channel:
        post = Post(channel.path, PACK)
        for step in range(12):
            post.say({"event": "step", "pack": PACK, "step": step})
            clock[0] += 1
        assert heard(channel) == [("step", 0), ("step", 5), ("step", 10)]


def test_a_line_that_a_kill_cut_short_is_left_out_and_the_next_one_is_not(folder: Folder) -> None:
    with Channel.opened(folder) as channel:
        file = channel.path / f"{PACK}.jsonl"
        file.write_text('{"event": "compiled"}\n{"event": "st')
        assert heard(channel) == [("compiled", None)]
        Post(channel.path, PACK).say({"event": "started", "pack": PACK, "step": 3})
        assert heard(channel) == [("started", 3)]


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "nonsense",
        '{"event": "ended"}',
        '{"event": "finished"}',
        '{"event": "planned", "plan": 1}',
        '{"event": "step", "step": -1}',
        '{"event": "step", "step": 1e400}',
        '{"event": "step", "step": "7"}',
        '{"event": "step", "pack": "ffffffffffff"}',
        '{"event": "step", "step": 1, "more": 1}',
        '{"event": "warned", "text": 7}',
    ],
)
def test_what_no_worker_writes_is_left_out(folder: Folder, line: str) -> None:
    with Channel.opened(folder) as channel:
        file = channel.path / f"{PACK}.jsonl"
        file.write_text(line + "\n" + '{"event": "compiled"}\n')
        assert heard(channel) == [("compiled", None)]


def test_a_line_without_end_is_passed_over(folder: Folder) -> None:
    with Channel.opened(folder) as channel:
        file = channel.path / f"{PACK}.jsonl"
        long = json.dumps({"event": "warned", "text": "a" * event_log.MAX_LINE})
        file.write_text(long + "\n" + '{"event": "compiled"}\n')
        assert heard(channel) == [("compiled", None)]


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_link_or_a_pipe_in_the_place_of_a_file_is_not_read(folder: Folder, kind: str) -> None:
    with Channel.opened(folder) as channel:
        place = channel.path / f"{PACK}.jsonl"
        if kind == "pipe":
            os.mkfifo(place)
        else:
            (folder.root / "elsewhere").write_text('{"event": "compiled"}\n')
            place.symlink_to(folder.root / "elsewhere")
        assert heard(channel) == []


def test_a_worker_looks_once_a_second_whether_to_stop(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with Channel.opened(folder) as channel:
        post = Post(channel.path, PACK)
        assert not post.should_stop()
        channel.stop()
        assert not post.should_stop()
        clock[0] += 1
        assert post.should_stop()


@pytest.mark.parametrize("by_next", [False, True], ids=["ended", "killed"])
def test_a_worker_whose_launch_is_over_is_told_to_write_nothing(
    folder: Folder, by_next: bool
) -> None:
    context = Channel.opened(folder)
    channel = context.__enter__()
    post, late = Post(channel.path, PACK), Post(channel.path, PACK)
    post.say({"event": "compiling", "pack": PACK})
    if by_next:
        dismiss(folder)
    else:
        context.__exit__(None, None, None)
    assert not post.is_seen
    with pytest.raises(LaunchOver, match="this launch is over"):
        late.should_stop()
    with pytest.raises(LaunchOver):
        post.say({"event": "compiled", "pack": PACK})
    assert not folder.progress.exists()


def test_what_is_not_a_launchs_own_stays(folder: Folder) -> None:
    with Channel.opened(folder):
        (folder.progress / "launch-mine").mkdir()
        dismiss(folder)
        assert [path.name for path in folder.progress.iterdir()] == ["launch-mine"]


def test_the_folder_of_a_launch_belongs_to_results(folder: Folder) -> None:
    with Channel.opened(folder) as channel:
        Post(channel.path, PACK).say({"event": "compiling", "pack": PACK})
        check_no_others(folder.root)
        assert not list(misplaced(folder.root))
        (channel.path / "link").symlink_to(__file__)
        assert len(list(misplaced(folder.root))) == 1
        (folder.progress / "notes.txt").touch()
        with pytest.raises(InputError, match="notes"):
            check_no_others(folder.root)
