"""Counts of cases and of flags."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.evidence import Cells
from analysis.evidence.counts import share
from analysis.evidence.diagnosis import exist
from tfc_jax.errors import InputError

MakeCells = Callable[..., Cells]


def test_no_case_of_none_is_unknown() -> None:
    assert np.isnan(share(0, 0, "").effect)
    # rule of three, exactly: 1 - 0.025^(1/10)
    assert share(0, 10, "").high == pytest.approx(1 - 0.025 ** (1 / 10))


def test_runs_with_one_flag_and_not_the_other_are_counted(make_cells: MakeCells) -> None:
    rows = [
        {"flag_feature_collapse": a, "flag_vanishing": b}
        for a, b in [(True, False), (True, True), (False, False), (True, None)]
    ]
    cells = make_cells({"here": rows, "there": [rows[0]]})
    found = exist(cells, ["feature_collapse"], ["vanishing"])
    assert (found.n, found.effect) == (4, 0.5)  # unknown flags are no cases
    assert found.detail == "2 of 4; 1 in here, 1 in there"


def test_a_flag_that_is_not_stored_is_an_error(make_cells: MakeCells) -> None:
    cells = make_cells({"here": [{"flag_dead": False}]})
    object.__setattr__(cells.results, "path", "results/x")
    with pytest.raises(InputError, match="results/x: the analysis has no flag_vanishing"):
        exist(cells, ["dead"], ["vanishing"])


def test_flags_of_nullable_columns_are_read(make_cells: MakeCells) -> None:
    cells = make_cells({"here": [{"flag_dead": True}] * 3})
    for frame in cells.runs.values():
        frame["flag_dead"] = pd.array([True, False, None], dtype="boolean")
    assert exist(cells, ["dead"]).effect == 0.5
