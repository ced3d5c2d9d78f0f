"""A device without memory for a pack: told by its error, answered by fewer lanes at a time."""

from dataclasses import replace

import jax

from tfc_jax.task import Task

# How XLA and the libraries below it say it, while compiling and while running.
_SIGNS = ("resource_exhausted", "out of memory", "out_of_memory", "alloc_failed")


class OutOfMemory(Exception):
    """Not even one run of a pack fits on its device."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory is full.

    Of the host's memory (`MemoryError`) fewer lanes would need no less: all states wait there.
    """
    text = str(error).lower()
    return isinstance(error, jax.errors.JaxRuntimeError) and any(sign in text for sign in _SIGNS)


def halved(task: Task, error: BaseException) -> Task:
    """Returns the task with half the lanes at a time, ceil(W / 2); its runs stay together.

    Raises:
      error: where it says something else.
      OutOfMemory: one lane was too much.
    """
    if not is_out_of_memory(error):
        raise error
    if task.width == 1:
        raise OutOfMemory(
            f"the device has no memory for one run of this pack at a time "
            f"({str(error).splitlines()[0]}). Free its memory and run tfc retry; or make a run "
            f"smaller: batch_size, width, n_train, probe_samples, or fewer metrics and probes."
        ) from error
    return replace(task, width=(task.width + 1) // 2)
