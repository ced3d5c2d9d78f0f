"""Which pack a worker takes next, of how many ever wait."""

import random
from collections.abc import Container, Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.executors.tasks import task
from tfc_jax.executors.waiting import Waiting
from tfc_jax.task import Task

TASKS = [task("1", "a"), task("2", "a"), task("3", "b"), task("4", "c")]


def waiting(tasks: Iterable[Task], taken: Iterable[str]) -> Waiting:
    found = Waiting(tasks)
    for program in taken:
        found.reserve(program)
    return found


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
    program: str, taken: set[str], pack: str
) -> None:
    tasks = waiting(TASKS, taken)
    first = tasks.next(program)
    assert first is not None
    assert first.pack == pack
    assert tasks.take(program) is first


@pytest.mark.parametrize(
    ("program", "taken", "pack"),
    [
        ("a", {"a"}, None),  # more of its own program
        ("d", {"a", "b", "d"}, "4"),  # what nobody has
        ("d", {"a", "b", "c", "d"}, "1"),  # all are taken: it will help
    ],
)
def test_a_worker_prepares_what_it_will_take_after_its_own_program(
    program: str, taken: set[str], pack: str | None
) -> None:
    following = waiting(TASKS, taken).following(program)
    assert (following and following.pack) == pack


def test_nothing_follows_the_last_pack() -> None:
    assert waiting([], {"a"}).following("a") is None
    one = waiting(TASKS[:1], ())
    assert one
    assert one.take("") is TASKS[0]
    assert not one
    assert one.take("a") is one.following("a") is None


def first_by_search(tasks: list[Task], program: str, taken: Container[str]) -> Task | None:
    """The same choice by a search among all that wait."""
    own = [task for task in tasks if task.program == program]
    new = [task for task in tasks if task.program not in taken]
    return next(iter(own or new or tasks), None)


@pytest.mark.parametrize("seed", range(20))
def test_the_order_is_that_of_a_search_among_all_that_wait(seed: int) -> None:
    draws = random.Random(seed)
    names = "abcdefg"[: draws.randint(1, 7)]
    left = [task(str(i), draws.choice(names)) for i in range(30)]
    tasks, taken = Waiting(left), set[str]()
    while left:
        program = draws.choice(["", *names])
        if draws.random() < 0.2:
            tasks.reserve(program)
            taken.add(program)
        expected = first_by_search(left, program, taken)
        assert expected is not None
        own = any(task.program == program for task in left)
        assert tasks.following(program) is (None if own else expected)
        assert tasks
        assert tasks.take(program) is expected
        left.remove(expected)
        taken.add(expected.program)
    assert not tasks


def looks(n_tasks: int, n_programs: int) -> int:
    """How often two workers that take all tasks ask for the program of one."""
    count = [0]

    class Looked(SimpleNamespace):
        @property
        def program(self) -> str:
            count[0] += 1
            return str(self.index % n_programs)

    made: Any = [Looked(index=i) for i in range(n_tasks)]
    tasks, programs = Waiting(made), ["", ""]
    for turn in range(n_tasks):
        taken = tasks.take(programs[turn % 2])
        assert taken is not None
        programs[turn % 2] = taken.program
        tasks.following(taken.program)
    assert not tasks
    return count[0]


@pytest.mark.parametrize("share", [1, 2, 500])
def test_a_task_is_given_away_in_the_same_time_however_many_wait(share: int) -> None:
    few, many = (looks(n, n // share or 1) / n for n in (1000, 4000))
    assert many == pytest.approx(few, rel=0.01)  # but for the ends
