"""What a waiting network suffers from: collapse, vanishing gradients and dead units told apart

Above: share of runs that earn each flag, by depth and initialisation (Xavier times a scale unless
named otherwise), in the middle of phase one (ours: until the smoothed loss stays below 0.99 of the
prior loss for 200 steps) or of a run that never ended it; the last two are judged at the end. Bold:
He-matched initialisation, under which gradients are expected to be of one size in all layers.
Below: the evidence, run by run. How many decades per layer the gradient falls towards the input
(left), and the largest share of dead units in a layer (right), against the rise of the middle
layer's between-class cosine since step 0: filled in the middle of phase one, where flags are
judged, open at its largest in the whole run. Squares are He-matched runs. Dotted lines are the
thresholds of the flags; `feature_collapse` also asks for a level of the cosine.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import style
from analysis.conditions import varied
from analysis.diagnosis import DEFAULT, FLAGS
from analysis.phases import with_phases
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("diagnosis",)
KEYS = ("init", "init_scale", "learning_rate")
MATCHED = 0.01  # decades per layer, of the initialisation's own prediction
MARKERS = ("o", "^", "D", "v", "P")


def draw(results: Mapping[str, Results]) -> Figure:
    """Flag shares by depth and scheme, and the evidence of three of them run by run."""
    runs = with_phases(results["diagnosis"])
    runs = runs.assign(matched=he_matched(runs), scheme=_schemes(runs))
    depths = sorted(runs["depth"].unique())
    figure = style.new_figure(height=5.4 + 0.3 * len(FLAGS))
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.2 + 0.3 * len(FLAGS), 3.6])
    top, bottom = parts
    tables = top.subplots(1, len(depths), sharey=True, squeeze=False)[0]
    for axes, depth in zip(tables, depths, strict=True):
        _shares(axes, runs[runs["depth"] == depth])
        axes.set_title(f"depth {depth}")
    tables[0].set_yticks(range(len(FLAGS)), FLAGS)
    left, right = bottom.subplots(1, 2, sharey=True)
    _evidence(left, runs, "delta_slope", DEFAULT.vanishing)
    _evidence(right, runs, "most_dead_units", DEFAULT.dead_units)
    left.set(xlabel="fall of delta_norm (decades per layer)", ylabel="rise of feature_cos_between")
    right.set(xlabel="most_dead_units (share)", xlim=(-0.03, 1.03))
    left.set_title(_counts(runs))
    bottom.legend(handles=_key(depths), loc="outside lower center", ncols=3 + len(depths))
    return figure


def he_matched(runs: pd.DataFrame) -> pd.Series:
    """Whether initialisation predicts gradients of the same size in all layers."""
    predicted = (runs["delta_slope"] - runs["delta_slope_excess"]).to_numpy(dtype=float)
    return pd.Series(np.abs(predicted) < MATCHED, index=runs.index)


def _schemes(runs: pd.DataFrame) -> pd.Series:
    """Short names of the conditions at one depth: "× 0.8", "torch_default", "× 1.41 lr 0.0002"."""
    keys = varied(runs, KEYS)
    usual = runs["init"].mode().iloc[0]
    rate = runs["learning_rate"].mode().iloc[0]
    names = []
    for row in runs[list(KEYS)].to_dict("records"):
        scale = f"× {row['init_scale']:.3g}"
        name = scale if row["init"] == usual else str(row["init"])
        slow = "learning_rate" in keys and row["learning_rate"] != rate
        names.append(f"{name}, rate {row['learning_rate']:.2g}" if slow else name)
    return pd.Series(names, index=runs.index, dtype=object)


def _shares(axes: Axes, runs: pd.DataFrame) -> None:
    """Heat map: flags down, schemes across, the share of runs written in every cell."""
    order = runs.sort_values(
        ["init", "init_scale", "learning_rate"], ascending=[False, True, False]
    )
    schemes = list(dict.fromkeys(order["scheme"]))
    flags = [f"flag_{name}" for name in FLAGS]
    values = runs[flags].astype("boolean").astype("Float64").groupby(runs["scheme"]).mean()
    shares = values.loc[schemes].to_numpy(dtype=float, na_value=np.nan).T
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1.25, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        text = "?" if np.isnan(share) else f"{share:.2g}".lstrip("0") or "0"
        color = "white" if share > 0.6 else style.INK
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color=color)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set_xticks(range(len(schemes)), schemes, rotation=60, ha="right", rotation_mode="anchor")
    matched = runs.groupby("scheme")["matched"].first()
    for label, scheme in zip(axes.get_xticklabels(), schemes, strict=True):
        label.set_fontweight("bold" if matched[scheme] else "normal")


def _evidence(axes: Axes, runs: pd.DataFrame, column: str, threshold: float) -> None:
    start = runs["middle_cos_between_start"]
    axes.axvline(threshold, color=style.INK, linestyle=":", linewidth=1)
    axes.axhline(DEFAULT.collapse_rise, color=style.INK, linestyle=":", linewidth=1)
    groups = list(runs.groupby("depth"))
    colors = style.ordered_colors(len(groups))
    for name, filled in (("middle_cos_between_peak", False), ("middle_cos_between", True)):
        rise = (runs[name] - start).astype(float)
        for i, (_, group) in enumerate(groups):
            for matched, part in group.groupby("matched"):
                look = _look(colors[i], filled)
                marker = "s" if matched else MARKERS[i % len(MARKERS)]
                axes.plot(part[column].astype(float), rise[part.index], marker, **look)


def _look(color: Any, filled: bool) -> dict[str, Any]:
    if filled:
        return {"color": color, "markersize": 5, "markeredgecolor": "white", "zorder": 3}
    return {"color": color, "markersize": 6, "markerfacecolor": "none", "alpha": 0.7}


def _counts(runs: pd.DataFrame) -> str:
    collapse, vanishing = (
        runs[f"flag_{name}"].astype("boolean").fillna(False)
        for name in ("feature_collapse", "vanishing")
    )
    both, alone = int((collapse & vanishing).sum()), int((collapse & ~vanishing).sum())
    other = int((vanishing & ~collapse).sum())
    return f"runs flagged: both {both}, collapse alone {alone}, vanishing alone {other}"


def _key(depths: list[int]) -> list[Line2D]:
    colors = style.ordered_colors(len(depths))
    entries = []
    for i, depth in enumerate(depths):
        own: dict[str, Any] = {"marker": MARKERS[i % len(MARKERS)], "color": colors[i]}
        entries.append(Line2D([], [], linestyle="none", label=f"depth {depth}", **own))
    look: dict[str, Any] = {"linestyle": "none", "marker": "o"}
    return [
        *entries,
        Line2D([], [], linestyle="none", marker="s", color=style.FAINT, label="He-matched"),
        Line2D([], [], label="mid-phase", **look, **_look(style.FAINT, True)),
        Line2D([], [], label="at its largest", **look, **_look(style.FAINT, False)),
    ]
