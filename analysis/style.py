"""One look for all figures: fonts, colours, marks; and their bytes without dates.

Colours are told apart by colour-blind readers, and every distinction of colour is doubled by a
marker, a line style or a hatch, so that figures survive printing in grey.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends import backend_pdf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from PIL import Image

from analysis.curves import Floats

WIDTH = 9.0
TIE_BREAK = 1.2345e-6  # points
INK = "0.15"
FAINT = "0.55"
ACCENT = "#b5460f"
LINES = ("-", "--", "-.", ":")
ENDED: dict[str, Any] = {"marker": "o", "alpha": 0.55, "linestyle": "none"}
CENSORED: dict[str, Any] = {"markerfacecolor": "none", "linestyle": "none", "markeredgewidth": 1.2}
DIVERGED: dict[str, Any] = {"marker": "x", "linestyle": "none", "markeredgewidth": 1.5}

_SIZES = {
    "font.size": 10.5,
    "axes.labelsize": 10.5,
    "axes.titlesize": 11,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.title_fontsize": 9.5,
}
_RULES: dict[str, Any] = {
    "axes.edgecolor": "0.3",
    "axes.grid": True,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same
    "grid.color": "0.9",
    "hatch.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 5.5,
    "pdf.fonttype": 42,
    "savefig.dpi": 150,
}
_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


@contextmanager
def theme() -> Iterator[None]:
    """Everything drawn and rendered inside looks like this project's figures."""
    rules = {**sns.axes_style("ticks"), **_SIZES, **_RULES}
    with matplotlib.rc_context(rules):
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure that no global state keeps alive; inches."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def render(figure: Figure, kind: str) -> bytes:
    """Returns the figure as `png` or `pdf`, the same bytes for the same figure."""
    _settle(figure)
    buffer = io.BytesIO()
    with mock.patch.object(backend_pdf, "pdfRepr", _rounded(backend_pdf.pdfRepr)):
        figure.savefig(buffer, format=kind, metadata=_METADATA[kind])
    return _with_palette(buffer) if kind == "png" else buffer.getvalue()


def _settle(figure: Figure) -> None:
    """Lays the figure out once and for all, in whole ten-thousandths of its size.

    The solver of the layout adds in an order that depends on where objects lie in memory, so that
    its last bits differ from process to process.
    """
    if figure.get_layout_engine() is None:
        return
    figure.set_dpi(_RULES["savefig.dpi"])  # letters have other widths at other resolutions
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(tuple(round(edge, 4) for edge in axes.get_position().bounds))
    for text in figure.texts:
        x, y = text.get_position()
        text.set_position((round(x, 4), round(y, 4)))


def _rounded(write: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Numbers of a PDF in ten-thousandths of a point, instead of ten-billionths.

    The last of ten digits would still tell in which order a process added. The shift, far below
    what can be seen, keeps sums of round numbers away from where rounding turns.
    """

    def rounded(value: Any) -> bytes:
        return write(round(value + TIE_BREAK, 4) if isinstance(value, float) else value)

    return rounded


def _with_palette(png: io.BytesIO) -> bytes:
    """The same PNG in the 256 colours that suit it best: a third of the bytes.

    Only pixels at the edges of lines change visibly under a lens; the page holds all figures.
    """
    out = io.BytesIO()
    with Image.open(png) as image:
        few = image.convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE)
        few.save(out, "png", optimize=True, dpi=image.info["dpi"])
    return out.getvalue()


def ordered_colors(count: int) -> list[tuple[float, ...]]:
    """Colours for an ordered quantity: dark to light in grey too, none too pale for white."""
    shades = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.86, count))
    return [tuple(float(c) for c in shade) for shade in shades]


def layer_colorbar(figure: Figure, axes: list[Axes], layers: list[int], middle: int) -> None:
    """Adds the key from colour to layer beside `axes`; the middle layer is named."""
    edges = np.arange(len(layers) + 1) + layers[0] - 0.5
    colors = ListedColormap(ordered_colors(len(layers)))
    bar = figure.colorbar(
        ScalarMappable(norm=BoundaryNorm(edges, len(layers)), cmap=colors),
        ax=axes,
        label="layer (1 = next to the input)",
        ticks=layers,
        pad=0.015,
        aspect=45,
    )
    bar.ax.set_yticklabels([f"{n} middle" if n == middle else f"{n}" for n in layers])
    bar.ax.tick_params(length=0)


def band(
    axes: Axes, x: Floats, summary: tuple[Floats, Floats, Floats], *, color: Any, **line: Any
) -> None:
    """Draws a median with its interval shaded: `summary` as `stats.median_interval` gives it."""
    median, low, high = summary
    axes.fill_between(x, low, high, color=color, alpha=0.22, linewidth=0)
    axes.plot(x, median, color=color, **line)
