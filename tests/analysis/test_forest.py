"""Rows of conditions."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import forest


def group(ends: list[int | None], rise: float = 0.1) -> pd.DataFrame:
    runs = pd.DataFrame({"phase1_end": pd.array(ends, dtype="Int64"), "horizon": 500})
    runs["diverged_at"] = pd.array([None] * len(ends), dtype="Int64")
    return runs.assign(censored=runs["phase1_end"].isna(), diverged=False, rise=rise)


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_runs_that_did_not_end_are_counted_beside_their_row() -> None:
    axes = Figure().subplots()
    forest.lengths(axes, {"one": group([10, 20, None]), "two": group([30, 40])})
    assert texts(axes) == ["1 of 3", "0 of 2", "not ended"]


def test_the_axis_of_lengths_holds_all_runs_even_where_none_ended() -> None:
    axes = Figure().subplots()
    forest.lengths(axes, {"none": group([None, None])})
    left, right = axes.get_xlim()
    assert left < 1
    assert right > 500


def test_a_value_that_no_run_has_is_named_and_the_others_are_drawn_at_their_median() -> None:
    axes = Figure().subplots()
    forest.values(axes, {"one": group([10, 20], np.nan), "two": group([10, 20], 0.25)}, "rise")
    assert texts(axes) == ["none"]
    (diamond,) = (line for line in axes.get_lines() if line.get_marker() == "D")
    assert np.ravel(diamond.get_xydata()).tolist() == [0.25, 1]


def test_the_reference_is_marked_by_a_line_at_its_median() -> None:
    axes = Figure().subplots()
    forest.values(axes, {"one": group([10, 20], 0.5)}, "rise", reference="one")
    (dotted,) = (line for line in axes.get_lines() if line.get_linestyle() == ":")
    assert np.ravel(dotted.get_xdata()).tolist() == [0.5, 0.5]


def test_a_line_stands_between_families_of_rows_alone() -> None:
    axes = Figure().subplots()
    forest.separate(axes, ["width", "width", "loss", "loss"])
    assert [np.ravel(line.get_ydata())[0] for line in axes.get_lines()] == [1.5]
