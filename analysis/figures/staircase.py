"""Does the rank of the features climb in steps while the loss falls, and what raises its start?

Regression of a sum of three sines by networks with biases, one column per activation. First row:
training loss of a plain network (Adam) and of departures from it, median over seeds with
its 95 % bootstrap interval. Second row: epsilon-rank of the last hidden layer, the number of its
Gram eigenvalues above 1e-4. Third and fourth row: the plain run of the smallest seed alone, so that
steps are not averaged away: rank of each hidden layer, and the root of the loss with the bound
below which features of that rank cannot bring it (ours: distance of the target from the
eigenfunctions above epsilon, less sqrt(epsilon) times the norm of the last weights; the largest of
four epsilons, where it is positive). Last row: other tasks, loss over that of the best constant
predictor, and rank of the last hidden layer. All on fixed training samples.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import style
from analysis.conditions import departures
from analysis.curves import Floats
from analysis.looks import layer_looks, looks
from analysis.phases import with_phases
from analysis.stats import median_interval
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("staircase", "staircase_tasks")
RANK = "eps_rank_abs_1em4"
BOUNDS = ("rank_bound_1em2", "rank_bound_1em4", "rank_bound_1em6", "rank_bound_1em8")
SHORT = {"optimizer sgd": "SGD", "init structured": "structured first layer"}
ROOM = 1.3  # over the highest curve of a row, for its legend
Look = Callable[[pd.DataFrame], tuple[Floats, Floats]]
Groups = Mapping[str, pd.DataFrame]


def draw(results: Mapping[str, Results]) -> Figure:
    """Loss and rank by condition, one run's layers and bound, and other tasks."""
    sweep, tasks = (results[name] for name in SWEEPS)
    runs = with_phases(sweep)
    runs["fourier_features"] = runs["fourier_features"].fillna(0).astype(int)
    figure = style.new_figure(height=12.6)
    panels = figure.subplots(5, 2, height_ratios=[1.2, 1.2, 1, 1, 1.1])
    groups = _activations(runs)
    names = list(dict.fromkeys(name for _, group in groups for name in _conditions(group)))
    for axes in panels[:4, len(groups) :].flat:
        axes.set_axis_off()
    for column, (activation, group) in enumerate(groups):
        _by_condition(list(panels[:2, column]), sweep, group, names)
        panels[0, column].set_title(f"{activation}, {group['depth'].iloc[0] - 1} hidden layers")
        _one_run(list(panels[2:4, column]), sweep, _plain(group))
    _by_task(list(panels[4]), tasks)
    _join(panels)
    _name(panels)
    return figure


def _activations(runs: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    groups = list(runs.groupby("activation"))
    return [(name, group.reset_index(drop=True)) for name, group in groups][:2]


def _conditions(runs: pd.DataFrame) -> Groups:
    """Runs by how they depart from the plain condition, which comes first."""
    plain = {
        "optimizer": "adam",
        "init": runs["init"][runs["init"] != "structured"].min(),
        "fourier_features": 0,
        "width": runs["width"].min(),
    }
    names = departures(runs, list(plain), plain)
    groups = {_short(str(name)): group for name, group in runs.groupby(names)}
    return {name: groups[name] for name in sorted(groups, key=lambda name: name != "plain")}


def _short(name: str) -> str:
    parts = [SHORT.get(part, part) for part in name.split(", ")]
    return ", ".join(parts).replace("fourier_features", "Fourier features:")


def _plain(runs: pd.DataFrame) -> pd.DataFrame:
    """The plain run of the smallest seed, as a table of one row."""
    return next(iter(_conditions(runs).values())).nsmallest(1, "seed")


def _by_condition(
    panels: Sequence[Axes], sweep: Results, runs: pd.DataFrame, names: Sequence[str]
) -> None:
    groups = _conditions(runs)
    _bands(panels[0], groups, lambda group: looks(sweep, group, "train_loss"), names)
    _bands(panels[1], groups, lambda group: layer_looks(sweep, group, RANK, -1), names)
    panels[1].legend(loc="best", ncols=2)


def _bands(axes: Axes, groups: Groups, look: Look, names: Sequence[str]) -> None:
    """One line per group; its colour and style are those of its place among `names`."""
    colors = style.ordered_colors(len(names))
    for name, group in groups.items():
        steps_M, values_RxM = look(group)
        place = names.index(name)
        line = {"linestyle": style.LINES[place % len(style.LINES)], "label": name}
        summary = median_interval(values_RxM)
        style.band(axes, steps_M, summary, color=colors[place], linewidth=1.8, **line)


def _one_run(panels: Sequence[Axes], sweep: Results, run: pd.DataFrame) -> None:
    above, below = panels
    hidden = range(1, int(run["depth"].iloc[0]))
    for i, (layer, color) in enumerate(zip(hidden, style.ordered_colors(len(hidden)), strict=True)):
        steps_M, rank_1xM = layer_looks(sweep, run, RANK, layer)
        look: dict[str, Any] = {
            "linestyle": style.LINES[::-1][i % len(style.LINES)],
            "linewidth": 1.6,
        }
        above.step(steps_M, rank_1xM[0], where="mid", color=color, label=f"layer {layer}", **look)
    above.legend(loc="upper left", ncols=len(hidden))
    steps_M, rmse_1xM = looks(sweep, run, "output_rmse")
    bound_M = np.max([looks(sweep, run, name)[1][0] for name in BOUNDS], axis=0)
    below.plot(steps_M, rmse_1xM[0], color=style.INK, label="root of the loss")
    told_M = np.where(bound_M > 0, bound_M, np.nan)
    below.plot(steps_M, told_M, color=style.ACCENT, linestyle="--", label="its bound by the rank")
    below.fill_between(steps_M, 0, told_M, color=style.ACCENT, alpha=0.12, linewidth=0)
    below.legend(loc="upper right", ncols=2)


def _by_task(panels: Sequence[Axes], tasks: Results) -> None:
    runs = with_phases(tasks)
    groups = {str(name): group for name, group in runs.groupby("dataset")}

    def relative(group: pd.DataFrame) -> tuple[Floats, Floats]:
        steps_M, loss_RxM = looks(tasks, group, "train_loss")
        return steps_M, loss_RxM / group["prior_loss"].to_numpy(dtype=float)[:, None]

    left, right = panels
    _bands(left, groups, relative, list(groups))
    _bands(right, groups, lambda group: layer_looks(tasks, group, RANK, -1), list(groups))
    left.set_title(f"other tasks, {runs['activation'].iloc[0]}")
    left.legend(loc="best")


def _join(panels: Any) -> None:
    """Both columns share the vertical axes of a row; the first four rows share the steps."""
    first = panels[0, 0]
    for row in panels[:4]:
        row[1].sharey(row[0])
        row[1].tick_params(labelleft=False)
        for axes in row:
            if axes is not first:
                axes.sharex(first)
    for axes in panels[:3].flat:
        axes.tick_params(labelbottom=False)


def _name(panels: Any) -> None:
    labels = ("training loss", "ε-rank, last\nhidden layer", "ε-rank by layer,\none plain run")
    for row, label in zip(
        panels, (*labels, "root mean squared\nerror, one plain run"), strict=False
    ):
        row[0].set_ylabel(label)
    panels[0, 0].set_yscale("log")
    for row in (2, 3):
        panels[row, 0].set_ylim(0, ROOM * panels[row, 0].get_ylim()[1])
    for axes in (*panels[1], *panels[2], panels[4, 1]):
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    left, right = panels[4]
    left.set(ylabel="loss / loss of the\nbest constant")
    right.set(ylabel="ε-rank, last hidden layer")
    for axes in (*panels[3], left, right):
        axes.set_xlabel("step (updates)")
