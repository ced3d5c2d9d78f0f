"""Does the middle layer collapse before learning in other networks and on other tasks too?

Each row is a plain deep ReLU network (plain SGD, no norm, no bias) with one thing changed; the
shaded row is the plain one, dotted lines are its medians, and a row is named by the keys of the
sweep that differ from it. Left: length of phase one (ours: steps until the smoothed loss stays
below 0.99 of the prior loss for 200 steps; under label noise until 5 % of what can be gained is
gained, so that a noisy task does not look longer only because less can be gained). Open triangles
are runs that had not ended at T, counted beside the panel; diamonds are Kaplan-Meier medians with
95 % intervals; there is none where more than half of the runs had not ended, and an interval that
reaches T is open. Right: rise of the between-class cosine
of features of the middle layer over phase one, from step 0 to its end or, where it did not end, to
the last step (means over 50 steps, ours); diamonds are medians over seeds with 95 % bootstrap
intervals. Activations other than ReLU are shown at the same initialisation scale and at the scale
at which a layer shrinks a small signal as ReLU does at the plain scale (ours): GELU is x/2 and
tanh x near 0, abs keeps the mean square. A phase that ends at once leaves no time for a rise.
"""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from analysis import forest, marks, style
from analysis.conditions import departures
from analysis.phases import with_phases
from analysis.plateau import with_rise
from tfc_jax.results import Results

SWEEPS: tuple[str, ...] = ("robustness",)
KEYS = (
    "width",
    "learning_rate",
    "activation",
    "init_scale",
    "loss",
    "label_noise",
    "classes",
    "dataset",
    "difficulty",
)


def draw(results: Mapping[str, Results]) -> Figure:
    """Phase length and rise of similarity, one row a departure from the plain network."""
    sweep = results["robustness"]
    groups = conditions(with_rise(sweep, with_phases(sweep)))
    figure = style.new_figure(height=1.9 + 0.41 * len(groups))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    forest.lengths(left, groups, reference="plain")
    forest.values(right, groups, "cos_rise", reference="plain")
    right.axvline(0, color=style.INK, linewidth=0.8, zorder=0)
    right.set_xlabel("rise of feature_cos_between,\nmiddle layer, over phase one (cosine)")
    forest.name_rows(left, groups)
    for axes in (left, right):
        forest.separate(axes, [name.split()[0] for name in groups])
    diverged = any(bool(group["diverged"].any()) for group in groups.values())
    handles = [*marks.key(upward=False, diverged=diverged), forest.reference_key()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def conditions(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs by what they depart in, plain first, then by key and value."""
    names = departures(runs, KEYS)
    groups = {str(name): group for name, group in runs.groupby(names)}
    order = sorted(groups, key=lambda name: _rank(name, groups[name].iloc[0]))
    return {name.replace(", ", ",\n"): groups[name] for name in order}


def _rank(name: str, run: pd.Series) -> tuple[int, float, str, float, float]:
    if name == "plain":
        return (-1, 0.0, "", 0.0, 0.0)
    key = name.split()[0]
    value = run[key]
    number = 0.0 if isinstance(value, str) else float(value)
    text = value if isinstance(value, str) else ""
    difficulty = float(run["difficulty"]) if pd.notna(run["difficulty"]) else 0.0
    return (KEYS.index(key), number, text, float("init_scale" in name), difficulty)
