"""Lengths of phase one: order under censoring, two conditions, shares, plateaus."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lifelines.statistics import logrank_test
from scipy.stats import mannwhitneyu

from analysis.evidence import Cells
from analysis.evidence.lengths import compare, plateau_to_descent, unended
from analysis.ordering import delta, longer, trend_p

MakeCells = Callable[..., Cells]
NAN = float("nan")


def lengths(values: Any, horizon: float = 1000.0) -> list[dict[str, float]]:
    """Runs that end at `values`, NaN or beyond the horizon being censored."""
    return [{"phase1_end": v if v < horizon else NAN, "horizon": horizon} for v in values]


def log_normal(rng: np.random.Generator, median: float, n: int = 16) -> np.ndarray:
    return median * np.exp(rng.normal(0, 0.5, n))


def test_the_order_of_two_lengths_is_known_unless_neither_ended() -> None:
    a, b = np.array([5.0, 9.0, 20.0]), np.array([5.0, 7.0, 20.0])
    ended = np.array([True, True, False])
    nan = NAN
    expected = [[0, -1, -1], [1, 1, -1], [1, 1, nan]]
    np.testing.assert_array_equal(longer(a, ended, b, ended), expected)


def test_delta_is_that_of_mann_and_whitney() -> None:
    rng = np.random.default_rng(0)
    a, b = log_normal(rng, 100), log_normal(rng, 150)
    ended = np.ones(16, bool)
    effect, low, high = delta(longer(a, ended, b, ended), np.arange(16), np.arange(16))
    u = mannwhitneyu(a, b).statistic
    assert effect == pytest.approx(2 * u / 16**2 - 1)
    assert low < effect < high


def test_a_planted_shortening_is_found(make_cells: MakeCells) -> None:
    rng = np.random.default_rng(1)
    runs = {"short": lengths(log_normal(rng, 100)), "plain": lengths(log_normal(rng, 400))}
    found = compare(make_cells(runs), "short", "plain")
    # P(N(-ln 4, sqrt(2) 0.5) < 0) = 0.975: delta -0.95; its standard error with 16 is about 0.06
    assert found.effect == pytest.approx(-0.95, abs=0.2)
    assert found.high < -0.5
    assert found.p < 1e-3
    assert "(short) against" in found.detail


def test_the_interval_does_not_collapse_where_all_pairs_are_ordered(make_cells: MakeCells) -> None:
    runs = {"a": lengths([1.0] * 16), "b": lengths([500.0] * 16)}
    found = compare(make_cells(runs), "a", "b")
    assert (found.effect, found.low) == (-1, -1)
    # 16 of 16 pairs: the exact lower bound of the share is 0.025^(1/16) = 0.794
    assert found.high == pytest.approx(-(2 * 0.025 ** (1 / 16) - 1))


def test_nothing_is_known_of_two_conditions_that_never_end(make_cells: MakeCells) -> None:
    found = compare(make_cells({"a": lengths([NAN] * 16), "b": lengths([NAN] * 16)}), "a", "b")
    assert (found.effect, found.low, found.high, found.p) == (0, -1, 1, 1)
    assert "> 1000, 16 of 16 not ended (a)" in found.detail


def test_censored_runs_are_longer_than_those_that_ended(make_cells: MakeCells) -> None:
    runs = {"never": lengths([NAN] * 16), "ends": lengths(np.linspace(100, 300, 16))}
    found = compare(make_cells(runs), "never", "ends")
    assert found.effect == 1
    assert found.p < 1e-3


@pytest.mark.slow
def test_two_equal_conditions_rarely_differ(make_cells: MakeCells) -> None:
    rng = np.random.default_rng(2)
    found = [
        compare(
            make_cells({name: lengths(log_normal(rng, 400), 600) for name in ("a", "b")}), "a", "b"
        )
        for _ in range(200)
    ]
    false = np.mean([one.p < 0.05 for one in found])
    assert false <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert np.mean([one.low <= 0 <= one.high for one in found]) >= 0.9


def arms(**ends: Any) -> dict[str, list[dict[str, float]]]:
    return {
        name: [{**run, "intervene_at": 200} for run in lengths(values)]
        for name, values in ends.items()
    }


def test_seeds_whose_control_ended_before_the_intervention_are_left_out(
    make_cells: MakeCells,
) -> None:
    ends = arms(none=[100.0, 600, 700, 800], a=[100.0, 300, 400, 500], b=[100.0, 600, 700, 800])
    found = compare(make_cells(ends), "a", "b", control="none")
    assert (found.n, found.effect) == (3, -1)
    assert "1 seeds had ended phase one before intervene_at (none)" in found.detail


def test_seeds_in_which_an_arm_ends_at_once_are_those_in_which_it_worked_best(
    make_cells: MakeCells,
) -> None:
    """The smoothed loss may cross up to 25 steps before the intervention that makes it fall."""
    works = [190.0] * 8 + [900.0] * 8
    ends = arms(none=[600.0] * 16, a=works, b=[600.0] * 16)
    found = compare(make_cells(ends), "a", "b", control="none")
    assert (found.n, found.effect) == (16, 0)


def test_delta_and_p_count_diverged_runs_alike(make_cells: MakeCells) -> None:
    early = [{"phase1_end": NAN, "diverged_at": 5.0, "horizon": 1000.0}] * 16
    found = compare(make_cells({"bad": early, "ends": lengths([300.0] * 16)}), "bad", "ends")
    assert found.effect == 1
    assert found.p < 1e-3
    assert "16 runs diverged and count as never ending" in found.detail


def test_each_cell_may_have_its_own_criterion(make_cells: MakeCells) -> None:
    noisy = lengths([300.0, 310, 320])
    clean = [{"phase1_end": 200.0, "phase1_end_95": end} for end in (400.0, 410, 420)]
    cells = make_cells({"noisy": noisy, "clean": clean})
    assert compare(cells, "noisy", "clean").effect == 1
    assert compare(cells, "noisy", "clean", ends={"clean": "phase1_end_95"}).effect == -1


def test_only_shared_seeds_are_compared(make_cells: MakeCells) -> None:
    runs = {"a": lengths([1.0, 2, 3]), "b": lengths([4.0, 5, 6, 7, 8])}
    assert compare(make_cells(runs), "a", "b").n == 3


def test_the_trend_of_two_groups_is_mann_and_whitneys_test() -> None:
    rng = np.random.default_rng(3)
    time = np.concatenate([log_normal(rng, 100, 30), log_normal(rng, 160, 30)])
    group = np.repeat([0.0, 1.0], 30)
    z, p = trend_p(time, np.ones(60, bool), group, np.zeros(60))
    expected = mannwhitneyu(time[:30], time[30:], use_continuity=False, method="asymptotic")
    assert p == pytest.approx(expected.pvalue, rel=1e-9)
    assert z > 0


def test_under_censoring_the_trend_is_close_to_gehans_test() -> None:
    rng = np.random.default_rng(3)
    time = np.concatenate([log_normal(rng, 100, 30), log_normal(rng, 160, 30)])
    ended, late = time < 250, np.repeat([False, True], 30)
    time = np.minimum(time, 250)
    z, _ = trend_p(time, ended, late.astype(float), np.zeros(60))
    parts = (time[~late], time[late], ended[~late], ended[late])
    gehan = logrank_test(*parts, weightings="wilcoxon").test_statistic
    # lifelines takes the variance of the hypergeometric law, this one that of permutations
    assert z == pytest.approx(np.sqrt(gehan), rel=0.05)


def test_the_trend_within_seeds_ignores_what_seeds_share() -> None:
    rng = np.random.default_rng(4)
    seed = np.repeat(np.arange(8), 3)
    x = np.tile([0.0, 1, 2], 8)
    time = 1000 * np.exp(rng.normal(0, 3, 8))[seed] * (1 + 0.01 * x)
    ended = np.ones(24, bool)
    z, p = trend_p(time, ended, x, seed)
    # every seed in perfect order: S = 4 of variance 8 each, so z = 8 * 4 / sqrt(8 * 8)
    assert z == pytest.approx(4)
    assert p < 1e-4
    assert np.isnan(trend_p(time, np.zeros(24, bool), x, seed)[1])


def test_the_share_of_runs_that_never_end_has_its_exact_interval(make_cells: MakeCells) -> None:
    found = unended(make_cells({"deep": lengths([NAN] * 16)}))
    assert (found.effect, found.high, found.n) == (1, 1, 16)
    assert found.low == pytest.approx(0.025 ** (1 / 16))
    assert np.isnan(found.p)


def test_diverged_runs_did_not_wait(make_cells: MakeCells) -> None:
    runs = [{"phase1_end": NAN, "diverged_at": 5.0}, *lengths([NAN, 10.0])]
    assert unended(make_cells({"deep": runs})).effect == pytest.approx(1 / 3)


def test_plateau_and_descent_are_told_apart(make_cells: MakeCells) -> None:
    end, low = 1000.0, 1200.0
    waits = [{"phase1_end": end, "phase1_end_90": low}] * 16
    assert plateau_to_descent(make_cells({"a": waits}), 0.11).effect == 5
    # exponential decay: -ln 0.99 over ln 0.99 - ln 0.90
    tau = 1e6
    decays = [{"phase1_end": -tau * np.log(0.99), "phase1_end_90": -tau * np.log(0.9)}] * 16
    found = plateau_to_descent(make_cells({"a": decays}), 0.11)
    assert found.effect == pytest.approx(0.1055, abs=1e-4)


def test_a_run_that_does_not_fall_within_the_budget_has_no_ratio(make_cells: MakeCells) -> None:
    falls = [{"phase1_end": 1000.0, "phase1_end_90": 1500.0}] * 8
    runs = falls + [{"phase1_end": 1000.0}] * 3 + [{"phase1_end": NAN}] * 2
    found = plateau_to_descent(make_cells({"a": runs}), 0.11)
    assert (found.effect, found.n) == (2, 8)
    assert "8 of 13 fell to 0.90" in found.detail
