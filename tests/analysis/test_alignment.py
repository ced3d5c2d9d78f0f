"""Steps at the same times are found; curves that merely both level off are not."""

import numpy as np
import pytest

from analysis.alignment import alignment, detrended, running_median

M = 120
FADING = np.exp(-np.arange(M) / 25)  # both loss and rank move most at first


def series(rng: np.random.Generator) -> np.ndarray:
    """Rare steps whose size fades, on a falling trend."""
    return FADING * (1 + (rng.random(M) < 0.15) * rng.exponential(3, M))


def test_steps_at_the_same_times_are_found() -> None:
    rng = np.random.default_rng(0)
    first = series(rng)
    excess, z = alignment(first, 3 * first + 0.05 * FADING * rng.standard_normal(M))
    assert excess > 0.9
    assert z == pytest.approx(
        2.64, abs=0.01
    )  # above all of the 119 shifts: normal score of 119.5/120


def test_the_same_steps_upside_down_score_as_low() -> None:
    first = series(np.random.default_rng(0))
    excess, z = alignment(first, -first)
    assert excess < -0.9
    assert z == pytest.approx(-2.64, abs=0.01)


def test_curves_that_only_fade_together_score_as_chance_does() -> None:
    rng = np.random.default_rng(1)
    z = np.array([alignment(series(rng), series(rng))[1] for _ in range(300)])
    # 4 standard errors of a mean of 300 normal scores, and of a share of 5 %
    assert abs(z.mean()) < 4 / np.sqrt(300)
    assert np.mean(z > 1.645) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 300)


def test_a_series_that_never_moves_or_is_short_has_no_alignment() -> None:
    moving = series(np.random.default_rng(2))
    assert np.isnan(alignment(moving, np.full(M, 3.0))).all()
    assert np.isnan(alignment(moving[:20], moving[:20])).all()


def test_what_is_left_of_a_straight_line_is_only_at_its_ends() -> None:
    left = detrended(np.arange(float(M)))
    np.testing.assert_allclose(left[10:-10], 0, atol=1e-12)  # rounding of sums of 21 numbers


def test_a_running_median_drops_flutter_and_keeps_steps() -> None:
    flutter = np.array([[3, 4, 3, 3, 4, 3, 3, 7, 7, 8, 7, 7, 7.0]])
    expected = [3, 3, 3, 3, 3, 3, 4, 7, 7, 7, 7, 7, 7]
    assert running_median(flutter)[0].tolist() == expected
