"""Moments of a run's own timeline, and the runs that a figure shows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import style
from analysis.survival import Survival
from analysis.timeline import (
    at,
    by_layer,
    mark_end,
    moments,
    name_end,
    name_moment,
    phase_end,
    setting,
    some_layers,
    title_end,
    whole_runs,
)

WriteResults = Callable[..., Any]


def runs(end: list[float | None], peak: list[float | None]) -> pd.DataFrame:
    """Runs of 1001 steps with these ends of phase one and peaks of similarity."""
    columns = {"phase1_end": end, "middle_cos_between_peak_step": peak}
    frame = pd.DataFrame(columns).astype("Int64")
    return frame.assign(steps_done=1001)


def test_moments_are_relative_to_each_run_s_own_phase() -> None:
    steps = moments(runs([200, 400], [300, 500]))
    expected = [[0, 0], [100, 200], [200, 400], [300, 500], [650, 750], [1000, 1000]]
    np.testing.assert_array_equal(list(steps.values()), expected)
    assert list(steps)[2] == "end of phase one"


def test_a_run_that_has_not_ended_lacks_the_moments_of_the_end() -> None:
    steps = moments(runs([200, None], [300, 500]))
    assert np.isnan([steps["middle of phase one"][1], steps["end of phase one"][1]]).all()
    assert steps["peak"][1] == 500


def test_where_no_run_ended_the_moments_are_quarters() -> None:
    steps = moments(runs([None, None], [300, 500]))
    np.testing.assert_array_equal([s[0] for s in steps.values()], [0, 250, 500, 750, 1000])


def test_the_record_nearest_to_each_run_s_step_is_taken() -> None:
    steps = np.array([0.0, 10, 20, 30])
    values = np.array([[1.0, 2, 3, 4], [5, 6, np.nan, 8], [1, 2, 3, 4], [np.nan] * 4])
    found = at(steps, values, np.array([14.0, 21.0, np.nan, 10.0]))
    np.testing.assert_array_equal(found, [2, 8, np.nan, np.nan])


def test_a_moment_is_named_with_its_median_step_over_the_runs_that_have_it() -> None:
    assert name_moment("peak", np.array([1000.0, np.nan, 1400.0])) == "peak\n(step 1,200)"
    assert name_moment("step 0", np.zeros(2)) == "step 0"


def test_some_layers_hold_the_first_the_middle_and_the_last_hidden_one() -> None:
    assert some_layers(9) == [1, 3, 5, 8]
    assert some_layers(5) == [1, 2, 3, 4]
    for depth in range(4, 40):
        layers = some_layers(depth)
        assert {1, -(-depth // 2), depth - 1} <= set(layers)
        assert len(layers) == min(4, depth - 1)
    assert some_layers(2) == [1]
    assert some_layers(3) == [1, 2]


def test_by_layer_gives_the_matrix_of_each_layer() -> None:
    rows = [("a", 0, 1, 0.1), ("a", 0, 2, 0.2), ("b", 0, 1, 0.3), ("b", 0, 2, 0.4)]
    frame = pd.DataFrame(rows, columns=["run_id", "step", "layer", "x"])
    found = by_layer(frame, "x", ["a", "b"])
    assert list(found) == [1, 2]
    np.testing.assert_array_equal(found[2][1], [[0.2], [0.4]])


def test_diverged_runs_are_left_out_and_counted(
    tmp_path: Path, write_results: WriteResults, plateau_of: Callable[..., Any]
) -> None:
    def curve(run: dict[str, Any]) -> tuple[Any, float]:
        loss = plateau_of(300, 900)
        if run["seed"] == 1:
            loss[50:] = np.nan
        return loss, 300.0

    configs = [{"seed": seed} for seed in range(3)]
    kept, text = whole_runs(write_results(tmp_path / "three", configs, curve))
    assert kept["seed"].tolist() == [0, 2]
    assert text == "2 seeds (1 diverged, left out)"
    assert whole_runs(write_results(tmp_path / "one", configs[:1], curve))[1] == "1 seed"
    assert whole_runs(write_results(tmp_path / "bad", configs[1:2], curve))[1] == "1 seed"


def test_the_end_of_phase_one_counts_runs_that_diverged_before_it_and_after_it(
    tmp_path: Path, write_results: WriteResults, plateau_of: Callable[..., Any]
) -> None:
    broken_at = {0: 50, 2: 850}  # one in phase one, one after it

    def curve(run: dict[str, Any]) -> tuple[Any, float]:
        loss = plateau_of(200 + 100 * run["seed"], 900)
        loss[broken_at.get(run["seed"], 900) :] = np.nan
        return loss, 300.0

    status = ["diverged" if seed in broken_at else "done" for seed in range(4)]
    configs = [{"seed": seed, "status": word} for seed, word in enumerate(status)]
    results = write_results(tmp_path, configs, curve)
    found = phase_end(results)
    assert (found.n, found.ended) == (4, 3)
    # lengths inf, 300, 400 and 500: half have ended at 400, of the runs that never diverged at 300;
    # the mean over 50 steps moves an end by 25 at most
    assert found.median == pytest.approx(400, abs=25)
    assert np.isinf(found.high)
    assert whole_runs(results)[1] == "2 seeds (2 diverged, left out)"


def test_a_setting_is_named_by_data_set_depth_and_width() -> None:
    runs = pd.DataFrame({"dataset": ["digits"], "depth": [9], "width": [128]})
    assert setting(runs) == "digits, depth 9, width 128"
    assert setting(runs.drop(columns="dataset").assign(width=None)) == "depth 9"


@pytest.mark.parametrize(("end", "side"), [(20.0, "left"), (700.0, "right")])
def test_the_end_of_phase_one_is_named_on_the_side_with_more_room(end: float, side: str) -> None:
    axes = style.new_figure(height=2).subplots()
    axes.set_xlim(0, 1000)
    name_end(axes, Survival(end, end - 5, end + 5, 0.0, 2, 2, 1000.0))
    (text,) = axes.texts
    assert text.get_horizontalalignment() == side
    assert f"{end:.0f} ({end - 5:.0f} to {end + 5:.0f})" in text.get_text()


def test_nothing_is_marked_where_half_of_the_runs_never_ended_and_the_title_counts_them() -> None:
    axes = style.new_figure(height=2).subplots()
    censored = Survival(np.inf, 700.0, np.inf, 900.0, 4, 1, 1000.0)
    mark_end(axes, censored)
    name_end(axes, censored)
    title_end(axes, censored)
    assert not axes.lines
    assert not axes.texts
    assert axes.get_title() == "phase one ended in 1 of 4 runs"
