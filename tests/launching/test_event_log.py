"""log.jsonl says what happened, also after a crash."""

import json
from pathlib import Path

from tests.sweeps import train
from tfc_jax.config import Sweep
from tfc_jax.layout import Folder
from tfc_jax.status import read_status


def test_a_log_line_that_a_crash_cut_short_spoils_no_other(out: Path, sweep: Sweep) -> None:
    with open(out / "log.jsonl", "a") as log:
        log.write('{"time": 1, "eve')
    assert read_status(Folder(out)).counts["done"] == 6
    train(sweep, out)
    lines = (out / "log.jsonl").read_text().splitlines()
    assert lines.count('{"time": 1, "eve') == 1
    assert [json.loads(line)["event"] for line in lines[-2:]] == ["launched", "ended"]
    assert read_status(Folder(out)).last_event_s is not None


def test_the_log_tells_what_happened(finished: Path) -> None:
    events = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events if event["event"] != "step"]
    assert kinds == ["launched", "started", "finished", "started", "finished", "ended"]
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)
