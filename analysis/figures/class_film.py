"""How alike the classes are, pair by pair, at moments of training

Each square shows the mean cosine of the features of two samples, one of the class of its row and
one of the class of its column (two distinct ones on the diagonal), on the training probe; median
over seeds. Rows are layers that stand for all (ours: the first, the middle and the last hidden one,
and one between). Columns are moments of each run's own timeline (ours: its first step, the middle
and the end of its phase one, the peak of the middle layer's feature_cos_between, half way from
there to the last step, and the last step; quarters of the run where no phase one ended), with the
median step. One colour scale for all: light is alike. End of phase one (ours): the smoothed loss
stays below 0.99 of the prior loss for 200 steps.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.classes import median_class_cosines, nearest_records
from analysis.curves import Floats, middle_layer
from analysis.timeline import moments, name_moment, setting, some_layers, whole_runs
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("two_phase",)


def draw(results: Mapping[str, Results]) -> Figure:
    """Class-by-class matrices: a row per layer, a column per moment."""
    sweep = results["two_phase"]
    runs, seeds = whole_runs(sweep)
    depth = int(runs["depth"].iloc[0])
    layers, frames = some_layers(depth), moments(runs)
    table = sweep.table("classes", where=f"layer < {depth}")
    pictures: dict[tuple[int, str], Floats] = {}
    for name, step_R in frames.items():
        rows = nearest_records(table, runs["run_id"].tolist(), step_R)
        for layer in layers:
            pictures[layer, name] = median_class_cosines(rows[rows["layer"] == layer])
    low = min(float(p.min(initial=1.0, where=np.isfinite(p))) for p in pictures.values())
    figure = style.new_figure(height=1.5 + 1.35 * len(layers))
    figure.suptitle(f"{setting(runs)}. Median over {seeds}", x=0.01, ha="left", fontsize=11)
    grid = figure.subplots(len(layers), len(frames), squeeze=False)
    for (layer, name), axes in zip(pictures_order(layers, frames), grid.ravel(), strict=True):
        image = axes.imshow(pictures[layer, name], vmin=low, vmax=1, cmap="cividis")
        _plain(axes)
    for axes, layer in zip(grid[:, 0], layers, strict=True):
        axes.set_ylabel(f"layer {layer}" + "\n(middle)" * (layer == middle_layer(depth)))
    for axes, (name, step_R) in zip(grid[0], frames.items(), strict=True):
        axes.set_title(_two_lines(name_moment(name, step_R)), fontsize=9.5, loc="center")
    classes = len(pictures[layers[0], next(iter(frames))])
    grid[-1, 0].set_xlabel(f"class 0 to {classes - 1}")
    figure.colorbar(image, ax=list(grid.ravel()), label="class_cos (mean cosine)", aspect=35)
    return figure


def pictures_order(layers: list[int], frames: Mapping[str, Floats]) -> list[tuple[int, str]]:
    """Layer and moment of each panel, row by row."""
    return [(layer, name) for layer in layers for name in frames]


def _two_lines(text: str) -> str:
    """A narrow column: "end of phase one" breaks before its last two words."""
    return text.replace(" of phase one", "\nof phase one")


def _plain(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
