"""Errors that reach the user as sentences."""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

LONGEST = 2000  # characters of a message; beyond, its middle is left out
LONGEST_QUOTE = 40

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class InputError(Exception):
    """The user's input is wrong; nothing was started.

    Each message is one or two sentences: where, what came, what is allowed, what to do.
    All errors that can be found together are raised together. A message is one line of printable
    characters, whatever the input that it quotes.
    """

    def __init__(self, messages: Sequence[str] | str) -> None:
        self.messages = tuple(map(_line, [messages] if isinstance(messages, str) else messages))
        super().__init__("\n".join(self.messages))


class StorageError(Exception):
    """The disk failed in the middle of a launch; what is committed stays, and is found again."""


def together(make: Callable[[_Item], _Made], items: Iterable[_Item]) -> list[_Made]:
    """Returns what `make` returns for each item.

    Raises:
      InputError: what is wrong with all of them.
    """
    made: list[_Made] = []
    errors: list[str] = []
    for item in items:
        try:
            made.append(make(item))
        except InputError as error:
            errors += error.messages
    if errors:
        raise InputError(errors)
    return made


def quoted(text: str) -> str:
    """Returns text as messages quote it: in quotation marks, short, printable."""
    return repr(text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 3] + "...")


def without_secrets(url: str) -> str:
    """What comes after a ? or a # may be a key, and so may anything where there is an @."""
    if "@" in url:
        return "a URL with an @, not shown since it may hold a key"
    return quoted(re.split("[?#]", url, maxsplit=1)[0])


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the closest allowed name, or an empty string."""
    match = difflib.get_close_matches(str(name), list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{match[0]}'?" if match else ""


def _line(message: str) -> str:
    if len(message) > LONGEST:
        message = f"{message[: LONGEST // 2]} ... {message[-LONGEST // 4 :]}"
    return message if message.isprintable() else "".join(map(_printable, message))


def _printable(character: str) -> str:
    """Shows as an escape what would move a cursor, break the line, or hide."""
    return character if character.isprintable() else ascii(character)[1:-1]
