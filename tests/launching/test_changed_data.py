"""A launch and the content of its data set."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.sweeps import make_sweep, read_rows, train
from tfc_jax.errors import InputError
from tfc_jax.results import open_results

DONE = Counter(done=6)


def write_line(path: Path, slope: float) -> None:
    x = np.linspace(-1, 1, 30, dtype=np.float32)[:, None]
    np.savez(path, x_train=x, y_train=slope * x, x_test=x, y_test=slope * x)


def test_another_content_of_a_data_set_is_refused(tmp_path: Path) -> None:
    write_line(tmp_path / "line.npz", 1.0)
    base = {"dataset": f"npz:{tmp_path}/line.npz", "loss": "mse", "n_train": None, "steps": 20}
    sweep = make_sweep(tmp_path, base=base)
    assert train(sweep, tmp_path / "out") == DONE
    write_line(tmp_path / "line.npz", 2.0)
    with pytest.raises(InputError, match="its content is not what pack"):
        train(make_sweep(tmp_path, base=base | {"steps": 40}), tmp_path / "out")


def test_a_regression_has_null_accuracy_in_all_its_tables(tmp_path: Path) -> None:
    write_line(tmp_path / "line.npz", 1.0)
    base = {"dataset": f"npz:{tmp_path}/line.npz", "loss": "mse", "n_train": None, "steps": 20}
    assert train(make_sweep(tmp_path, base=base), tmp_path / "out") == DONE
    steps = read_rows(tmp_path / "out" / "steps")
    assert steps["accuracy"].null_count == steps.num_rows == 6 * 20
    assert steps["loss"].null_count == 0
    assert open_results(tmp_path / "out").runs["final_accuracy"].isna().all()
