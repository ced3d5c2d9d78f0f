"""The contract of a data set, and what happens to arrays that break it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tfc_jax.data import Dataset
from tfc_jax.errors import InputError

Make = Callable[..., Dataset]


def test_derived_quantities_follow_from_the_arrays(make_dataset: Make) -> None:
    dataset = make_dataset()
    assert (dataset.n_classes, dataset.n_outputs) == (4, 4)
    assert (dataset.input_shape, dataset.n_inputs) == ((2, 2, 1), 4)


def test_regression_has_no_classes_and_one_output_per_target(make_regression: Make) -> None:
    dataset = make_regression()
    assert (dataset.n_classes, dataset.n_outputs) == (0, 2)
    assert (dataset.input_shape, dataset.n_inputs) == ((3,), 3)


def test_label_prior_counts_absent_classes_as_zero(make_dataset: Make) -> None:
    y_train = np.array([0, 0, 0, 2], np.int32)
    dataset = make_dataset(x_train=np.zeros((4, 2, 2, 1), np.uint8), y_train=y_train)
    np.testing.assert_array_equal(dataset.label_prior_K, [0.75, 0.0, 0.25, 0.0])


def test_fingerprint_is_of_the_content_alone(make_dataset: Make) -> None:
    one, other = make_dataset(), make_dataset(name="other")
    assert one.sha256 == other.sha256
    assert len(one.sha256) == 64


@pytest.mark.parametrize("field", ["x_train", "y_train", "x_test", "y_test"])
def test_fingerprint_changes_with_any_value(make_dataset: Make, field: str) -> None:
    dataset = make_dataset()
    changed = getattr(dataset, field).copy()
    changed[-1] = (changed[-1] + 1) % 4
    assert replace(dataset, **{field: changed}).sha256 != dataset.sha256


def test_fingerprint_tells_apart_shapes_with_the_same_bytes(make_dataset: Make) -> None:
    dataset = make_dataset()
    flat = replace(
        dataset, x_train=dataset.x_train.reshape(12, 4), x_test=dataset.x_test.reshape(8, 4)
    )
    assert flat.sha256 != dataset.sha256


def test_fingerprint_ignores_memory_layout(make_dataset: Make) -> None:
    dataset = make_dataset()
    other = replace(dataset, x_train=np.asfortranarray(dataset.x_train))
    assert other.sha256 == dataset.sha256


WRONG_CLASSES: dict[str, tuple[dict[str, object], str]] = {
    "3-D images": ({"x_train": np.zeros((12, 2, 2), np.uint8)}, r"shape \(12, 2, 2\); allowed"),
    "scalar input": ({"x_train": np.uint8(0)}, r"x_train has shape \(\); allowed"),
    "no samples": ({"x_train": np.zeros((0, 2, 2, 1), np.uint8)}, r"shape \(0, 2, 2, 1\); allowed"),
    "wide integers": ({"x_train": np.zeros((12, 2, 2, 1), np.int64)}, "x_train is int64; allowed"),
    "unlike inputs": ({"x_test": np.zeros((8, 3, 3, 1), np.uint8)}, "of one shape and dtype"),
    "unlike dtypes": ({"x_test": np.zeros((8, 2, 2, 1), np.float32)}, "of one shape and dtype"),
    "too few labels": ({"y_train": np.zeros(11, np.int32)}, "differ in sample count"),
    "label above K-1": ({"y_test": np.full(8, 4, np.int32)}, r"labels 4\.\.4; .* 0\.\.3"),
    "label below 0": ({"y_train": np.full(12, -1, np.int32)}, r"y_train holds labels -1\.\.-1"),
    "wide labels": ({"y_train": np.zeros(12, np.int64)}, "y_train is int64"),
    "label columns": (
        {"y_train": np.zeros((12, 1), np.int32)},
        r"are int32 of shape \(N,\)",
    ),
    "zero scale": ({"max_value": 0.0}, "max_value is 0.0; it must be above 0"),
    "one class": (
        {"class_names": ("a",), "y_train": np.zeros(12, np.int32), "y_test": np.zeros(8, np.int32)},
        "at least 2",
    ),
}


@pytest.mark.parametrize(("fields", "message"), WRONG_CLASSES.values(), ids=WRONG_CLASSES)
def test_arrays_that_do_not_fit_are_refused(
    make_dataset: Make, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_dataset(**fields)


WRONG_REGRESSION: dict[str, tuple[dict[str, object], str]] = {
    "infinite input": ({"x_test": np.full((8, 3), np.inf, np.float32)}, "x_test holds NaN or inf"),
    "NaN target": ({"y_train": np.full((12, 2), np.nan, np.float32)}, "y_train holds NaN or inf"),
    "flat targets": ({"y_train": np.zeros(12, np.float32)}, r"float32 of shape \(N, O\)"),
    "no outputs": ({"y_train": np.zeros((12, 0), np.float32)}, r"float32 of shape \(N, O\)"),
    "unlike outputs": ({"y_test": np.zeros((8, 1), np.float32)}, r"\(2,\) outputs, y_test \(1,\)"),
    "integer targets": ({"y_test": np.zeros((8, 2), np.int32)}, "y_test is int32"),
}


@pytest.mark.parametrize(("fields", "message"), WRONG_REGRESSION.values(), ids=WRONG_REGRESSION)
def test_regression_arrays_that_do_not_fit_are_refused(
    make_regression: Make, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_regression(**fields)


def test_all_problems_are_reported_at_once_and_name_the_data_set(make_dataset: Make) -> None:
    with pytest.raises(InputError) as caught:
        make_dataset(max_value=-1.0, y_test=np.full(8, 9, np.int32))
    assert len(caught.value.messages) == 2
    assert all(message.startswith("dataset 'small': ") for message in caught.value.messages)
