"""Trains packs in the calling process: for tests and debuggers (`--workers 0`)."""

from collections.abc import Callable, Sequence
from typing import Any

from tfc_jax.executors.local import Interrupt
from tfc_jax.task import Task


def execute(
    tasks: Sequence[Task], on_event: Callable[[dict[str, Any]], None], interrupt: Interrupt
) -> None:
    """Trains one task after another.

    For bit-exact numbers JAX must have started here in a worker's environment
    (options.prepare_process).
    """
    from tfc_jax.worker import serve  # starts JAX

    for task in tasks:
        if interrupt.level:
            return
        serve(task, on_event, lambda: interrupt.level > 0)
