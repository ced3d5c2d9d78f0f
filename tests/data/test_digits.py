"""The embedded digits."""

import numpy as np
from sklearn.datasets import load_digits

from tfc_jax import data


def test_digits_are_the_same_arrays_on_every_machine() -> None:
    expected = "6483391d1ef7c34ccd81f444db7b7a792af307269ccde5c9716af404ef8676ac"
    assert data.load("digits").sha256 == expected


def test_digits_are_scikit_learns_each_exactly_once() -> None:
    dataset, original = data.load("digits"), load_digits()
    x = np.concatenate([dataset.x_train, dataset.x_test]).reshape(-1, 64)
    y = np.concatenate([dataset.y_train, dataset.y_test])
    ours = np.column_stack([x, y])
    theirs = np.column_stack([original.data, original.target])
    np.testing.assert_array_equal(np.unique(ours, axis=0), np.unique(theirs, axis=0))
    assert len(ours) == len(theirs)


def test_digits_split_into_1437_and_360_single_channel_images() -> None:
    dataset = data.load("digits")
    assert dataset.x_train.shape == (1437, 8, 8, 1)
    assert dataset.x_test.shape == (360, 8, 8, 1)
    assert dataset.x_train.dtype == np.uint8
    assert dataset.x_train.max() == dataset.max_value == 16


def test_the_first_digits_are_class_mixed() -> None:
    # 100 draws at random miss a given one of ten classes with probability 0.9**100 < 3e-5.
    assert len(set(data.load("digits", n_train=100).y_train)) == 10
