"""The most varying units of the middle layer, sample by sample, over training

Top: one run, that with the median length of phase one. Each row is one of the ten units of the
middle layer whose variance over the training probe is highest at the last step (ours; after figure
1b of the TFC paper), each column one of two samples of a class; classes are parted by lines. Values
are divided by the largest of their frame, since features grow in training. Where samples are alike,
each row is of one colour. Frames are moments of the run's own timeline (ours: its first step, the
middle and the end of its phase one, the peak of the middle layer's feature_cos_between, half way
from there to the last step, and the last step; quarters where no phase one ended).

Bottom: how much these units differ between the samples, for up to 16 seeds: the share of the energy
of the values that is not in each unit's mean over samples (ours), 0 if every sample looks the same.
Thin lines are runs, each with its own ten units; thick is the median with its 95 % bootstrap
interval. Vertical line: end of phase one (ours: the smoothed loss stays below 0.99 of the prior
loss for 200 steps), Kaplan-Meier median of all runs with its 95 % interval shaded.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from analysis import style
from analysis.classes import nearest_records, salient_units, spread, unit_by_sample
from analysis.curves import floats, matrix
from analysis.stats import median_interval
from analysis.timeline import (
    mark_end,
    moments,
    name_end,
    name_moment,
    phase_end,
    setting,
    whole_runs,
)
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("two_phase",)
MOST_CLASSES = 10
MOST_RUNS = 16  # the table holds every unit at every look


def draw(results: Mapping[str, Results]) -> Figure:
    """Unit-by-sample pictures of one run, and the units' spread over samples for several."""
    sweep = results["two_phase"]
    runs, seeds = whole_runs(sweep)
    few = runs.sort_values("seed").head(MOST_RUNS).reset_index(drop=True)
    columns = ["feature", "unit_variance", "sample_class"]
    features = sweep.table("features", f"seed <= {few['seed'].max()}", columns)
    figure = style.new_figure(height=7.0)
    places = figure.add_gridspec(2, 1, height_ratios=[1.5, 1])
    above, below = figure.add_subfigure(places[0]), figure.add_subfigure(places[1])
    shown = few.iloc[[_typical(few)]].reset_index(drop=True)
    above.suptitle(f"{setting(runs)}, seed {shown['seed'].iloc[0]}", x=0.01, ha="left", fontsize=11)
    _film(above, features[features["run_id"] == shown["run_id"].iloc[0]], shown)
    axes = below.subplots()
    _spreads(axes, features, few["run_id"].tolist())
    named = seeds if len(few) == len(runs) else f"the first {len(few)} of {seeds}"
    axes.set_title(f"{named}: thin lines; their median: thick")
    boundary = phase_end(sweep)
    mark_end(axes, boundary)
    name_end(axes, boundary, height=0.74)
    return figure


def _typical(runs: pd.DataFrame) -> int:
    """Row of the run whose phase one has the median length; censored ones count as longest."""
    order = runs["phase1_end"].to_numpy(dtype=float, na_value=np.inf).argsort(kind="stable")
    return int(order[(len(order) - 1) // 2])


def _film(figure: SubFigure, features: pd.DataFrame, run: pd.DataFrame) -> None:
    if features["sample_class"].notna().any():
        features = features[features["sample_class"] < MOST_CLASSES]
    units, frames = salient_units(features), moments(run)
    low = -1 if (features["feature"] < 0).any() else 0
    grid = figure.subplots(1, len(frames), sharey=True)
    for axes, (name, step_R) in zip(grid, frames.items(), strict=True):
        rows = nearest_records(features, run["run_id"].tolist(), step_R)
        value_UxS = unit_by_sample(rows, units)
        largest = np.abs(value_UxS).max(initial=0.0, where=np.isfinite(value_UxS)) or 1.0
        image = axes.imshow(value_UxS / largest, vmin=low, vmax=1, aspect="auto", cmap="cividis")
        axes.set_title(name_moment(name, step_R).replace(" of phase", "\nof phase"), fontsize=9.5)
        _class_lines(axes, rows)
    grid[0].set_yticks(range(len(units)), [str(unit) for unit in units])
    grid[0].set_ylabel("unit of the middle layer")
    figure.supxlabel("sample, two of each class", fontsize=10.5)
    figure.colorbar(image, ax=list(grid), label="feature, over the\nframe's largest", pad=0.01)


def _class_lines(axes: Axes, rows: pd.DataFrame) -> None:
    axes.grid(visible=False)
    axes.set_xticks([])
    samples = rows.drop_duplicates("sample").sort_values("sample")
    classes = floats(samples, "sample_class")
    for place in np.flatnonzero(np.diff(classes) > 0):
        axes.axvline(place + 0.5, color="white", linewidth=0.6)


def _spreads(axes: Axes, features: pd.DataFrame, run_ids: list[str]) -> None:
    records = []
    for run_id in run_ids:
        mine = features[features["run_id"] == run_id]
        units = salient_units(mine)
        for step, rows in mine[mine["unit"].isin(units)].groupby("step"):
            records.append((run_id, step, spread(unit_by_sample(rows, units))))
    frame = pd.DataFrame(records, columns=["run_id", "step", "spread"])
    steps_M, spread_RxM = matrix(frame, "spread", run_ids)
    axes.plot(steps_M, spread_RxM.T, color=style.FAINT, linewidth=0.5, alpha=0.6)
    style.band(axes, steps_M, median_interval(spread_RxM), color=style.INK, linewidth=2)
    axes.set(xlabel="step (updates)", ylabel="energy that differs\nbetween samples (share)")
    axes.set(ylim=(0, None), xlim=(0, steps_M[-1]))
