"""What a worker is told, the pack it takes and the program it compiles before; what it says."""

import io
from types import SimpleNamespace
from typing import Any

from tests.executors.tasks import task
from tfc_jax.devices import Devices
from tfc_jax.executors.local import Interrupt, _Pool, _Worker
from tfc_jax.executors.waiting import Waiting
from tfc_jax.task import Task


def lines_of_a_worker(platform: str) -> list[str]:
    """What a worker is told that trains 2 packs of program a, then goes on."""
    settings: Any = SimpleNamespace(devices=Devices(platform, (0,)))
    tasks = [task("1", "a"), task("2", "a"), task("4", "c"), task("3", "b")]
    pool = _Pool(Waiting(tasks), settings, lambda event: None, Interrupt())
    process: Any = SimpleNamespace(stdin=io.StringIO())
    worker = _Worker(process, {})
    pool._give_task(worker)
    for event in ("step", "finished", "step", "step", "finished"):
        pool._handle(worker, {"event": event})
    return [line.split("{")[0] + program_of(line) for line in process.stdin.getvalue().split("\n")]


def program_of(line: str) -> str:
    return Task.from_json("{" + line.partition("{")[2]).program if line else ""


def test_an_accelerators_worker_is_told_once_what_it_then_gets() -> None:
    assert lines_of_a_worker("gpu") == ["a", "a", "prepare c", "c", ""]


def test_a_worker_that_has_one_core_compiles_nothing_ahead() -> None:
    assert lines_of_a_worker("cpu") == ["a", "a", "c", ""]


def listen(lines: str) -> list[dict[str, Any] | None]:
    """What the pool hears from a worker that says `lines` and ends."""
    nothing: Any = None
    pool: Any = _Pool(nothing, nothing, nothing, nothing)
    pool._listen(SimpleNamespace(process=SimpleNamespace(stdout=io.StringIO(lines))))
    return [pool.events.get_nowait()[1] for _ in range(pool.events.qsize())]


def test_a_worker_killed_in_the_middle_of_a_line_is_noticed() -> None:
    assert listen('{"event": "step"}\n{"event": "fini') == [{"event": "step"}, None]
