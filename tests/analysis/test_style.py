"""How figures become bytes."""

import io

import numpy as np
from PIL import Image

from analysis import style


def test_a_png_with_a_palette_keeps_the_colours_of_the_figure() -> None:
    with style.theme():
        figure = style.new_figure(height=2)
        axes = figure.subplots()
        x = np.linspace(0, 6, 200)
        for i, color in enumerate(style.ordered_colors(8)):
            axes.plot(x, np.sin(x + i), color=color)
        axes.axvspan(1, 2, color=style.ACCENT, alpha=0.13)
        image = Image.open(io.BytesIO(style.render(figure, "png")))
        plain = io.BytesIO()
        figure.savefig(plain, format="png")
    assert image.mode == "P"
    seen, drawn = (np.asarray(one.convert("RGB")).astype(int) for one in (image, Image.open(plain)))
    # of 200,000 pixels, 256 colours may blur those at the edges of lines that cross
    assert np.quantile(np.abs(seen - drawn).max(axis=2), 0.99) <= 8
