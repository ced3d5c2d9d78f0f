"""All probes in one sweep, from the network to the rows of the result tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.sweeps import make_sweep, read_rows, train
from tfc_jax import registry
from tfc_jax.schema import PROBE_TABLES, Column

L, H, K, N = 4, 16, 10, 64
LOOKS = [0, 20, 40]
RECORD = {"metrics": [], "probes": "all", "probe_every": 20, "probe_samples": N}
BASE = {"depth": L, "width": H, "steps": 40}
Tables = dict[str, pa.Table]

pytestmark = pytest.mark.slow  # all probes compile, for two programs


def declared(table: str) -> list[Column]:
    columns = [
        c for name in registry.names("probes") for c in registry.module("probes", name).COLUMNS
    ]
    return [column for column in columns if column.table == table]


def trained(folder: Path, **base: Any) -> Tables:
    sweep = make_sweep(folder, base=BASE | base, grid={}, seeds=2, record=RECORD)
    assert train(sweep, folder / "out", width=2)["done"] == 2
    present = [t for t in PROBE_TABLES if (folder / "out" / t).is_dir()]
    return {table: read_rows(folder / "out" / table) for table in present}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Two runs of four layers on ten classes, looked at three times."""
    return trained(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The same on a regression with one input, which the network reads as Fourier features."""
    folder = tmp_path_factory.mktemp("line")
    x = np.linspace(-1, 1, 200, dtype=np.float32)[:, None]
    y = np.sin(3 * x[:, 0])
    np.savez(folder / "line.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    changed = {"dataset": f"npz:{folder}/line.npz", "scaling": "none", "loss": "mse"}
    return trained(folder, n_train=None, fourier_features=3, **changed)


def nulls(table: pa.Table) -> set[str]:
    """Names of the columns that are null everywhere; no column is null in places."""
    counts = {name: table.column(name).null_count for name in table.column_names}
    assert set(counts.values()) <= {0, table.num_rows}
    return {name for name, count in counts.items() if count}


def test_every_table_has_its_rows_and_columns(digits: Tables) -> None:
    per_look = {"probe": 1, "probe_layers": L, "classes": L * K**2, "features": H * 2 * K}
    assert set(digits) == set(PROBE_TABLES)
    for name, table in digits.items():
        assert table.num_rows == 2 * len(LOOKS) * per_look[name]
        assert {c.name for c in declared(name)} <= set(table.column_names)
        assert sorted(set(table["step"].to_pylist())) == LOOKS


def test_what_is_not_defined_for_digits_is_null(digits: Tables) -> None:
    assert nulls(digits["probe"]) == {"v3_raw", "v3_std"}  # 64 inputs
    integrals = {c.name for c in declared("probe_layers") if "integral" in c.name}
    assert nulls(digits["probe_layers"]) == integrals
    assert nulls(digits["classes"]) == nulls(digits["features"]) == set()


def test_what_is_not_defined_for_a_regression_is_null(line: Tables) -> None:
    assert line["classes"].num_rows == 0
    of_classes = {c.name for c in declared("probe") if c.name.startswith("nc")}
    of_classes |= {"test_accuracy", "train_accuracy", "v3_raw", "v3_std"}
    assert nulls(line["probe"]) == of_classes
    assert nulls(line["probe_layers"]) == {
        c.name for c in declared("probe_layers") if "within" in c.name or "between" in c.name
    }
    assert nulls(line["features"]) == {"sample_class"}
    assert line["features"].num_rows == 2 * len(LOOKS) * H * 20


def test_keys_count_layers_from_1_and_all_else_from_0(digits: Tables) -> None:
    ranges = {"layer": range(1, L + 1), "class_a": range(K), "class_b": range(K)}
    ranges |= {"unit": range(H), "sample": range(2 * K)}
    for table in digits.values():
        for key in ranges.keys() & set(table.column_names):
            assert sorted(set(table[key].to_pylist())) == list(ranges[key])


def test_values_stand_beside_their_keys(digits: Tables) -> None:
    """Relations between columns of different probes, row by row."""
    classes, layers = (digits[name].to_pandas() for name in ("classes", "probe_layers"))
    features = digits["features"].to_pandas()
    keys = ["run_id", "step", "layer"]
    # Digits has no dead layer here, and 64 samples of 10 classes leave pairs in each.
    swapped = classes.rename(columns={"class_a": "class_b", "class_b": "class_a"})
    both = classes.merge(swapped, on=[*keys, "class_a", "class_b"])
    np.testing.assert_allclose(both["class_cos_x"], both["class_cos_y"], atol=1e-5)
    same = classes[classes["class_a"] == classes["class_b"]].groupby(keys)["class_cos"]
    merged = layers.set_index(keys).join(same.agg(["min", "max"]))
    assert (merged["min"] <= merged["probe_feature_cos_within"] + 1e-5).all()
    assert (merged["max"] >= merged["probe_feature_cos_within"] - 1e-5).all()
    assert (features["sample_class"] == features["sample"] // 2).all()
    widths = layers["layer"].map({L: K}).fillna(H)
    for column in ("erank", "stable_rank", "participation_ratio"):
        assert layers[column].between(1, widths + 1e-3).all()


def test_the_line_of_pandas_in_salient_finds_ten_units(digits: Tables) -> None:
    source = registry.module("probes", "salient").__doc__ or ""
    assert "groupby" in source
    f = digits["features"].to_pandas()
    f = f[f["run_id"] == f["run_id"].iloc[0]]
    last = f[f.step == f.step.max()].groupby("unit").unit_variance.max()
    shown = f[f.unit.isin(last.nlargest(10).index)]
    assert shown["unit"].nunique() == 10
    hidden = last.drop(shown["unit"].unique())
    assert hidden.max() <= last[shown["unit"].unique()].min()
    assert len(shown) == 10 * 2 * K * len(LOOKS)
