"""The part of a data set that a sweep takes."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfc_jax.data import Dataset, select
from tfc_jax.errors import InputError

Make = Callable[..., Dataset]


@given(classes=st.integers(2, 4), n_train=st.integers(1, 6))
def test_classes_come_first_then_the_first_samples_in_order(
    make_dataset: Make, classes: int, n_train: int
) -> None:
    dataset = make_dataset()
    part = select(dataset, classes=classes, n_train=n_train)
    rows = [i for i, label in enumerate(dataset.y_train) if label < classes][:n_train]
    np.testing.assert_array_equal(part.x_train, dataset.x_train[rows])
    np.testing.assert_array_equal(part.y_train, dataset.y_train[rows])
    assert part.class_names == dataset.class_names[:classes]
    assert part.max_value == dataset.max_value


def test_classes_apply_to_the_test_set_and_n_train_does_not(make_dataset: Make) -> None:
    dataset = make_dataset()
    part = select(dataset, classes=2, n_train=3)
    np.testing.assert_array_equal(part.x_test, dataset.x_test[dataset.y_test < 2])
    np.testing.assert_array_equal(part.y_test, [0, 1, 0, 1])


def test_nothing_asked_is_the_whole_data_set(make_dataset: Make) -> None:
    dataset = make_dataset()
    assert select(dataset, n_train=None, classes=None) is dataset


def test_regression_keeps_its_first_samples(make_regression: Make) -> None:
    dataset = make_regression()
    part = select(dataset, n_train=5, classes=None)
    np.testing.assert_array_equal(part.y_train, dataset.y_train[:5])


@pytest.mark.parametrize("n_train", [0, -1, 13])
def test_more_samples_than_there_are_is_refused(make_dataset: Make, n_train: int) -> None:
    with pytest.raises(InputError, match=f"n_train: {n_train} .* 1 to 12"):
        select(make_dataset(), n_train=n_train, classes=None)


def test_the_samples_left_after_choosing_classes_are_what_counts(make_dataset: Make) -> None:
    with pytest.raises(InputError, match=r"n_train: 7 .* with 2 classes; allowed are 1 to 6"):
        select(make_dataset(), n_train=7, classes=2)


@pytest.mark.parametrize("classes", [-1, 0, 1, 5])
def test_classes_outside_2_to_k_are_refused(make_dataset: Make, classes: int) -> None:
    with pytest.raises(InputError, match=f"classes: {classes} .* 2 to 4"):
        select(make_dataset(), classes=classes, n_train=None)


def test_classes_of_regression_targets_are_refused(make_regression: Make) -> None:
    with pytest.raises(InputError, match="targets are numbers, not classes"):
        select(make_regression(), classes=2, n_train=None)
