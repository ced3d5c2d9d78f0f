"""A bar for each row, with its quartiles."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.session import Measured
from bench.summary import Line, lines, matmul_limit

OURS, OTHERS = "#0072b2", "#999999"
CLOCKS = {"cpu": "run-steps per CPU second", "wall": "run-steps per second"}
FARTHEST_LIMIT = 2.0  # of the longest bar; beyond, the bars would be too short to compare
BAR_INCHES, MARGIN_INCHES, WIDTH_INCHES = 0.28, 1.1, 7.0


def draw(measured: Sequence[Measured], unit: str, path: Path) -> None:
    """Writes a PNG: one panel for each problem, below each other.

    Args:
      unit: `cpu` or `wall`.
    """
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False}):
        bars = [max(len(lines(m)), 1) for m in measured]
        height = sum(bars) * BAR_INCHES + MARGIN_INCHES * len(bars)
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        panels = figure.subplots(len(bars), squeeze=False, height_ratios=bars)[:, 0]
        for axes, of_problem in zip(panels, measured, strict=True):
            _panel(axes, of_problem, unit)
        figure.savefig(path, dpi=150)


def _panel(axes: Axes, measured: Measured, unit: str) -> None:
    found = lines(measured)
    spreads = [_spread_of(line, unit) for line in found]
    medians = [median for _, median, _ in spreads]
    errors = [[median - low for low, median, _ in spreads], [h - m for _, m, h in spreads]]
    axes.barh(
        [line.title for line in found],
        medians,
        xerr=errors,
        color=[OURS if line.title.startswith("tfc_jax") else OTHERS for line in found],
        error_kw={"elinewidth": 1, "capsize": 2},
    )
    for place, (median, (_, _, high)) in enumerate(zip(medians, spreads, strict=True)):
        text = f"{median:,.0f}"
        axes.annotate(text, (high, place), (5, 0), textcoords="offset points", va="center")
    _mark_limit(axes, matmul_limit(measured) if unit == "cpu" else None, max(medians))
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.spines["right"].set_visible(False)
    axes.set_xlabel(f"{CLOCKS[unit]}; median and quartiles")
    axes.set_title(measured.problem.title, loc="left", fontweight="bold")


def _mark_limit(axes: Axes, limit: float | None, longest: float) -> None:
    """A line where all bars would end if a step were nothing but its matrix products."""
    if limit is not None and limit < FARTHEST_LIMIT * longest:
        axes.axvline(limit, color="black", linestyle=":")
        axes.annotate(
            "matmul peak",
            (limit, 1),
            (-3, -3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right",
            va="top",
        )


def _spread_of(line: Line, unit: str) -> tuple[float, float, float]:
    spread = line.per_cpu if unit == "cpu" else line.per_wall
    return spread.low, spread.median, spread.high
