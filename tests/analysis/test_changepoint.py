"""The detector without a threshold."""

import numpy as np
import pytest

from analysis.changepoint import breaks


def bend(at: int, length: int, noise: float = 0.0) -> np.ndarray:
    """Log loss flat until `at`, then a straight fall."""
    log_loss = np.minimum(0.8, 0.8 - 0.002 * (np.arange(length) - at))
    return np.exp(log_loss + np.random.default_rng(0).normal(0, noise, length))


@pytest.mark.parametrize("at", [300, 1000, 1700])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_bend_of_a_broken_line_is_found_within_two_blocks(at: int, noise: float) -> None:
    # 2000 steps in 128 blocks of at most 16; a block may straddle the bend on either side
    assert breaks(bend(at, 2000, noise)[None])[0] == pytest.approx(at, abs=32)


def test_every_row_is_searched_alone() -> None:
    both = breaks(np.stack([bend(300, 2000), bend(1700, 2000)]))
    assert both.tolist() == [breaks(bend(at, 2000)[None])[0] for at in (300, 1700)]


def test_a_plateau_that_never_falls_has_no_break() -> None:
    loss = 2.3 + np.random.default_rng(0).normal(0, 0.01, 2000)
    assert np.isnan(breaks(loss[None])).all()


def test_a_fall_that_slows_down_has_no_break() -> None:
    assert np.isnan(breaks(2.3 * np.exp(-np.arange(2000) / 300)[None] + 0.2)).all()


def test_only_the_finite_start_of_a_run_counts() -> None:
    loss = bend(300, 1000)
    loss[900:] = np.nan
    assert breaks(loss[None])[0] == pytest.approx(300, abs=32)


def test_too_few_steps_for_two_lines_have_no_break() -> None:
    loss = np.full((2, 100), np.nan)
    loss[0, :10] = 2.0
    assert np.isnan(breaks(loss)).all()


def test_a_loss_of_zero_is_no_error() -> None:
    assert np.isfinite(breaks(np.repeat([2.3, 0.0], 500)[None])).all()
