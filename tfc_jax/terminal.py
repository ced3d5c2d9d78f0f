"""The terminal as rich sees it: nothing that files say reaches it but as plain text."""

from collections.abc import Iterable

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
