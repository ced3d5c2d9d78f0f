"""Censored and diverged runs look like what they are."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis import marks, style
from analysis.survival import Survival


def axes_with(runs: pd.DataFrame, *, upward: bool = True) -> Axes:
    axes = style.new_figure(3).subplots()
    marks.run_marks(axes, 5, runs, upward=upward)
    return axes


def runs(end: float | None, *, diverged_at: float | None = None) -> pd.DataFrame:
    censored = end is None and diverged_at is None
    return pd.DataFrame(
        {
            "phase1_end": [np.nan if end is None else end],
            "horizon": [900],
            "censored": [censored],
            "diverged": [diverged_at is not None],
            "diverged_at": [np.nan if diverged_at is None else diverged_at],
        }
    )


def test_a_censored_run_is_an_open_triangle_at_its_horizon() -> None:
    (line,) = axes_with(runs(None)).get_lines()
    assert (line.get_marker(), line.get_markerfacecolor()) == ("^", "none")
    assert line.get_xydata().tolist() == [[5, 900]]  # type: ignore[union-attr]


def test_lengths_along_x_point_to_the_right() -> None:
    (line,) = axes_with(runs(None), upward=False).get_lines()
    assert line.get_marker() == ">"
    assert line.get_xydata().tolist() == [[900, 5]]  # type: ignore[union-attr]


def test_a_diverged_run_is_a_cross_where_it_diverged() -> None:
    (line,) = axes_with(runs(None, diverged_at=40)).get_lines()
    assert line.get_marker() == "x"
    assert line.get_ydata() == [40]


def test_a_length_of_zero_is_drawn_at_one_on_the_logarithmic_axis() -> None:
    (line,) = axes_with(runs(0)).get_lines()
    assert line.get_ydata() == [1]


def test_marks_of_one_condition_lie_side_by_side_around_it() -> None:
    offsets = marks.jitter(5)
    assert len(set(offsets)) == 5
    assert offsets.sum() == 0
    assert marks.jitter(1).tolist() == [0]


def test_a_median_that_was_not_reached_is_not_drawn() -> None:
    axes = style.new_figure(3).subplots()
    reached = Survival(50, 30, np.inf, 60, 8, 5, 900)
    open_ended = Survival(np.inf, 700, np.inf, 800, 8, 2, 900)
    marks.median_marks(axes, [3, 5], [reached, open_ended])
    (line,) = axes.get_lines()
    assert line.get_xydata().tolist() == [[3, 50]]  # type: ignore[union-attr]
    (bars,) = axes.collections
    intervals = [np.asarray(path.vertices).tolist() for path in bars.get_paths()]
    assert intervals == [[[3, 30], [3, 900]], [[5, 700], [5, 900]]]
