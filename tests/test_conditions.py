"""Every architecture, data set, initialisation and intervention: from YAML through to Parquet."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.sweeps import make_sweep, read_rows, train
from tfc_jax import data, registry, worker
from tfc_jax.hyper import Hyper
from tfc_jax.keys import INTERVENTIONS, KEYS, Run
from tfc_jax.network import Network
from tfc_jax.results import Results, open_results
from tfc_jax.schema import result_columns
from tfc_jax.train import Trainer

pytestmark = pytest.mark.slow

STEPS, AT = 30, 12
ALL = {"every": 10, "probe_every": 15, "probe_samples": 60, "metrics": "all", "probes": "all"}
FEW = ALL | {"metrics": ["norms", "similarity"], "probes": ["generalization"]}
ONE_RUN: dict[str, list[Any]] = {"seed": [3]}
# What a data set needs besides its name; image sets that are prepared first are in tests/data.
DATASETS: dict[str, dict[str, Any]] = {
    "digits": {},
    "checkerboard": {"difficulty": 2},
    "gaussian_blobs": {"difficulty": 0.3},
    "single_index": {"loss": "mse", "difficulty": 2},
    "sine_mixture": {"loss": "mse"},
}
INITS = [name.strip() for name in KEYS["init"].allowed.split(",")]
STRUCTURED = {"dataset": "sine_mixture", "loss": "mse", "bias": True}
VALUES = {"rescale": 0.5, "enable_momentum": 0.9}


@pytest.fixture(autouse=True, scope="module")
def quickly_compiled() -> Iterator[None]:
    """Saves a third of the time: no test here asks how fast, or to which bits, a run trains.

    Nor do programs compiled so serve others afterwards.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    worker.compiled_program.cache_clear()
    jax.clear_caches()


def trained(
    folder: Path, base: Mapping[str, Any], record: Mapping[str, Any], **sections: Any
) -> Results:
    """Writes a sweep, reads it, trains it, and opens what came out."""
    keys = {"depth": 4, "width": 8, "steps": STEPS, "n_train": 200, "batch_size": 20} | dict(base)
    sweep = make_sweep(folder, base=keys, record=record, **{"grid": ONE_RUN} | sections)
    outcome = train(sweep, folder / "out", width=None)
    assert outcome == {"done": len(sweep.runs)}
    return open_results(folder / "out")


def check_rows(results: Results, record: Mapping[str, Any]) -> None:
    """Every step, measured step, layer and probe is there once, and what was trained is counted."""
    n_measured, n_looks = STEPS // record["every"], STEPS // record["probe_every"] + 1
    for run in results.runs.to_dict("records"):
        run_id, depth = run["run_id"], run["depth"]
        rows = {t: results.table(t, f'run_id == "{run_id}"') for t in ("steps", "layers", "probe")}
        assert len(rows["steps"]) == STEPS
        assert len(rows["layers"]) == n_measured * depth
        assert len(rows["probe"]) == n_looks
        assert np.isfinite(rows["steps"]["loss"]).all()
        assert rows["layers"]["layer"].tolist() == list(range(1, depth + 1)) * n_measured
        assert np.isfinite(rows["layers"]["feature_norm"]).all()
        assert run["n_params"] == sum(w.size for w in results.params(run_id).values())


@pytest.mark.parametrize("name", registry.names("models"))
def test_every_architecture_trains_and_is_measured_by_every_family(
    name: str, tmp_path: Path
) -> None:
    example = registry.module("models", name).EXAMPLE
    results = trained(tmp_path, example | {"architecture": name}, ALL)
    check_rows(results, ALL)
    run = Run(**{k: KEYS[k].checked(v) for k, v in example.items()} | {"architecture": name})
    check_nulls(tmp_path / "out", run)


def check_nulls(out: Path, run: Run) -> None:
    """A column is null on all rows of a layer, or on none, and never where the network has it."""
    network = Network.of(run, data.load("digits"))
    net = Trainer(network, has_momentum=False, metrics=()).net
    taps = net.zero_taps(jnp.zeros((2, 64)))
    layers = read_rows(out / "layers").to_pandas()
    tapped = [layer for layer, tap in enumerate(net.linear_names, start=1) if tap in taps]
    on_some = {
        "delta_norm": tapped,
        "cancellation": net.dense,
        "weight_grad_cos": net.dense,
        "common_feature_alignment": net.dense,
        "euler_gap": range(1, run.depth + 1) if network.architecture.euler_holds(run) else (),
    }
    declared = pq.read_schema(next((out / "layers").glob("*.parquet"))).names[3:]
    for column in declared:
        known = layers[column].notna().groupby(layers["layer"]).any()
        expected = on_some.get(column, range(1, run.depth + 1))
        assert known[known].index.tolist() == list(expected), column


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_that_needs_no_file_trains(name: str, tmp_path: Path) -> None:
    results = trained(tmp_path, DATASETS[name] | {"dataset": name}, FEW)
    check_rows(results, FEW)
    is_regression = DATASETS[name].get("loss") == "mse"
    assert results.steps()["accuracy"].isna().all() == is_regression


def test_no_data_set_is_left_out() -> None:
    built_in = {state.name for state in data.state() if state.where.startswith(("built", "embed"))}
    assert built_in == set(DATASETS)


@pytest.mark.parametrize("init", INITS)
def test_every_initialisation_trains(init: str, tmp_path: Path) -> None:
    base = {"init": init} | (STRUCTURED if init == "structured" else {})
    check_rows(trained(tmp_path, base, FEW), FEW)


def test_initialisations_differ_at_step_0(tmp_path: Path) -> None:
    schemes = [init for init in INITS if init != "structured"]
    results = trained(tmp_path, {"n_train": 200}, FEW, grid={"init": schemes})
    norms = results.layers("layer == 1 and step == 0", ["weight_norm"])["weight_norm"]
    assert norms.nunique() == len(schemes)


def test_every_intervention_trains_from_the_same_past(tmp_path: Path) -> None:
    arms = {
        "intervention": list(INTERVENTIONS),
        "intervene_value": [VALUES.get(name) for name in INTERVENTIONS],
    }
    record = FEW | {"every": 1}
    results = trained(tmp_path, {"intervene_at": AT}, record, grid=ONE_RUN, zip=[arms])
    check_rows(results, record)
    assert results.runs["program"].nunique() == 1
    config = ["intervention"]
    layers = results.layers(config=config).drop(columns="run_id")
    before, after = layers[layers["step"] < AT], layers[layers["step"] >= AT]
    arm = {name: rows.drop(columns=config) for name, rows in before.groupby("intervention")}
    for name in INTERVENTIONS:
        assert arm[name].reset_index(drop=True).equals(arm["none"].reset_index(drop=True)), name
    control = _values(after, "none")
    changed = {name for name in INTERVENTIONS if not np.array_equal(_values(after, name), control)}
    # Nothing is dead in so wide and young a network.
    assert changed >= set(INTERVENTIONS) - {"none", "reinit_dead"}


def _values(rows: pd.DataFrame, intervention: str) -> np.ndarray:
    kept = rows[rows["intervention"] == intervention].drop(columns="intervention")
    return kept.to_numpy(dtype=float)


def test_a_family_of_equal_parameters_stores_what_was_built(tmp_path: Path) -> None:
    grid = {"depth": [2, 4, 6]}
    base = {"dataset": "checkerboard", "target_params": 500, "width": 128}
    results = trained(tmp_path, base, FEW, grid=grid)
    check_rows(results, FEW)
    runs = results.runs.set_index("depth")
    assert runs["built_width"].is_monotonic_decreasing
    for depth, run in runs.iterrows():
        width = run["built_width"]
        assert run["n_params"] == 2 * width + (depth - 2) * width**2 + 2 * width
        assert abs(run["n_params"] - 500) / 500 < 0.1


def test_fourier_features_are_an_input_of_their_own(tmp_path: Path) -> None:
    base = {"dataset": "sine_mixture", "loss": "mse", "fourier_features": 9}
    results = trained(tmp_path, base, FEW)
    check_rows(results, FEW)
    weights = results.params(results.runs["run_id"][0])
    assert weights["layers/0/kernel"].shape == (18, 8)


def test_what_a_sweep_can_record_is_described(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, record=ALL)
    columns = [c for group in result_columns(sweep.record).values() for c in group]
    assert len({c.name for c in columns}) == len(columns)
    assert all(c.unit and c.meaning for c in columns)
    assert set(vars(Hyper.of(Run()))) <= set(KEYS)
