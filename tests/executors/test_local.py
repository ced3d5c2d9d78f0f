"""Which pack a worker takes next."""

from collections.abc import Container

import pytest

from tfc_jax.executors.local import next_task
from tfc_jax.record import Record
from tfc_jax.task import Task


def task(pack: str, program: str) -> Task:
    return Task(
        out="",
        pack=pack,
        program=program,
        runs=(),
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
