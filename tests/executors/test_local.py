"""What a worker is told, the pack it takes and the program it compiles before; what it says."""

import io
import subprocess
import sys
from collections import Counter
from tempfile import TemporaryFile
from types import SimpleNamespace
from typing import Any

import pytest

from tests.executors.tasks import task
from tfc_jax.devices import Devices
from tfc_jax.executors import local
from tfc_jax.executors.local import Interrupt, Settings, _Pool, _Worker
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


# A worker without JAX: it says on which GPU it is, and dies of packs that are named so.
WORKER = """
import json, os, sys
for line in sys.stdin:
    task = json.loads(line.removeprefix("prepare "))
    if line.startswith("{"):
        gpu = os.environ["CUDA_VISIBLE_DEVICES"]
        print(json.dumps({"event": "started", "pack": task["pack"], "gpu": gpu}), flush=True)
        if task["pack"].startswith("dies"):
            os._exit(9)
        print(json.dumps({"event": "finished", "pack": task["pack"]}), flush=True)
"""


@pytest.fixture
def without_jax(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Starts WORKER in place of workers; returns the devices on which any were started."""
    start, places = subprocess.Popen, list[str]()

    def popen(command: list[str], **options: Any) -> Any:
        places.append(options["env"]["CUDA_VISIBLE_DEVICES"])
        return start([sys.executable, "-S", "-c", WORKER], **options)

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(local, "mark_failed", lambda task: None)
    return places


def execute(packs: list[str], gpus: tuple[int | str, ...], n_workers: int) -> list[dict[str, Any]]:
    """Returns what was told of packs, each of a program of its own."""
    told: list[dict[str, Any]] = []
    with TemporaryFile("w") as diagnostics:
        settings = Settings(Devices("gpu", gpus), n_workers, {}, diagnostics)
        local.execute([task(p, p) for p in packs], settings, told.append, Interrupt())
    return told


@pytest.mark.parametrize(
    ("gpus", "n_workers", "used"),
    [
        ((0, 1, 2), 3, ["0", "1", "2"]),
        ((3, 1), 1, ["3"]),  # fewer workers than devices
        (("GPU-a", "MIG-b"), 2, ["GPU-a", "MIG-b"]),
    ],
)
def test_every_gpu_has_one_worker_which_sees_no_other(
    without_jax: list[str], gpus: tuple[int | str, ...], n_workers: int, used: list[str]
) -> None:
    told = execute(list("abcdef"), gpus, n_workers)
    assert without_jax == used
    assert {event["gpu"] for event in told if event["event"] == "started"} <= set(used)
    assert sorted(e["pack"] for e in told if e["event"] == "finished") == list("abcdef")


def test_there_are_no_more_workers_than_packs(without_jax: list[str]) -> None:
    execute(["a", "b"], (0, 1, 2), 3)
    assert without_jax == ["0", "1"]


def test_for_a_worker_that_dies_another_begins_on_the_same_gpu(without_jax: list[str]) -> None:
    told = execute(["dies 1", "dies 2", "dies 3", *"abcd"], (4, "MIG-b"), 2)
    failed = [event["pack"] for event in told if event["event"] == "failed"]
    assert sorted(failed) == ["dies 1", "dies 2", "dies 3"]
    assert sorted(e["pack"] for e in told if e["event"] == "finished") == list("abcd")
    place = {event["pack"]: event["gpu"] for event in told if event["event"] == "started"}
    deaths = Counter(place[pack] for pack in failed)
    for gpu, begun in Counter(without_jax).items():  # after the last pack none is needed
        assert deaths[gpu] <= begun <= 1 + deaths[gpu]
    assert len(without_jax) > 2
