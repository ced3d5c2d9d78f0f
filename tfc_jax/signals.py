"""What the signals that end a process mean to `tfc`, from its first line to its last.

SIGINT is Ctrl-C; SIGTERM comes from schedulers, service managers and `kill`; SIGHUP when a terminal
is closed. Nothing else is imported here, so that they are handled before anything slow is.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

INTERRUPTED = 130
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, Any], Any]


def say(line: str) -> None:
    """Writes to standard error, also in the middle of another write; a terminal may be gone."""
    with suppress(OSError):
        os.write(2, f"\n{line}\n".encode())


def end_now(*_: object) -> None:
    """Ends the process on the spot. What it stores is whole at any moment, as at a power cut."""
    say("Stopped.")
    os._exit(INTERRUPTED)


def handle(handler: Handler | signal.Handlers) -> dict[int, Any]:
    """Sets what the signals do; returns what they did.

    A SIGHUP that is ignored stays so: that is what `nohup` asks for.
    """
    kept = [s for s in ENDING if s != signal.SIGHUP or signal.getsignal(s) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in kept}


@contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """The signals do this meanwhile."""
    before = handle(handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def raised() -> Iterator[None]:
    """The signals raise KeyboardInterrupt meanwhile, for what has to be put back in order."""
    with handled(signal.default_int_handler):
        yield


@contextmanager
def kept_from_children() -> Iterator[None]:
    """Processes started meanwhile get none of the signals, from their first moment on.

    A scheduler sends them to every process of a job; only the one that started the others can tell
    what is to become of them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
