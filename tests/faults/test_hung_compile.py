"""A worker that hangs before it trains is ended, its program named, and the rest goes on."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.executors.tasks import task
from tests.faults.launches import ended, finish, judge, own_cache, printed, run
from tests.faults.tally import Tally, Tries
from tests.sweeps import CPU, make_sweep, train
from tfc_jax import worker
from tfc_jax.engine import PackEngine
from tfc_jax.executors import local
from tfc_jax.executors.local import Interrupt, Settings, _Pool, _Worker
from tfc_jax.executors.waiting import Waiting
from tfc_jax.results import open_results
from tfc_jax.task import Task

Events = list[dict[str, Any]]
DEPTHS: dict[str, Any] = {"grid": {"depth": [3, 2], "seed": [0, 1, 2]}}
LIMIT = 0.08  # minutes; what does not hang takes a second


def hang(*_: object) -> None:
    time.sleep(600)


def hang_when_compiling() -> None:
    """In this process and its workers XLA never comes back from programs of depth 3."""
    compile = PackEngine.compile
    PackEngine.compile = (  # type: ignore[method-assign]
        lambda self: (hang if self.runs[0].depth == 3 else compile)(self)
    )


def hang_when_starting() -> None:
    """In this process and its workers the data of depth 3 never come."""
    prepare = worker.prepare

    def hang_or_prepare(task: Task) -> tuple[PackEngine, dict[str, Any]]:
        if task.runs[0].depth == 3:
            hang()
        return prepare(task)

    worker.prepare = hang_or_prepare


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["compiling", "starting"])
def test_a_hung_compile(tmp_path: Path, tries: Tries, tally: Tally, kind: str) -> None:
    sweep = make_sweep(tmp_path, **DEPTHS)
    train(sweep, tmp_path / "whole")
    before = {"compiling": hang_when_compiling, "starting": hang_when_starting}[kind]
    program = rf"pack \w+ .*FAILED: program \w+ \(digits mlp, depth 3\) was still {kind} after 0.08"
    with own_cache():
        assert ended(run(sweep.path, tmp_path / "compiled", "--workers", 1)) == 0
        for index in range(tries(1, 10)):
            out = tmp_path / str(index)
            flags = ("--workers", 1, "--compile-minutes", LIMIT)
            code, said = ended(run(sweep.path, out, *flags, before=before)), printed(out)
            tally.wrong += code != 1 or "3 done, 3 failed" not in said
            tally.wrong += len(re.findall(program, said)) != 1 or "--compile-minutes`" not in said
            tally.wrong += set(open_results(out).runs.query("status == 'failed'")["depth"]) != {3}
            tally.wrong += not finish(sweep, out, retry=True)
            judge(tally, out, tmp_path / "whole", text=said)
    assert not tally.bad


class Worker:
    """A process that is never there."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.killed = False
        self.stdin = self

    def write(self, line: str) -> None:
        self.sent.append(line)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def kill(self) -> None:
        self.killed = True

    def wait(self) -> int:
        return -9


def pool_of(
    tasks: list[Task], monkeypatch: pytest.MonkeyPatch, limit: float | None = 60.0
) -> tuple[_Pool, list[Worker], Events]:
    """A pool whose clock is moved by hand, of workers that are never there."""
    started, events, nothing = list[Worker](), Events(), Any
    monkeypatch.setattr(local, "mark_failed", lambda task: None)
    settings = Settings(CPU, 1, {}, nothing, compile_seconds=limit)  # type: ignore[arg-type]
    pool = _Pool(Waiting(tasks), settings, events.append, Interrupt())

    def start(environment: dict[str, str]) -> None:
        started.append(Worker())
        pool.workers.append(_Worker(started[-1], environment))  # type: ignore[arg-type]
        pool._give_task(pool.workers[-1])

    monkeypatch.setattr(pool, "start", start)
    pool.start({})
    return pool, started, events


def wait(pool: _Pool, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool looks at its workers again and again for so long."""
    now = pool.watched
    for moment in range(int(seconds * 10)):
        monkeypatch.setattr(time, "monotonic", lambda at=now + moment / 10: at)
        pool._watch()


def test_a_worker_that_trains_is_never_ended_however_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, (process,), _ = pool_of([task("1", "a"), task("2", "a")], monkeypatch)
    for _ in range(2):  # also with its second pack
        for event in ("compiling", "compiled", "started"):
            wait(pool, 50, monkeypatch)
            pool._handle(pool.workers[0], {"event": event, "pack": "1"})
        wait(pool, 1000, monkeypatch)
        pool._handle(pool.workers[0], {"event": "finished", "pack": "1"})
    assert not process.killed


@pytest.mark.parametrize("limit", [60.0, None])
def test_a_worker_that_never_says_anything_is_ended_if_there_is_a_limit(
    monkeypatch: pytest.MonkeyPatch, limit: float | None
) -> None:
    pool, (process,), _ = pool_of([task("1", "a")], monkeypatch, limit)
    wait(pool, 59, monkeypatch)
    assert not process.killed
    wait(pool, 2, monkeypatch)
    assert process.killed == (limit is not None)


def test_a_launcher_that_was_stopped_for_hours_takes_no_worker_for_hung(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, (process,), _ = pool_of([task("1", "a")], monkeypatch)
    monkeypatch.setattr(time, "monotonic", lambda at=pool.watched + 10_000: at)
    pool._watch()
    assert not process.killed


def test_what_a_worker_has_said_is_read_before_it_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, (process,), _ = pool_of([task("1", "a")], monkeypatch)
    pool.events.put((pool.workers[0], {"event": "compiled", "pack": "1"}))
    wait(pool, 100, monkeypatch)
    assert not process.killed


def test_a_program_that_hangs_twice_is_tried_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [task(str(index), "a") for index in range(5)] + [task("5", "b"), task("6", "b")]
    pool, started, events = pool_of(tasks, monkeypatch)
    for pack in ("0", "5", "1"):
        assert Task.from_json(started[-1].sent[-1]).pack == pack
        if pack == "5":
            pool._handle(pool.workers[0], {"event": "compiled", "pack": pack})
            pool._handle(pool.workers[0], None)  # it dies, so that its successor begins with a
        else:
            wait(pool, 61, monkeypatch)
            pool._handle(pool.workers[0], None)
    events = [event for event in events if event["event"] == "failed" and event["pack"] != "5"]
    failed = [(event["pack"], event["error"][:9]) for event in events]
    assert failed == [("0", "program a"), ("1", "program a")] + [
        (pack, "not tried") for pack in ("2", "3", "4")
    ]
    assert Task.from_json(started[-1].sent[-1]).pack == "6"


def test_a_program_that_compiles_after_a_hang_has_all_its_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, _, events = pool_of([task(str(index), "a") for index in range(5)], monkeypatch)
    for pack in range(2):
        wait(pool, 61, monkeypatch)
        pool._handle(pool.workers[0], None)
        pool._handle(pool.workers[0], {"event": "compiled", "pack": str(pack)})
        pool._handle(pool.workers[0], {"event": "finished", "pack": str(pack)})
    assert [event["pack"] for event in events if event["event"] == "failed"] == ["0", "2"]


def test_a_worker_that_compiles_is_not_waited_for_when_asked_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, (process,), events = pool_of([task("1", "a")], monkeypatch)
    pool.interrupt.level = 1
    pool._ask_to_stop()
    pool._handle(pool.workers[0], None)
    assert process.killed
    assert not events


def test_a_worker_says_when_it_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    compile = PackEngine.compile

    def compile_aloud(engine: PackEngine) -> None:
        said.append("compile")
        compile(engine)

    monkeypatch.setattr(PackEngine, "compile", compile_aloud)
    sweep = make_sweep(tmp_path)
    train(sweep, tmp_path / "out", on_event=lambda event: said.append(event["event"]))
    assert said[:5] == ["planned", "compiling", "compile", "compiled", "started"]


def test_a_limit_that_nobody_would_keep_is_refused(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from tfc_jax.cli import app

    make_sweep(tmp_path)
    flags = ["--workers", "0", "--compile-minutes", "5"]
    answer = CliRunner().invoke(app, ["run", str(tmp_path / "small.yaml"), *flags])
    assert answer.exit_code == 2
    assert "no effect with --workers 0" in answer.stderr
