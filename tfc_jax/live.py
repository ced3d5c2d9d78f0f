"""The status of a sweep on a terminal, refreshed: `tfc status --watch`."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tfc_jax import signals
from tfc_jax.errors import InputError
from tfc_jax.escapes import visible
from tfc_jax.layout import Folder
from tfc_jax.progress import PLAIN_SECONDS
from tfc_jax.status import PackState, Reader, Status
from tfc_jax.trends import SIMILARITY, Curve
from tfc_jax.wording import counted

WATCH_SECONDS = 2.0
LEVELS, ASCII_LEVELS = "▁▂▃▄▅▆▇█", "_.-:=+*#"
COLORS = {"done": "green", "diverged": "magenta", "running": "cyan", "failed": "red", "pending": ""}
STATE_COLORS = {"training": "cyan", "failed": "red", "done": "green", "interrupted": "yellow"}
NAMES = {"loss": "loss", SIMILARITY: "similarity"}
# Of files that are not whole: JSON and Parquet cut short, columns or keys not there yet.
TORN = (OSError, ValueError, KeyError, pa.ArrowException)
BESIDE_PACKS = 16  # lines of a view that are no packs


def sparkline(values: Sequence[float], levels: str = LEVELS) -> str:
    """One character per value, from the lowest level at the minimum to the highest at the maximum.

    NaN is a space; values that are all equal lie in the middle.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return " " * len(values)
    low, high = min(finite), max(finite)
    top = len(levels) - 1
    flat = top // 2

    def level(value: float) -> str:
        if not math.isfinite(value):
            return " "
        return levels[flat if high == low else round(top * ((value - low) / (high - low)))]

    return "".join(map(level, values))


def resampled(curve: Curve, steps: int, width: int) -> list[float]:
    """Returns `width` values evenly over steps 0..steps-1: means, NaN where nothing is measured.

    A gap between two measured steps is filled with the earlier value.
    """
    at = np.minimum(np.array(curve.steps) * width // steps, width - 1)
    sums = np.bincount(at, weights=curve.values, minlength=width)
    count = np.bincount(at, minlength=width)
    cells = np.where(count > 0, sums / np.maximum(count, 1), np.nan)
    seen = np.flatnonzero(count)
    if len(seen):
        known = seen[np.searchsorted(seen, np.arange(width), side="right") - 1]
        cells = np.where(np.arange(width) <= seen[-1], cells[known], np.nan)
    return [float(cell) for cell in cells]


class View:
    """A state as wide and as high as the terminal is when it is drawn.

    Args:
      note: what the reader must know besides.
    """

    def __init__(self, state: Status, note: str = "", height: int | None = None) -> None:
        self._state, self._note, self._height = _plain(state), visible(note), height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        state, levels = self._state, ASCII_LEVELS if options.ascii_only else LEVELS
        height = self._height or console.height
        room = max(height - BESIDE_PACKS - len(state.errors[-3:]), 3)
        width = max(options.max_width - 32, 8)
        parts: list[RenderableType] = [
            _counts(state),
            _progress(state),
            Text(),
            _packs(state, room, options.ascii_only),
            Text(),
        ]
        parts += [_trend(curve, state.steps, width, levels) for curve in state.curves]
        parts.append(_legend(state))
        parts += [Text(error, style="red", overflow="fold") for error in state.errors[-3:]]
        if self._note:
            parts.append(Text(self._note, style="yellow"))
        yield Panel(Group(*parts), title=Text(state.name, style="bold"), title_align="left")


def _plain(state: Status) -> Status:
    """The state with all that files say on one line each, so that columns keep their widths."""
    return replace(
        state,
        name=visible(state.name),
        errors=tuple(map(visible, state.errors)),
        packs=tuple(replace(p, id=visible(p.id), what=visible(p.what)) for p in state.packs),
    )


def _counts(state: Status) -> Text:
    text, words = Text(), state.words()
    for name, count in state.counts.items():
        if count or name in ("done", "diverged", "running"):
            word = words.get(name, name) if count else name
            text.append(f"{count} {word}", COLORS[name] if count else "dim")
            text.append("   ")
    text.append("   ".join(filter(None, [state.plateau_text(), state.refine_text()])))
    return text


def _progress(state: Status) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=24)
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_row(
        ProgressBar(total=state.total_steps, completed=state.committed_steps, width=24),
        f"{100 * state.share:.1f} % committed",
        state.rate_text(),
    )
    return grid


def _packs(state: Status, room: int, ascii_only: bool) -> Table:
    table = Table(box=None, pad_edge=False, expand=True, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("pack", no_wrap=True, width=12)
    table.add_column(
        "what", no_wrap=True, overflow="crop" if ascii_only else "ellipsis", ratio=1, min_width=12
    )
    table.add_column("runs", justify="right", no_wrap=True)
    table.add_column("", width=8)
    table.add_column("step", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    waiting = state.counts["pending"]
    hidden = len(state.packs) - room if len(state.packs) > room else 0
    for pack in state.packs[: len(state.packs) - hidden]:
        table.add_row(*_pack_row(pack, state.steps))
    rest = [f"{hidden} more packs"] * bool(hidden)
    rest += [f"{waiting} pending runs"] * bool(waiting)
    if rest:
        table.add_row("", Text(", ".join(rest), style="dim"))
    return table


def _pack_row(pack: PackState, steps: int) -> tuple[Text | ProgressBar, ...]:
    said = f"{pack.state}, {pack.diverged} diverged" if pack.diverged else pack.state
    return (
        Text(pack.id),
        Text(pack.what),
        Text(str(pack.runs)),
        ProgressBar(total=steps, completed=pack.step, width=8),
        Text(f"{pack.step}/{steps}"),
        Text(said, style=STATE_COLORS.get(pack.state, "")),
    )


def _trend(curve: Curve, steps: int, width: int, levels: str) -> Text:
    line = sparkline(resampled(curve, steps, width), levels)
    ends = f"{curve.values[0]:>8.4g} ", f" {curve.values[-1]:<8.4g}"
    text = Text(f"{NAMES[curve.column]:<10}", no_wrap=True, overflow="crop")
    return text.append(ends[0]).append(line.rstrip(), "cyan").append(ends[1])


def _legend(state: Status) -> Text:
    said = [
        "plateau: the last 50 committed losses average at least 0.99 of the prior loss (ours)",
    ]
    if state.curves:
        runs = max(curve.runs for curve in state.curves)
        medians = f"medians of {counted(runs, 'run')} over steps 0 to {state.steps}"
        said.append(f"curves: {medians}, first and last")
    if any(curve.column == SIMILARITY for curve in state.curves):
        said.append(f"similarity: {SIMILARITY} of the middle layer")
    return Text("; ".join(said), style="dim")


def watch(folder: Folder, console: Console, sleep: Callable[[float], None] = time.sleep) -> None:
    """Shows the state until all runs are settled or Ctrl-C; plain lines where no terminal is.

    Files that change under the reader's hands do not end it: the last state stays, with a note.

    Raises:
      InputError: there are no results at the start, or none that can be read.
      KeyboardInterrupt: a signal that ends; the terminal is as before, with the last state on it.
    """
    reader = Reader(folder)
    state, note = _first(reader, folder), ""
    with signals.raised():
        if not console.is_terminal:
            _print_lines(reader, state, console, sleep)
            return
        try:
            with Live(console=console, auto_refresh=False, screen=True) as live:
                live.update(View(state), refresh=True)
                while not state.settled:
                    sleep(WATCH_SECONDS)
                    state, note = _again(reader, state)
                    live.update(View(state, note), refresh=True)
        finally:
            console.print(View(state, note, height=10_000 if state.settled else None))


def _print_lines(
    reader: Reader, state: Status, console: Console, sleep: Callable[[float], None]
) -> None:
    while True:
        console.print(state.as_text(), markup=False, highlight=False, soft_wrap=True)
        if state.settled:
            return
        sleep(PLAIN_SECONDS)
        state, _ = _again(reader, state)


def _first(reader: Reader, folder: Folder) -> Status:
    try:
        return reader.read()
    except (InputError, *TORN) as error:
        if isinstance(error, InputError) and not isinstance(error.__cause__, TORN):
            raise
        raise InputError(
            f"{folder.root}: the results cannot be read now ({_sentence(error)}). If a launch is "
            "creating or deleting them, try again."
        ) from error


def _again(reader: Reader, last: Status) -> tuple[Status, str]:
    """The new state, or the last one and why there is no newer."""
    try:
        return reader.read(), ""
    except (InputError, *TORN) as error:
        return last, f"not read again: {_sentence(error)}"


def _sentence(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
