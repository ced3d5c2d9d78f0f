"""What the class film holds, against the table."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.report.film import Film, has_film
from tfc_jax.results import Results, open_results

CLASSES, STEPS = 3, range(0, 100, 10)


@pytest.fixture
def filmed(tmp_path: Path, write_results: Any, plateau_of: Any) -> Results:
    """Three seeds of depth 2, whose cosine is step / 1000 + layer / 10 + seed / 1e4 + a b / 1e2."""
    configs = [{"depth": 2, "seed": seed} for seed in range(3)]
    results = write_results(tmp_path, configs, lambda run: (plateau_of(50, 400), 50.0))
    assert not has_film(results)
    names = ["step", "layer", "class_a", "class_b"]
    levels = [STEPS, (1, 2), range(CLASSES), range(CLASSES)]
    frames = []
    for run_id, seed in zip(results.runs["run_id"], results.runs["seed"], strict=True):
        grid = pd.MultiIndex.from_product(levels, names=names).to_frame(index=False)
        cosine = grid["step"] / 1000 + grid["layer"] / 10 + seed / 1e4
        cosine += grid["class_a"] * grid["class_b"] / 100
        frames.append(grid.assign(run_id=run_id, class_cos=cosine))
    path = tmp_path / "classes" / f"{'0' * 12}-000000000-000000100.parquet"
    path.parent.mkdir()
    pq.write_table(pa.Table.from_pandas(pd.concat(frames), preserve_index=False), path)
    return open_results(tmp_path)


def test_frames_are_the_upper_triangles_of_the_table(filmed: Results) -> None:
    assert has_film(filmed)
    found = Film(filmed, "x", {"all runs": filmed.runs}).embedded(1e6)
    assert found
    median, single = found["reels"]
    assert (median["label"], single["label"]) == ("median of 3 runs", "seed 0")
    assert found["steps"] == list(STEPS)
    frame = median["pairs"][3][1]  # step 30, layer 2: 0.03 + 0.2 + 0.0001 + a b / 100
    products = np.array([0, 0, 0, 1, 2, 4]) / 100  # 00 01 02 11 12 22
    assert np.allclose(frame, 0.2301 + products, rtol=1e-3)  # four digits are kept
    assert np.allclose(single["pairs"][3][1], 0.23 + products, rtol=1e-3)
    assert found["left_out"] == []


def test_a_small_budget_thins_the_frames_and_says_so(filmed: Results) -> None:
    found = Film(filmed, "x", {"all runs": filmed.runs}).embedded(1000)
    assert found
    assert len(found["steps"]) < len(STEPS)
    assert found["left_out"] == [f"{len(found['steps'])} of 10 recorded steps"]
    assert len(found["reels"][0]["pairs"]) == len(found["steps"])
