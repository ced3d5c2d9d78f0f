"""The terminal as rich sees it: nothing that files say reaches it but as plain text."""

import io
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from tfc_jax.escapes import visible_lines


class Terminal(Console):
    """A console that shows control characters of any text as visible escapes.

    Only what rich itself writes moves the cursor or changes colours. Everything that this project
    shows through rich goes through here (a test sees to it).
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yields what is shown, piece by piece."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(visible_lines(text), style)

    def on_broken_pipe(self) -> None:
        """Its reader has left; rich would end with the exit code of failed runs."""
        raise BrokenPipeError


def lasting_terminal() -> Terminal:
    """Returns a terminal on standard error for what goes on when nobody watches it any more."""
    return Terminal(file=cast(TextIO, Forgiving(sys.stderr)))


class Forgiving(io.TextIOBase):
    """A stream that may be closed from the other side, as a terminal or a pipe, at any time.

    What cannot be written is dropped: a launch goes on when nobody watches it any more.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes what can be written."""
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Writes what is left, if it can be."""
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor, from which the size of a terminal is asked."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream: not every one can show all characters."""
        return getattr(self._stream, "encoding", "utf-8")
