"""Each flag on planted runs: on both sides of its threshold, and where its columns are missing."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.curves import matrix
from analysis.diagnosis import FLAGS, Thresholds, columns, diagnose
from analysis.figures.diagnosis import he_matched
from analysis.phases import analyse, thresholds
from tfc_jax.results import Results, open_results

PACK = "0" * 12
DEPTH, BATCH = 5, 100
MIDDLE, LAST_HIDDEN = 3, 4
SLOPE = np.log10(np.sqrt(2) / 0.8)  # of the defaults: Xavier times 0.8, ReLU
HEALTHY: dict[str, Any] = {
    "feature_norm": 1.0,
    "dead_units": 0.1,
    "dead_samples": 0.0,
    "delta_norm": lambda layer, step: 10 ** (0.05 * layer),
    "feature_cos_between": 0.8,
    "cancellation": 0.3,
    "grad_norm": 1.0,
    "weight_norm": 1.0,
    "feature_cos_within_centered": 0.5,
    "feature_cos_between_centered": -0.05,
}
Diagnosed = Callable[..., pd.Series]


def layer_records(planted: Mapping[str, Any], steps: range) -> pd.DataFrame:
    """Records of layers 1..DEPTH: each column a number, or a function of layer and step."""
    rows = [(layer, step) for step in steps for layer in range(1, DEPTH + 1)]
    values = {
        name: [float(plant(*row)) if callable(plant) else plant for row in rows]
        for name, plant in {**HEALTHY, **planted}.items()
    }
    return pd.DataFrame(rows, columns=["layer", "step"]).assign(run_id="0" * 12, **values)


@pytest.fixture
def planted(write_results: Any, plateau_of: Any, tmp_path: Path) -> Callable[..., Results]:
    """Writes one run whose phase one ends near step 400, with planted layer records."""

    def write(
        *absent: str, loss: Any = None, config: Mapping[str, Any] | None = None, **layers: Any
    ) -> Results:
        curve = plateau_of(400, 900) if loss is None else loss
        write_results(tmp_path, [config or {}], lambda run: (curve, 0.0), layers=False)
        frame = layer_records(layers, range(0, len(curve), 10)).drop(columns=list(absent))
        (tmp_path / "layers").mkdir(exist_ok=True)
        path = tmp_path / "layers" / f"{PACK}-000000000-{len(curve):09d}.parquet"
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
        return open_results(tmp_path)

    return write


@pytest.fixture
def diagnosed(planted: Callable[..., Results]) -> Diagnosed:
    """The analysis of one planted run."""
    return lambda *absent, **layers: analyse(planted(*absent, **layers)).iloc[0]


def flags(row: pd.Series) -> set[str]:
    values = {name: row[f"flag_{name}"] for name in FLAGS}
    return {name for name, value in values.items() if pd.notna(value) and value}


def test_a_healthy_run_waits_and_learns_and_has_no_other_flag(diagnosed: Diagnosed) -> None:
    row = diagnosed()
    assert row["diagnosis"] == "plateau+learned"
    assert 190 < row["diagnosed_step"] < 210
    assert row["delta_slope"] == pytest.approx(0.05)
    assert row["delta_slope_excess"] == pytest.approx(0.05 - SLOPE)


def at_layer(layer: int, value: float, otherwise: float) -> Callable[[int, int], float]:
    return lambda at, step: value if at == layer else otherwise


def after(start: int, value: float, otherwise: float) -> Callable[[int, int], float]:
    return lambda layer, step: value if step >= start else otherwise


SIDES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "underflow",
        {"feature_norm": at_layer(2, 0.9e-18, 1.0)},
        {"feature_norm": at_layer(2, 1.1e-18, 1.0)},
    ),
    ("dead", {"dead_units": at_layer(4, 0.99, 0.1)}, {"dead_units": at_layer(4, 0.98, 0.1)}),
    ("dead", {"dead_samples": at_layer(1, 0.5, 0.0)}, {"dead_samples": at_layer(1, 0.49, 0.0)}),
    (
        "vanishing",
        {"delta_norm": lambda layer, step: 10 ** (0.11 * layer)},
        {"delta_norm": lambda layer, step: 10 ** (0.09 * layer)},
    ),
    (
        "feature_collapse",
        {"feature_cos_between": after(100, 0.86, 0.83)},
        {"feature_cos_between": after(100, 0.84, 0.81)},
    ),
    (
        "feature_collapse",
        {"feature_cos_between": after(100, 0.93, 0.90)},
        {"feature_cos_between": after(100, 0.91, 0.90)},
    ),
    ("cancelling", {"cancellation": 0.9 / BATCH}, {"cancellation": 1.1 / BATCH}),
    # learning_rate 0.02, |g_i| = grad_norm / sqrt(cancellation) = 20 grad_norm, |W| = 1
    (
        "cancelling",
        {"cancellation": 0.0025, "grad_norm": 2.6e-7},
        {"cancellation": 0.0025, "grad_norm": 2.4e-7},
    ),
    (
        "neural_collapse",
        {"feature_cos_within_centered": 0.96},
        {"feature_cos_within_centered": 0.94},
    ),
    (
        "neural_collapse",
        {"feature_cos_within_centered": 0.96, "feature_cos_between_centered": -0.01},
        {"feature_cos_within_centered": 0.96, "feature_cos_between_centered": 0.01},
    ),
]


@pytest.mark.parametrize(("name", "beyond", "short"), SIDES)
def test_a_flag_is_set_beyond_its_threshold_and_alone(
    diagnosed: Diagnosed, name: str, beyond: dict[str, Any], short: dict[str, Any]
) -> None:
    config = {"final_train_accuracy": 0.995}
    usual = {"plateau", "learned"}
    assert flags(diagnosed(config=config, **beyond)) == usual | {name}
    assert flags(diagnosed(config=config, **short)) == usual


def test_neural_collapse_needs_the_training_samples_learned(diagnosed: Diagnosed) -> None:
    row = diagnosed(config={"final_train_accuracy": 0.98}, feature_cos_within_centered=0.96)
    assert "neural_collapse" not in flags(row)


def test_neural_collapse_is_judged_at_the_end_and_in_the_last_hidden_layer(
    diagnosed: Diagnosed,
) -> None:
    def late(layer: int, step: int) -> float:
        return 0.96 if layer == LAST_HIDDEN and step > 850 else 0.1

    row = diagnosed(config={"final_train_accuracy": 0.995}, feature_cos_within_centered=late)
    assert row["end_cos_within"] == pytest.approx(0.96)
    assert "neural_collapse" in flags(row)


def test_logits_do_not_count(diagnosed: Diagnosed) -> None:
    assert flags(diagnosed(feature_norm=at_layer(DEPTH, 0.0, 1.0))) == {"plateau", "learned"}


def test_collapse_is_judged_in_the_middle_layer(diagnosed: Diagnosed) -> None:
    def rising(layer: int, step: int) -> float:
        return 0.8 + 0.1 * (layer == MIDDLE and step > 100)

    assert diagnosed(feature_cos_between=rising)["middle_cos_between"] == pytest.approx(0.9)


def test_a_collapse_before_or_after_the_middle_of_phase_one_is_not_seen(
    diagnosed: Diagnosed,
) -> None:
    def bump(layer: int, step: int) -> float:
        return 0.95 if step in range(50, 150) or step > 260 else 0.8

    assert "feature_collapse" not in flags(diagnosed(feature_cos_between=bump))


def test_a_run_that_never_ends_is_judged_in_its_own_middle(
    diagnosed: Diagnosed, plateau_of: Any
) -> None:
    row = diagnosed(loss=plateau_of(1e9, 700), feature_cos_between=after(300, 0.9, 0.8))
    assert row["diagnosed_step"] == 350
    assert row["diagnosis"] == "feature_collapse+plateau"
    assert row["end_gain"] == pytest.approx(0, abs=0.01)


def test_a_diverged_run_is_judged_in_the_middle_of_what_came_before(
    diagnosed: Diagnosed, plateau_of: Any
) -> None:
    loss = plateau_of(1e9, 700)
    loss[300:] = np.nan
    row = diagnosed(loss=loss, feature_norm=after(300, np.nan, 2.0))
    assert row["diagnosed_step"] == 150
    assert row["least_feature_norm"] == pytest.approx(2.0)
    assert row["diagnosis"] == "diverged+plateau"


def test_a_loss_far_below_the_prior_halfway_is_no_plateau(diagnosed: Diagnosed) -> None:
    prior = np.log(10)
    row = diagnosed(loss=np.repeat([0.9 * prior, prior, 0.5], [300, 100, 500]))
    assert "plateau" not in flags(row)


@pytest.mark.parametrize(("last", "learned"), [(0.49, True), (0.51, False)])
def test_learned_means_half_of_what_can_be_gained(
    diagnosed: Diagnosed, last: float, learned: bool
) -> None:
    prior, bayes = np.log(10), 1.0
    loss = np.repeat([prior, bayes + last * (prior - bayes)], [300, 400])
    row = diagnosed(loss=loss, config={"bayes_loss": bayes})
    assert ("learned" in flags(row)) is learned


def test_values_in_the_middle_are_means_over_fifty_steps(diagnosed: Diagnosed) -> None:
    row = diagnosed(feature_cos_between=lambda layer, step: step / 1000)
    # records every ten steps, so that the centre is within five steps of the middle and the mean
    # of [t - 25, t + 25) is that of t - 20 ... t + 20
    assert row["middle_cos_between"] == pytest.approx(row["diagnosed_step"] / 1000, abs=0.006)


@pytest.mark.parametrize(
    ("init", "scale", "activation", "norm", "expected"),
    [
        ("xavier_normal", 1.0, "relu", "none", np.log10(2) / 2),
        ("he_normal", 1.0, "relu", "none", 0.0),
        ("torch_default", 1.0, "relu", "none", np.log10(6) / 2),
        ("xavier_normal", 1.0, "abs", "none", 0.0),
        ("xavier_normal", 0.5, "identity", "none", np.log10(2)),
        ("xavier_normal", 1.0, "tanh", "none", np.nan),
        ("xavier_normal", 1.0, "relu", "batch", np.nan),
    ],
)
def test_the_excess_is_over_what_the_initialisation_predicts(
    diagnosed: Diagnosed, init: str, scale: float, activation: str, norm: str, expected: float
) -> None:
    config = {"init": init, "init_scale": scale, "activation": activation, "norm": norm}
    row = diagnosed(config=config)
    assert row["delta_slope_excess"] == pytest.approx(0.05 - expected, nan_ok=True)


def test_a_gradient_that_underflowed_to_zero_counts_as_vanishing(diagnosed: Diagnosed) -> None:
    row = diagnosed(delta_norm=lambda layer, step: 0.0 if layer == 1 else 1.0)
    assert "vanishing" in flags(row)
    assert np.isfinite(row["delta_slope"])


NEEDS = {
    "underflow": "feature_norm",
    "dead": "dead_units",
    "vanishing": "delta_norm",
    "feature_collapse": "feature_cos_between",
    "cancelling": "cancellation",
    "neural_collapse": "feature_cos_within_centered",
}


@pytest.mark.parametrize(("name", "column"), NEEDS.items())
def test_a_flag_is_null_where_its_column_is_missing_and_the_others_stay(
    diagnosed: Diagnosed, name: str, column: str
) -> None:
    config = {"final_train_accuracy": 0.995}
    row = diagnosed(column, config=config)
    null = {flag for flag in FLAGS if pd.isna(row[f"flag_{flag}"])}
    assert null == {name}
    assert row["diagnosis"] == "plateau+learned"


def test_a_column_that_is_null_in_all_layers_counts_as_missing(diagnosed: Diagnosed) -> None:
    row = diagnosed(delta_norm=np.nan)
    assert pd.isna(row["flag_vanishing"])


def test_without_layer_records_there_is_no_diagnosis_but_the_loss_still_tells(
    write_results: Any, plateau_of: Any, tmp_path: Path
) -> None:
    write_results(tmp_path, [{}], lambda run: (plateau_of(300, 900), 0.0), layers=False)
    row = analyse(open_results(tmp_path)).iloc[0]
    assert pd.isna(row["diagnosis"])
    assert flags(row) == {"plateau", "learned"}


def test_dead_units_alone_tell_of_death_where_samples_are_not_counted(diagnosed: Diagnosed) -> None:
    row = diagnosed("dead_samples", dead_units=1.0)
    assert "dead" in flags(row)


def test_thresholds_can_be_moved_and_the_columns_say_so(planted: Any, plateau_of: Any) -> None:
    results = planted(delta_norm=lambda layer, step: 10 ** (0.15 * layer))
    runs = results.runs.merge(analyse(results)[["run_id", *PHASE_COLUMNS]], on="run_id")
    _, loss_RxT = matrix(results.steps(columns=["loss"]), "loss", runs["run_id"].tolist())
    for at, expected in ((Thresholds(), True), (Thresholds(vanishing=0.2), False)):
        frame = diagnose(results, runs, loss_RxT, thresholds(runs, 0.99), at)
        assert frame["flag_vanishing"].tolist() == [expected]
    (meaning,) = [
        c.meaning for c in columns(Thresholds(vanishing=0.2)) if c.name == "flag_vanishing"
    ]
    assert meaning == "delta_slope > 0.2"


PHASE_COLUMNS = ("phase1_end", "diverged", "diverged_at", "horizon", "middle_cos_between_start")


def test_runs_are_he_matched_where_initialisation_predicts_no_slope() -> None:
    runs = pd.DataFrame({"delta_slope": [0.1, 0.1, 0.1], "delta_slope_excess": [0.1, 0.0, np.nan]})
    assert he_matched(runs).tolist() == [True, False, False]
