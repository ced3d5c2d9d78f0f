"""One number per seed: median, interval, signed ranks."""

import numpy as np
import pytest
import scipy.stats

from analysis.evidence.samples import of_sample, signed_rank

RNG = np.random.default_rng(0)


def test_a_planted_shift_is_found() -> None:
    found = of_sample(0.05 + RNG.normal(0, 0.01, 16), 0.0, "")
    # a median of 16 has a standard error of 1.25 sd / 4
    assert found.effect == pytest.approx(0.05, abs=4 * 1.25 * 0.01 / 4)
    assert 0.02 < found.low < found.effect < found.high < 0.08
    assert found.p == pytest.approx(2 / 2**16)  # all 16 on one side, exact
    assert found.n == 16


def test_p_is_below_five_per_cent_in_five_per_cent_of_null_samples() -> None:
    samples = RNG.normal(0.3, 1, (400, 16))
    false = np.mean([signed_rank(values, 0.3) < 0.05 for values in samples])
    assert false <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_the_interval_covers_the_median() -> None:
    samples = RNG.normal(0, 1, (200, 16))
    covered = np.mean([(e := of_sample(values, 0, "")).low <= 0 <= e.high for values in samples])
    # The percentile bootstrap of a median of 16 is known to cover about 93 %; 3 standard errors.
    assert covered >= 0.93 - 3 * np.sqrt(0.93 * 0.07 / 200)


def test_ratios_are_tested_on_their_logarithm() -> None:
    ratios = np.exp(RNG.normal(0.4, 1, 20))
    expected = scipy.stats.wilcoxon(np.log(ratios / 2)).pvalue
    assert signed_rank(ratios, 2.0, log=True) == pytest.approx(expected)


def test_infinite_values_keep_their_rank() -> None:
    found = of_sample(np.array([1.0, 2, 3, np.inf, np.inf, 4, 5, 6, 7]), 0.0, "")
    assert found.effect == 5
    assert found.low < 5 < found.high
    assert of_sample(np.array([1.0, -np.inf, -np.inf]), 0.0, "").effect == -np.inf


def test_unknown_values_are_left_out_and_counted() -> None:
    found = of_sample(np.array([1.0, np.nan, 2, 3]), 0.0, "seen")
    assert (found.n, found.effect) == (3, 2)
    assert found.detail == "seen; 1 of 4 without a value are left out"
    assert np.isnan(of_sample(np.full(3, np.nan), 0.0, "").effect)


def test_equal_to_no_effect_is_no_evidence() -> None:
    assert signed_rank(np.full(8, 0.5), 0.5) == 1.0
    assert np.isnan(signed_rank(np.array([1.0]), 0.5))
