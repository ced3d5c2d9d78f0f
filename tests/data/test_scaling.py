"""Scaling as offset and multiplier."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfc_jax import data

Make = Callable[..., data.Dataset]


def scaled(dataset: data.Dataset, scaling: data.Scaling) -> np.ndarray:
    offset, multiplier = data.affine(dataset, scaling)
    return (dataset.x_train.astype(np.float32) - offset) * multiplier


@pytest.mark.parametrize("scaling", ["unit", "standard", "none"])
def test_both_numbers_are_float32_and_broadcast_over_the_last_axis(
    make_dataset: Make, scaling: data.Scaling
) -> None:
    dataset = make_dataset()
    offset, multiplier = data.affine(dataset, scaling)
    assert offset.dtype == multiplier.dtype == np.float32
    assert offset.shape == multiplier.shape == ((1,) if scaling == "standard" else ())


@pytest.mark.parametrize("largest", [16, 255])
def test_unit_divides_by_the_largest_possible_value(make_dataset: Make, largest: int) -> None:
    x = np.full((12, 2, 2, 1), largest, np.uint8)
    # The multiplier is rounded to float32, and so is the product.
    z = scaled(make_dataset(x_train=x, max_value=largest), "unit")
    np.testing.assert_allclose(z, 1, rtol=2**-23)


def test_none_changes_nothing(make_dataset: Make) -> None:
    dataset = make_dataset()
    np.testing.assert_array_equal(scaled(dataset, "none"), dataset.x_train)


@given(x=hnp.arrays(np.uint8, (40, 2, 2, 3), elements=st.integers(0, 255)))
def test_standard_gives_each_channel_mean_0_and_deviation_1(
    make_dataset: Make, x: np.ndarray
) -> None:
    dataset = make_dataset(
        x_train=x,
        y_train=np.zeros(40, np.int32),
        x_test=x[:8],
    )
    z = scaled(dataset, "standard").astype(np.float64).reshape(-1, 3)
    varies = np.ptp(x.reshape(-1, 3), axis=0) > 0
    # Rounding a mean below 256 to float32 shifts it by up to 2**-17, and the multiplier is at most
    # 12.7 (one of 160 values differs by 1): 1e-4. The deviation takes a few roundings of 2**-24.
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(z.std(axis=0)[varies], 1, rtol=1e-6)
    assert (z[:, ~varies] == 0).all()


def test_standard_is_per_feature_for_flat_inputs(make_regression: Make) -> None:
    x = np.random.default_rng(0).normal([0, 5, -2], [1, 10, 0.1], (1000, 3)).astype(np.float32)
    dataset = make_regression(x_train=x, y_train=np.zeros((1000, 2), np.float32))
    offset, multiplier = data.affine(dataset, "standard")
    # float32 results of float64 sums: one rounding.
    np.testing.assert_allclose(offset, x.astype(np.float64).mean(0), rtol=2**-23)
    np.testing.assert_allclose(multiplier, 1 / x.astype(np.float64).std(0), rtol=2**-23)


def test_a_constant_feature_is_centred_and_not_blown_up(make_regression: Make) -> None:
    # 0.1 has a full mantissa: were its mean off by one rounding, 1 / 1e-17 would be the multiplier.
    x = np.full((99_999, 3), 0.1, np.float32)
    dataset = make_regression(x_train=x, y_train=np.zeros((99_999, 2), np.float32))
    offset, multiplier = data.affine(dataset, "standard")
    np.testing.assert_array_equal(multiplier, 1)
    np.testing.assert_array_equal(offset, np.float32(0.1))


def test_blocks_do_not_change_the_deviation(
    make_dataset: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = data.affine(make_dataset(), "standard")
    monkeypatch.setattr("tfc_jax.data._scaling._VALUES_AT_ONCE", 7)
    blocks = data.affine(make_dataset(), "standard")
    np.testing.assert_allclose(blocks[1], whole[1], rtol=2**-23)
