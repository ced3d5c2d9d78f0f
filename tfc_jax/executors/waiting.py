"""Which of the tasks that wait a worker takes next."""

from collections import deque
from collections.abc import Iterable

from tfc_jax.task import Task


class Waiting:
    """Tasks that no worker has, in the order in which they came.

    A worker goes on with the program that it has compiled, then takes the first task of a program
    that nobody took yet, then the first task of all. Two workers that begin a program together both
    compile it; one that comes to it later finds it in the compilation cache.

    To give away a task takes the same time however many wait: a task is always the first of its
    program, so that whatever else is in order only needs its front looked at.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._all = deque(tasks)  # those at its front may be gone
        self._of_program: dict[str, deque[Task]] = {}
        for task in self._all:
            self._of_program.setdefault(task.program, deque()).append(task)
        self._new = deque(self._of_program)  # programs; those at its front may be taken
        self._taken: set[str] = set()

    def __bool__(self) -> bool:
        return self._first() is not None

    def next(self, program: str) -> Task | None:
        """Returns what a worker takes next, still waiting; None if nothing waits.

        Args:
          program: that the worker has compiled, "" if none.
        """
        own = self._of_program.get(program)
        return own[0] if own else self._first_new() or self._first()

    def take(self, program: str) -> Task | None:
        """Returns what a worker takes next, as `next` does; it waits no more."""
        task = self.next(program)
        if task is not None:
            self.reserve(task.program)
            self._of_program[task.program].popleft()
        return task

    def following(self, program: str) -> Task | None:
        """Returns what a worker takes after the last task of a program; None before that."""
        return None if self._of_program.get(program) else self.next(program)

    def reserve(self, program: str) -> None:
        """Others begin this program only when there is no other to begin."""
        self._taken.add(program)

    def drop(self, program: str) -> list[Task]:
        """Returns all that wait of a program which somebody has begun; they wait no more."""
        dropped = list(self._of_program[program])
        self._of_program[program].clear()
        return dropped

    def _first_new(self) -> Task | None:
        """Nothing of a program that nobody took is gone."""
        while self._new and self._new[0] in self._taken:
            self._new.popleft()
        return self._of_program[self._new[0]][0] if self._new else None

    def _first(self) -> Task | None:
        while self._all and self._is_gone(self._all[0]):
            self._all.popleft()
        return self._all[0] if self._all else None

    def _is_gone(self, task: Task) -> bool:
        """Tells whether the first of those that are left in order was given away."""
        waiting = self._of_program[task.program]
        return not waiting or waiting[0] is not task
