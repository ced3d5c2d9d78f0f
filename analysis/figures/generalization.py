"""Does less collapse mean better test accuracy at the same training loss?

Every mark is a run of the sweeps over depth, operations and initialisation: test accuracy where the
loss on the training probe first falls below a fiftieth of the prior loss (ours: interpolated
between two probes), against the largest between-class cosine that features of its middle layer
reached. Left out, and counted in the title, are runs that never get there or get there too fast for
their probes. Left: large marks are medians of conditions with 95 % bootstrap intervals over seeds,
small ones runs; conditions differ in much more than collapse. Right: what differs between seeds
alone, as deviations from the mean of the own condition; r is the correlation of the deviations, the
partial correlation given the condition, with a 95 % bootstrap interval over seeds.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.conditions import describe, varied
from analysis.curves import Floats
from analysis.generalization import accuracy_at_loss, within
from analysis.ordering import resampled
from analysis.phases import with_phases
from analysis.stats import median_interval
from tfc_jax.keys import KEYS
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("depth", "operations", "diagnosis")
COLLAPSE = "middle_cos_between_peak"
SHARE = 0.02
MARKERS = ("o", "s", "D")


def draw(results: Mapping[str, Results]) -> Figure:
    """Test accuracy against peak collapse, between conditions and within them."""
    runs = gather({name: results[name] for name in SWEEPS})
    known = runs[runs[[COLLAPSE, "test"]].notna().all(axis=1)].reset_index(drop=True)
    figure = style.new_figure(height=4.8)
    left, right = figure.subplots(1, 2)
    _between(left, known)
    _within(right, known)
    left.set_title(f"{len(known)} of {len(runs)} runs; {known['condition'].nunique()} conditions")
    left.set_xlabel("largest feature_cos_between, middle layer")
    left.set_ylabel("test accuracy at the same training loss")
    right.set_xlabel("its deviation from the condition's mean")
    right.set_ylabel("deviation of test accuracy")
    right.locator_params(axis="x", nbins=5)
    if len(known):
        figure.legend(loc="outside lower center", ncols=3)
    else:
        left.text(0.5, 0.5, "no run reached it", transform=left.transAxes, ha="center")
    return figure


def gather(results: Mapping[str, Results]) -> pd.DataFrame:
    """Runs of all sweeps, each once, with `sweep`, `condition` and `test` accuracy."""
    frames = []
    for name, sweep in results.items():
        runs = with_phases(sweep)
        level = SHARE * float(runs["prior_loss"].median())
        frames.append(runs.assign(sweep=name, test=accuracy_at_loss(sweep, runs, level)))
    runs = pd.concat(frames, ignore_index=True).drop_duplicates("run_id").reset_index(drop=True)
    keys = varied(runs, [key for key in KEYS if key != "steps"])
    names = [describe(row) for row in runs[keys].to_dict("records")]
    return runs.assign(condition=names)


def _between(axes: Axes, runs: pd.DataFrame) -> None:
    for (sweep, group), marker, color in zip(
        runs.groupby("sweep", sort=False), MARKERS, style.ordered_colors(3), strict=False
    ):
        look: dict[str, Any] = {"color": color, "marker": marker}
        axes.plot(group[COLLAPSE], group["test"], linestyle="none", alpha=0.25, **look)
        summaries = [
            [median_interval(one[c].to_numpy(dtype=float)) for c in (COLLAPSE, "test")]
            for _, one in group.groupby("condition")
        ]
        x, y = np.array(summaries).transpose(1, 2, 0)
        axes.hlines(y[0], x[1], x[2], color=color, linewidth=1.2)
        axes.vlines(x[0], y[1], y[2], color=color, linewidth=1.2)
        axes.plot(x[0], y[0], linestyle="none", markersize=8, label=f"sweep {sweep}", **look)


def _within(axes: Axes, runs: pd.DataFrame) -> None:
    x = within(runs[COLLAPSE].astype(float), runs["condition"])
    y = within(runs["test"], runs["condition"])
    for (_, index), marker, color in zip(
        runs.groupby("sweep", sort=False).groups.items(),
        MARKERS,
        style.ordered_colors(3),
        strict=False,
    ):
        axes.plot(x[index], y[index], linestyle="none", marker=marker, color=color, alpha=0.45)
    axes.axhline(0, color=style.INK, linewidth=0.8, zorder=0)
    axes.axvline(0, color=style.INK, linewidth=0.8, zorder=0)
    if len(runs) > 2:
        r, low, high = correlation(x.to_numpy(), y.to_numpy(), runs["seed"].to_numpy())
        axes.set_title(f"r = {r:+.2f} ({low:+.2f} to {high:+.2f})")


def correlation(x_R: Floats, y_R: Floats, seed_R: Floats) -> tuple[float, float, float]:
    """Pearson correlation with its 95 % percentile interval, whole seeds resampled.

    NaN where x or y does not vary. Seeds are resampled, not runs: those of one seed share their
    initial directions and batches.
    """
    seeds, at_R = np.unique(seed_R, return_inverse=True)
    weights = (np.ones(len(seeds)), *resampled(len(seeds)))
    r = [_weighted(x_R, y_R, weight[at_R]) for weight in weights]
    if not np.isfinite(r[0]):
        return float("nan"), float("nan"), float("nan")
    low, high = np.nanquantile(r[1:], [0.025, 0.975])
    return r[0], float(low), float(high)


def _weighted(x_R: Floats, y_R: Floats, weight_R: Floats) -> float:
    x, y = (v - np.average(v, weights=weight_R) for v in (x_R, y_R))
    xx, yy, xy = ((weight_R * product).sum() for product in (x * x, y * y, x * y))
    return float(xy / np.sqrt(xx * yy)) if min(xx, yy) > 0 else float("nan")
