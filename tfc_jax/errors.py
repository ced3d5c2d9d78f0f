"""Errors that reach the user as sentences."""

import difflib
from collections.abc import Iterable, Sequence


class InputError(Exception):
    """The user's input is wrong; nothing was started.

    Each message is one or two sentences: where, what came, what is allowed, what to do.
    All errors that can be found together are raised together.
    """

    def __init__(self, messages: Sequence[str] | str) -> None:
        self.messages = (messages,) if isinstance(messages, str) else tuple(messages)
        super().__init__("\n".join(self.messages))


class StorageError(Exception):
    """The disk failed in the middle of a launch; what is committed stays, and is found again."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the closest allowed name, or an empty string."""
    match = difflib.get_close_matches(str(name), list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{match[0]}'?" if match else ""
