"""A replay sees every value, null and weight; all versions that trained a pack are kept."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.sweeps import CPU, make_sweep, train
from tfc_jax.layout import Folder
from tfc_jax.replay import _column, _differences, replay
from tfc_jax.results import open_results
from tfc_jax.tables import write_parquet
from tfc_jax.worker import _trained_by


@pytest.mark.slow
def test_a_replay_differs_nowhere_until_a_weight_or_a_loss_is_altered(tmp_path: Path) -> None:
    train(make_sweep(tmp_path, grid={}, seeds=2), tmp_path / "out")
    run = open_results(tmp_path / "out").runs.iloc[0]
    folder = Folder(tmp_path / "out")
    clean = replay(folder, run["run_id"][:6], CPU)
    assert (clean.differing, clean.run_id) == (0, run["run_id"])
    assert clean.values > 3 * 60 + run["n_params"]

    weights = folder.params / f"{run['pack']}.npz"
    arrays = dict(np.load(weights))
    arrays["layers/0/kernel"][int(run["lane"]), 0, 0] += 1
    np.savez(weights, **arrays)
    part = folder.parts_of("steps", run["pack"])[0]
    table = pq.read_table(part, partitioning=None)
    losses = table["loss"].to_numpy().copy()
    losses[table["run_id"].to_numpy(zero_copy_only=False) == run["run_id"]] *= 1.5
    write_parquet(table.set_column(2, "loss", pa.array(losses, pa.float32())), part)
    altered = replay(folder, run["run_id"], CPU)
    assert altered.differing == 60 + 1
    assert {w.split(":")[0] for w in altered.where} == {"steps.loss", "params/layers/0/kernel"}


def test_null_is_not_nan_and_signs_of_zero_count() -> None:
    nulls, nans = (pa.chunked_array([pa.array([v, 1.0], pa.float32())]) for v in (None, np.nan))
    assert _differences(_column(nulls), _column(nulls)) == (2, 0, 0.0)
    assert _differences(_column(nans), _column(nans)) == (2, 0, 0.0)
    assert _differences(_column(nulls), _column(nans))[1] == 1
    zeros = np.array([0.0, 0.0], np.float32), np.array([-0.0, 0.0], np.float32)
    assert _differences(_column(zeros[0]), _column(zeros[1])) == (2, 1, 0.0)
    assert _differences(_column(zeros[0]), _column(zeros[0][:1]))[1] == 2


def test_a_pack_resumed_under_another_version_names_both() -> None:
    now = {"tfc_version": "0.1.0", "jax_version": "0.11.0", "device_kind": "cpu", "program": "p"}
    stored: dict[str, list[str | None]] = {
        "tfc_version": ["0.1.0"],
        "jax_version": ["0.10.2"],
        "device_kind": [None],
    }
    assert _trained_by(now, stored) == {
        "tfc_version": "0.1.0",
        "jax_version": "0.10.2; 0.11.0",
        "device_kind": "cpu",
    }
    assert _trained_by(now, {}) == {k: v for k, v in now.items() if k != "program"}
