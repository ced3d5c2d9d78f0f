"""What probes saw: levels reached, layers counted from the last, runs without a look."""

from typing import Any, cast

import numpy as np
import pandas as pd

from analysis.looks import at_start, first_look, layer_looks, steps_to_loss, steps_to_trained
from tfc_jax.results import Results

RUNS = pd.DataFrame({"run_id": ["a", "b"], "depth": [3, 5], "prior_loss": [2.0, 4.0]})
STEPS = [0, 20, 40]


class Tables:
    """Of `Results` what is read here: a table, and a condition of depth and layer or of step 0."""

    def __init__(self, **tables: pd.DataFrame) -> None:
        self.tables = tables

    def table(self, name: str, where: str | None, columns: list[str]) -> pd.DataFrame:
        frame = self.tables[name].merge(RUNS)
        kept = frame.query(where) if where else frame
        keys = [key for key in ("run_id", "step", "layer") if key in kept.columns]
        return kept[[*keys, *columns]]


def results(**tables: pd.DataFrame) -> Results:
    return cast(Results, Tables(**tables))


def probe(**columns: Any) -> pd.DataFrame:
    return pd.concat(
        pd.DataFrame({"run_id": run, "step": STEPS, **{k: v[i] for k, v in columns.items()}})
        for i, run in enumerate(RUNS["run_id"])
    )


def test_the_first_look_counts_and_never_is_infinite() -> None:
    reached = np.array([[False, True, False], [False, False, False]])
    assert first_look(np.array(STEPS, dtype=float), reached).tolist() == [20, np.inf]


def test_a_network_is_trained_at_99_percent() -> None:
    seen = results(probe=probe(train_accuracy=[[0.5, 0.98, 0.99], [0.5, 0.6, 0.7]]))
    assert steps_to_trained(seen, RUNS).tolist() == [40, np.inf]


def test_a_loss_is_a_share_of_each_run_s_own_prior() -> None:
    seen = results(probe=probe(train_loss=[[2.0, 1.1, 0.9], [4.0, 1.9, 1.0]]))
    assert steps_to_loss(seen, RUNS, 0.5).tolist() == [40, 20]


def test_minus_one_is_the_last_hidden_layer_of_each_depth() -> None:
    rows = [
        {"run_id": run, "step": step, "layer": layer, "rank": 10.0 * layer + step}
        for run, depth in zip(RUNS["run_id"], RUNS["depth"], strict=True)
        for step in STEPS
        for layer in range(1, depth + 1)
    ]
    seen = results(probe_layers=pd.DataFrame(rows))
    steps, rank = layer_looks(seen, RUNS, "rank", -1)
    assert steps.tolist() == STEPS
    assert rank.tolist() == [[20, 40, 60], [40, 60, 80]]
    assert layer_looks(seen, RUNS, "rank", 1)[1].tolist() == [[10, 30, 50], [10, 30, 50]]


def test_a_run_without_a_look_has_no_start() -> None:
    only_first = probe(v3_raw=[[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]]).query("run_id == 'a'")
    start = at_start(results(probe=only_first), RUNS, ["v3_raw"])["v3_raw"]
    assert start.iloc[0] == 0.1
    assert np.isnan(start.iloc[1])
