"""The numbers of the figure of theory and training."""

import numpy as np
import pandas as pd
import pytest

from analysis.figures.theory_strip import at_step, wide_limit
from tfc_jax.theory import relu_cosine


def test_the_wide_limit_starts_as_given_and_follows_the_map() -> None:
    mean, _ = wide_limit(float(relu_cosine(0.0)), 8, 64)
    # SCIENCE section 4, from 0: layers 1, 2, 4, 8
    assert mean[[0, 1, 3, 7]] == pytest.approx([0.318310, 0.493731, 0.680954, 0.834416], abs=2e-6)


def test_deviations_are_those_of_random_networks() -> None:
    rng, n_runs, width, depth = np.random.default_rng(0), 2000, 128, 4
    x = np.array([[1.0, 0.0], [0.6, 0.8]])
    h = np.broadcast_to(x, (n_runs, 2, 2))
    found = []
    for _ in range(depth):
        weights = rng.normal(0, np.sqrt(2 / h.shape[2]), (n_runs, h.shape[2], width))
        h = np.maximum(h @ weights, 0)
        one, other = h[:, 0], h[:, 1]
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        found.append(np.sum(one * other, axis=1) / norms)
    mean, sd = wide_limit(float(relu_cosine(0.6)), depth, width)
    # a sample's standard deviation is off by 1/sqrt(2R), the first order by some depth/width
    tolerance = 4 / np.sqrt(2 * n_runs) + 4 * depth / width
    assert np.std(found, axis=1) == pytest.approx(sd, rel=tolerance)
    assert np.mean(found, axis=1) == pytest.approx(mean, abs=0.02)


def test_values_are_those_of_the_last_record_not_after_the_step() -> None:
    rows = [(run, step, layer) for run in "ab" for step in (0, 20, 40) for layer in (1, 2)]
    frame = pd.DataFrame(rows, columns=["run_id", "step", "layer"])
    frame["feature_cos"] = frame["step"] + frame["layer"] / 10
    runs = pd.DataFrame({"run_id": ["b", "a"]})
    values = at_step(frame, runs, pd.Series([39.0, 1e9]))
    assert values.tolist() == [[20.1, 20.2], [40.1, 40.2]]
