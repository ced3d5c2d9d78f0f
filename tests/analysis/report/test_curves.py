"""What the interactive curves hold, against the tables."""

import json

import numpy as np
import pytest

from analysis.curves import matrix
from analysis.phases import with_phases
from analysis.report.conditions import grouped, name_runs
from analysis.report.curves import SweepCurves, quartiles, spread
from analysis.report.detail import Detail
from analysis.report.metrics import recorded
from tfc_jax.results import Results


def curves(results: Results) -> SweepCurves:
    groups = grouped(with_phases(results), name_runs(results.runs)[0])
    return SweepCurves(results, "depth", groups)


def test_quartiles_are_those_of_the_finite_values() -> None:
    values = np.random.default_rng(0).normal(size=(7, 5))
    values[2:, 1] = np.nan
    values[0, 3] = np.nan
    expected = np.nanquantile(values, [0.25, 0.5, 0.75], axis=0)
    assert np.allclose(quartiles(values), expected, rtol=1e-12)  # float64 arithmetic
    assert np.isnan(quartiles(np.full((3, 1), np.nan))).all()


def test_shown_steps_are_few_increasing_and_reach_both_ends() -> None:
    steps = np.arange(0, 3000, 3)
    shown = spread(steps, 60)
    assert len(shown) <= 60
    assert (np.diff(shown) > 0).all()
    assert (shown[0], shown[-1]) == (0, len(steps) - 1)
    assert (steps[shown] < 100).sum() > 10  # half of them are even in log step
    assert np.array_equal(spread(steps, 1000), np.arange(1000))


def test_curves_are_medians_of_the_table_by_condition_and_layer(
    figure_results: dict[str, Results],
) -> None:
    results = figure_results["depth"]
    found = curves(results).embedded(Detail(1000, 2, True))
    metric = next(m for m in found["metrics"] if m["name"] == "feature_cos_between")
    names = [condition["name"] for condition in found["conditions"]]
    at = names.index("depth 5")
    own = results.runs[results.runs["depth"] == 5].sort_values("seed")
    table = results.layers("depth == 5 and layer == 2", ["feature_cos_between"])
    steps, values = matrix(table, "feature_cos_between", list(own["run_id"]))
    assert metric["x"] == steps.tolist()
    # four digits are kept
    assert np.allclose(metric["median"][at][1], np.median(values, axis=0), rtol=1e-3)
    assert np.allclose(metric["runs"][at][1][1], values[1], rtol=1e-3)
    assert found["conditions"][at] == {
        "name": "depth 5",
        "runs": 5,
        "layers": [1, 2, 3, 4, 5],
        "middle": 3,
    }
    assert found["left_out"] == ["2 of up to 5 single runs of a condition, lowest seeds"]


def test_what_is_left_out_is_said(figure_results: dict[str, Results]) -> None:
    detail = Detail(20, 0, False, metrics=2, layers=3, conditions=4)
    found = curves(figure_results["depth"]).embedded(detail)
    assert [m["name"] for m in found["metrics"]] == ["loss", "feature_cos_between"]
    assert found["left_out"] == [
        "at most 20 of 900 recorded steps of a curve",
        "medians without quartiles",
        "0 of up to 5 single runs of a condition, lowest seeds",
        "4 of 5 conditions, evenly spaced",
        "at most 3 layers of a network, evenly spaced",
        "without grad_cos_between, grad_cos_within, feature_cos",
    ]
    assert all(len(m["x"]) <= 20 for m in found["metrics"])
    assert {len(c["layers"]) for c in found["conditions"]} == {3}


def test_the_estimate_of_a_size_is_near_what_is_written(
    figure_results: dict[str, Results],
) -> None:
    sweep = curves(figure_results["depth"])
    for detail in (Detail(200, 2, True), Detail(50, 0, False, layers=1)):
        written = len(json.dumps(sweep.embedded(detail), separators=(",", ":")))
        # names, steps and texts come on top of the numbers; short numbers take less
        assert written == pytest.approx(sweep.extent.size(detail), rel=0.5)


def test_keys_are_no_metrics_and_the_loss_comes_first(figure_results: dict[str, Results]) -> None:
    names = [metric.name for metric in recorded(figure_results["depth"])]
    assert names[0] == "loss"
    assert not {"run_id", "step", "layer"} & set(names)
