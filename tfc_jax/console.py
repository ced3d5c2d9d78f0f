"""How commands speak and end: exit codes, messages, tables, Ctrl-C.

All that a user reads goes through here or through `terminal.Terminal`: texts of files are shown as
text, their control characters as visible escapes.
"""

import functools
import itertools
import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperGroup

from tfc_jax import signals
from tfc_jax.errors import InputError, StorageError
from tfc_jax.escapes import visible, visible_lines
from tfc_jax.objects.place import told
from tfc_jax.process import drop_output
from tfc_jax.signals import INTERRUPTED

if TYPE_CHECKING:
    from tfc_jax.executors.local import Interrupt

SOME_FAILED, BAD_INPUT = 1, 2
NOBODY_READS = 141  # as of any command whose reader left, such as `head`
PIPED_WIDTH = 200
LONGEST_FRAMED = 5000  # rows up to which a table is held and fitted into the terminal
LONGEST_CELL = 1000
_UsageError: Any = typer.BadParameter.__base__  # typer brings click, under a name of its own


def echo(text: str, *, err: bool = False) -> None:
    """Prints lines; their control characters become visible escapes."""
    typer.echo(visible_lines(told(text)), err=err)


def echo_json(text: str) -> None:
    """Prints JSON that is ASCII, as `json.dumps` writes it; DEL is all that it does not escape."""
    typer.echo(told(text).replace("\x7f", "\\u007f"))


def echo_records(pieces: Iterable[str]) -> None:
    """Prints one JSON array of the elements of several, of which each is printed as it is made."""
    before = "["
    for piece in pieces:
        inner = piece.strip()[1:-1]
        if inner:
            typer.echo(before + inner.replace("\x7f", "\\u007f"), nl=False)
            before = ","
    typer.echo("[]" if before == "[" else "]")


class Commands(TyperGroup):
    """Commands whose complaints quote arguments, which may be names of files, without escapes."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _plain_complaints():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _plain_complaints():
            return super().invoke(ctx)


@contextmanager
def _plain_complaints() -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        error.message = visible(error.message)
        raise


def tell_warnings() -> None:
    """Makes what libraries and modules log or warn of readable, on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Visible("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(True)


class _Visible(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return visible_lines(told(super().format(record)))


def reports_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Bad input ends with sentences and exit code 2; a failing disk with 1; Ctrl-C with 130."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except InputError as error:
            for message in error.messages:
                echo(visible(message), err=True)
            raise typer.Exit(BAD_INPUT) from None
        except StorageError as error:
            echo(visible(str(error)), err=True)
            raise typer.Exit(SOME_FAILED) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            drop_output()
            raise typer.Exit(NOBODY_READS) from None
        except OSError as error:
            drop_output()
            echo(visible(f"{error.filename or 'output'}: {error.strerror or error}."), err=True)
            raise typer.Exit(BAD_INPUT) from None

    return wrapped


def tell(line: str, *, err: bool = False) -> None:
    """Prints a line that is good to know; that nobody can read it changes nothing."""
    try:
        echo(line, err=err)
    except OSError:
        if not err:
            drop_output()


@contextmanager
def interruptible() -> "Iterator[Interrupt]":
    """A signal once ends after the running chunk; twice, now.

    Closing a terminal sends several, so SIGHUP never counts as the second.
    """
    from tfc_jax.executors.local import Interrupt

    interrupt = Interrupt()

    def raise_level(number: int, _: object) -> None:
        if number == signal.SIGHUP and interrupt.level:
            return
        interrupt.level += 1
        word = "after the running chunk (again: now)" if interrupt.level == 1 else "now"
        signals.say(f"Stopping {word}. `tfc run` goes on from here.")
        if interrupt.level > (2 if interrupt.attended else 1):
            os._exit(INTERRUPTED)

    with signals.handled(raise_level):
        yield interrupt


def refuse(message: str) -> NoReturn:
    """Ends the command with exit code 2."""
    raise InputError(message)


Rows = Iterable[Iterable[object]]


def print_table(headings: Iterable[object], rows: Rows) -> None:
    """Prints rows in columns; cells are text, never markup."""
    from rich.table import Table
    from rich.text import Text

    from tfc_jax.terminal import Terminal

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        is_name = heading == "run_id"  # to be copied: never in two pieces
        table.add_column(Text(_cell(heading)), overflow="fold", no_wrap=is_name)
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Terminal(highlight=False)
    if not console.is_terminal:
        console = Terminal(highlight=False, width=PIPED_WIDTH)
    console.print(table)


def print_long_table(headings: Iterable[object], rows: Callable[[], Rows], n_rows: int) -> None:
    """Prints what `print_table` does, of many rows without holding them: a line each, however wide.

    Args:
      rows: makes them, twice where they are many: for the widths of the columns, and to print.
    """
    if n_rows <= LONGEST_FRAMED:
        print_table(headings, rows())
        return
    names = list(map(_cell, headings))
    widths = list(map(len, names))
    for row in rows():
        widths = [max(width, len(_cell(v))) for width, v in zip(widths, row, strict=True)]
    for line in itertools.chain([names], rows()):
        cells = (_cell(v).ljust(width) for v, width in zip(line, widths, strict=True))
        echo("  ".join(cells).rstrip())


def _cell(value: object) -> str:
    """Returns a value as text; numbers with six digits, whatever their precision."""
    if isinstance(value, Real) and not isinstance(value, Integral):
        return f"{float(value):.6g}"
    text = str(value)
    if len(text) > LONGEST_CELL:
        text = f"{text[:LONGEST_CELL]}... ({len(text):,} characters)"
    return visible(text)
