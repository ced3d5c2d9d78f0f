"""The process of the `tfc` command: its streams and signals, from the first to the last line."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tfc_jax import signals

# Objects that are made before those in cycles are looked for. Of a million runs hardly one is in a
# cycle, and the search takes a fifth of the time of a plan with Python's own 700.
CYCLES_AFTER = 100_000


@contextmanager
def of_a_command() -> Iterator[None]:
    """Surrounds all that `tfc` does."""
    signals.handle(signals.end_now)
    gc.set_threshold(CYCLES_AFTER)
    open_missing_streams()
    try:
        yield
    finally:
        signals.handle(signal.SIG_IGN)  # how it ends is decided
        _flush()


def open_missing_streams() -> None:
    """Started with a standard stream closed, the next file that is opened would be taken for it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one


def drop_output() -> None:
    """What is left to write goes nowhere, instead of failing once more when Python ends."""
    with open(os.devnull, "w") as nowhere, suppress(AttributeError, ValueError, OSError):
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _flush() -> None:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        drop_output()
