"""Which pack a worker takes next, and which program it is told to compile before."""

import io
from collections import deque
from collections.abc import Container
from types import SimpleNamespace
from typing import Any

import pytest

from tfc_jax.devices import Devices
from tfc_jax.executors.local import Interrupt, _Pool, _Worker, following_task, next_task
from tfc_jax.keys import Run
from tfc_jax.record import Record
from tfc_jax.task import Task


def task(pack: str, program: str) -> Task:
    return Task(
        out="",
        pack=pack,
        program=program,
        runs=(Run(steps=1),),
        width=1,
        schedule="mapped",
        record=Record(),
        steps=1,
    )


TASKS = [task("1", "a"), task("2", "a"), task("3", "b"), task("4", "c")]


@pytest.mark.parametrize(
    ("program", "taken", "pack"),
    [
        ("", set(), "1"),  # the first of all
        ("", {"a"}, "3"),  # another worker compiles a
        ("a", {"a", "b"}, "1"),  # its own program goes on
        ("b", {"a", "b"}, "3"),
        ("d", {"a", "b", "d"}, "4"),  # its own is done: a new one
        ("d", {"a", "b", "c", "d"}, "1"),  # all are taken: help with the first
    ],
)
def test_a_worker_goes_on_with_what_it_compiled_or_begins_what_nobody_has(
    program: str, taken: Container[str], pack: str
) -> None:
    assert next_task(TASKS, program, taken).pack == pack


@pytest.mark.parametrize(
    ("program", "taken", "pack"),
    [
        ("a", {"a"}, None),  # more of its own program
        ("d", {"a", "b", "d"}, "4"),  # what nobody has
        ("d", {"a", "b", "c", "d"}, "1"),  # all are taken: it will help
    ],
)
def test_a_worker_prepares_what_it_will_take_after_its_own_program(
    program: str, taken: Container[str], pack: str | None
) -> None:
    following = following_task(TASKS, program, taken)
    assert (following and following.pack) == pack


def test_nothing_follows_the_last_pack() -> None:
    assert following_task([], "a", {"a"}) is None


def lines_of_a_worker(platform: str) -> list[str]:
    """What a worker is told that trains 2 packs of program a, then goes on."""
    settings: Any = SimpleNamespace(devices=Devices(platform, (0,)))
    pool = _Pool(deque([*TASKS[:2], *TASKS[:1:-1]]), settings, lambda event: None, Interrupt())
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
