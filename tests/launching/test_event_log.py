"""log.jsonl says what happened, also after a crash; a launch does not depend on it."""

import json
import logging
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps import content, train
from tfc_jax import event_log
from tfc_jax.config import Sweep
from tfc_jax.errors import InputError
from tfc_jax.executors.diagnostics import diagnostics
from tfc_jax.layout import Folder
from tfc_jax.status import read_status

NAN, INF = float("nan"), float("inf")
WRONG: dict[str, tuple[object, ...]] = {
    "event": (None, 1, []), "time": (None, "1", True, NAN, INF, -1, 2**40, 10**400),
    "elapsed_s": ("1", True, NAN, INF, -1), "pack": (None, 3, []), "error": (None, {}),
    **dict.fromkeys(("step", "width", "committed_steps"), (None, "1", True, 1.5, -1, 2**53, [])),
}  # fmt: skip
NOT_OURS = [
    b"", b"null", b"3", b"[]", b"{}", b'"event"', b"\xff\xfe", b"\0" * 50, b"[" * 100_000,
    b'{"event": "ended"}', b'{"time": 1}', b'{"event": "ended", "time": 1e999}',
    *(json.dumps({"event": "step", "time": 1, name: value}).encode()
      for name, values in WRONG.items() for value in values),
]  # fmt: skip
SPARSE = [
    json.dumps({"event": event, "time": 1}).encode()
    for event in ("launched", "started", "step", "halved", "finished", "failed", "", "new")
]


def test_a_log_line_that_a_crash_cut_short_spoils_no_other(out: Path, sweep: Sweep) -> None:
    with open(out / "log.jsonl", "a") as log:
        log.write('{"time": 1, "eve')
    assert read_status(Folder(out)).counts["done"] == 6
    train(sweep, out)
    lines = (out / "log.jsonl").read_text().splitlines()
    assert lines.count('{"time": 1, "eve') == 1
    assert [json.loads(line)["event"] for line in lines[-2:]] == ["launched", "ended"]
    assert read_status(Folder(out)).last_event_s is not None


def test_of_many_packs_each_tells_its_step_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def lines(n_packs: int) -> float:
        folder = Folder(tmp_path / str(n_packs))
        folder.root.mkdir()
        handle = event_log.EventLog(folder).before(lambda event: None)
        for ended in range(2 * n_packs):  # those that have ended do not count
            handle({"event": "started", "pack": f"old {ended}"})
            handle({"event": "finished", "pack": f"old {ended}"})
        for _ in range(600):
            now[0] += 1.0
            for pack in range(n_packs):
                handle({"event": "step", "pack": str(pack)})
        return sum(entry.event == "step" for entry in event_log.entries(folder))

    assert lines(2) == pytest.approx(2 * 600 / event_log.STEP_LOG_SECONDS, rel=0.2)
    assert lines(500) == pytest.approx(600 * event_log.STEP_LINES, rel=0.2)


def test_a_log_that_is_cut_anywhere_or_full_of_nonsense_is_read_as_far_as_it_goes(
    out: Path,
) -> None:
    whole = (out / "log.jsonl").read_bytes()
    draws = random.Random(0)
    for line in (*NOT_OURS, *SPARSE):
        (out / "log.jsonl").write_bytes(whole + line + b"\n" + whole)
        assert read_status(Folder(out)).counts["done"] == 6
    for _ in range(20):
        at, to = sorted(draws.sample(range(len(whole)), 2))
        (out / "log.jsonl").write_bytes(whole[:at] + draws.randbytes(8) + whole[to:])
        assert read_status(Folder(out)).counts["done"] == 6


def test_what_no_launch_writes_is_no_entry() -> None:
    assert [line for line in NOT_OURS if event_log.entry_of(line) is not None] == []
    assert None not in map(event_log.entry_of, SPARSE)
    entry = event_log.entry_of(b'{"time": 2, "event": "step", "pack": "a", "step": 3, "new": []}')
    assert entry == event_log.Entry(time=2.0, event="step", pack="a", step=3)


def test_a_line_without_end_is_read_in_pieces_and_hides_nothing_after_it(out: Path) -> None:
    log = out / "log.jsonl"
    log.write_bytes(b"x" * (3 * 2**20) + b"\n" + log.read_bytes())
    with event_log.opened(log) as file:
        assert max(map(len, event_log.lines(file))) == 2**20
    assert read_status(Folder(out)).last_event_s is not None
    assert next(event_log.entries(Folder(out))).event == "launched"


def test_a_log_without_end_is_refused(out: Path) -> None:
    os.truncate(out / "log.jsonl", 2**30)
    with event_log.opened(out / "log.jsonl"):
        pass
    os.truncate(out / "log.jsonl", 2**30 + 1)
    for read in (read_status, lambda folder: list(event_log.entries(folder))):
        with pytest.raises(InputError, match="larger than 1073741824 bytes"):
            read(Folder(out))


def test_the_log_tells_what_happened(finished: Path) -> None:
    events = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events if event["event"] != "step"]
    pack = ("compiling", "compiled", "started", "finished")
    assert kinds == ["launched", *pack, *pack, "ended"]
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)


def test_a_launch_whose_log_and_diagnostics_cannot_be_written_says_so_once_and_goes_on(
    tmp_path: Path, sweep: Sweep, finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    places = [out / name for name in ("log.jsonl", "workers.log")]

    def block(event: dict[str, Any]) -> None:
        if event["event"] == "planned":  # a launch that finds them there is refused
            for place in places:
                place.mkdir()

    with caplog.at_level(logging.WARNING):
        assert train(sweep, out, workers=1, on_event=block) == {"done": 6}
    assert [text.partition(" cannot")[0] for text in caplog.messages] == [
        str(out / "log.jsonl"),
        str(out / "workers.log"),
    ]
    assert content(out) == content(finished)
    for place in places:
        place.rmdir()
    assert read_status(Folder(out)).counts["done"] == 6


def test_a_line_for_which_a_disk_has_no_room_is_cut_and_the_next_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, write, room = Folder(tmp_path), os.write, [30]

    def full(descriptor: int, data: bytes) -> int:
        written = write(descriptor, data[: room[0]])
        if not room[0]:
            raise OSError(28, "No space left on device")
        room[0] = 0
        return written

    log = event_log.EventLog(folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for _ in range(3):
            log.write({"event": "round", "round": 1})
    log.write({"event": "ended"})
    lines = folder.log.read_bytes().splitlines()
    assert [event_log.entry_of(line) is not None for line in lines] == [False, True]
    assert len(caplog.messages) == 1
    assert "cannot be written (the disk is full)" in caplog.text


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("log.jsonl", "workers.log"):
        (tmp_path / "out" / name).symlink_to(tmp_path / "elsewhere")
    event_log.EventLog(Folder(tmp_path / "out")).write({"event": "ended"})
    with diagnostics(Folder(tmp_path / "out")) as printed:
        printed.write("said")
    assert not (tmp_path / "elsewhere").exists()
