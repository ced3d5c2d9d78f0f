"""How commands speak and end: exit codes, messages, tables, Ctrl-C."""

import functools
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from tfc_jax.errors import InputError, StorageError

if TYPE_CHECKING:
    from tfc_jax.executors.local import Interrupt

SOME_FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
PIPED_WIDTH = 200


def reports_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Bad input ends with sentences and exit code 2; a failing disk with 1; Ctrl-C with 130."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except InputError as error:
            for message in error.messages:
                typer.echo(message, err=True)
            raise typer.Exit(BAD_INPUT) from None
        except StorageError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(SOME_FAILED) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    return wrapped


@contextmanager
def interruptible() -> "Iterator[Interrupt]":
    """Ctrl-C or SIGTERM once ends after the running chunk; twice, now."""
    from tfc_jax.executors.local import Interrupt

    interrupt = Interrupt()

    def raise_level(*_: object) -> None:
        interrupt.level += 1
        word = "after the running chunk (again: now)" if interrupt.level == 1 else "now"
        sys.stderr.write(f"\nStopping {word}. `tfc run` goes on from here.\n")

    before = {s: signal.signal(s, raise_level) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def refuse(message: str) -> NoReturn:
    """Ends the command with exit code 2."""
    raise InputError(message)


def print_table(headings: Iterable[object], rows: Iterable[Iterable[object]]) -> None:
    """Prints rows in columns; cells are text, never markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(str(heading), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED_WIDTH)
    console.print(table)


def _cell(value: object) -> str:
    """Returns a value as text; numbers with six digits, whatever their precision."""
    if isinstance(value, Real) and not isinstance(value, Integral):
        return f"{float(value):.6g}"
    return str(value)
