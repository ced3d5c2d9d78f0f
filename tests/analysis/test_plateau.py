"""Change of the middle layer's similarity over phase one."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from analysis.plateau import with_rise
from tfc_jax.results import Results

STEPS = [0, 100, 200, 300]  # further apart than the window of the mean, which so changes nothing


@dataclass
class Stored:
    """Records of one layer, as the reader gives them."""

    values: list[list[float]]
    recorded: bool = True

    def has(self, table: str, column: str) -> bool:
        return self.recorded

    def layers(self, where: str, columns: list[str]) -> pd.DataFrame:
        assert where == "depth == 9 and layer == 5"
        frames = [
            pd.DataFrame({"run_id": f"run{i}", "step": STEPS, columns[0]: row})
            for i, row in enumerate(self.values)
        ]
        return pd.concat(frames)


def rise(stored: Stored, **column: Any) -> pd.DataFrame:
    known = {"phase1_end": None, "diverged_at": None, **column}
    runs = pd.DataFrame({"run_id": ["run0"], "depth": [9], **{k: [v] for k, v in known.items()}})
    runs = runs.astype({"phase1_end": "Int64", "diverged_at": "Int64"})
    return with_rise(cast(Results, stored), runs)


def test_the_rise_is_read_at_the_last_record_before_the_end() -> None:
    run = rise(Stored([[0.5, 0.6, 0.8, 0.4]]), phase1_end=250).iloc[0]
    assert (run["cos_start"], run["cos_end"]) == (0.5, 0.8)
    np.testing.assert_allclose(run["cos_rise"], 0.3)  # a difference of float64


def test_a_phase_that_ends_before_the_second_record_has_no_rise() -> None:
    assert rise(Stored([[0.5, 0.6, 0.8, 0.4]]), phase1_end=99)["cos_rise"].iloc[0] == 0


def test_a_phase_that_did_not_end_is_read_at_the_last_record() -> None:
    assert rise(Stored([[0.5, 0.6, 0.8, 0.4]]))["cos_end"].iloc[0] == 0.4


def test_nothing_is_read_after_a_divergence() -> None:
    assert rise(Stored([[0.5, 0.6, 0.8, 0.4]]), diverged_at=150)["cos_end"].iloc[0] == 0.6


def test_without_records_there_is_no_rise() -> None:
    assert np.isnan(rise(Stored([[0.5] * 4], recorded=False))["cos_rise"].iloc[0])
