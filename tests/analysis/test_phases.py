"""The end of phase one, against mathematics and against the published curve."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.integrate import quad

from analysis.phases import COLUMNS, analyse, first_sustained, with_phases, write_analysis
from tfc_jax.errors import InputError
from tfc_jax.results import open_results

Floats = npt.NDArray[np.float64]
PRIOR = np.log(10)


@pytest.fixture
def analysed(write_results: Any, tmp_path: Path) -> Callable[..., pd.DataFrame]:
    """Analyses runs with the given losses, one config each."""

    def run(*losses: Floats, **config: Any) -> pd.DataFrame:
        queue = iter(losses)
        write_results(tmp_path / "sweep", [config] * len(losses), lambda run: (next(queue), 100.0))
        return analyse(open_results(tmp_path / "sweep"))

    return run


def scalar_chain(layers: int, start: float, target: float, rate: float, steps: int) -> Floats:
    """Loss of a balanced deep linear scalar chain under gradient descent."""
    a, losses = start, []
    for _ in range(steps):
        error = target - a**layers
        losses.append(error**2 / 2)
        a += rate * error * a ** (layers - 1)
    return np.array(losses)


@pytest.mark.parametrize(
    ("layers", "start", "target"), [(2, 1e-3, 1.0), (3, 0.02, 1.0), (4, 0.05, 1.0), (3, 0.05, 0.5)]
)
def test_a_scalar_chain_ends_phase_one_when_its_gain_reaches_one_percent(
    analysed: Any, layers: int, start: float, target: float
) -> None:
    end = (target * (1 - np.sqrt(0.99))) ** (1 / layers)
    time, _ = quad(lambda a: 1 / (a ** (layers - 1) * (target - a**layers)), start, end)
    expected = 4000.0
    rate = time / expected
    loss = scalar_chain(layers, start, target, rate, 6000)
    frame = analysed(loss, prior_loss=target**2 / 2)
    # 1 % of the length: Euler steps and the window of 50 steps cost less than that at 4000 steps
    assert frame["phase1_end"][0] == pytest.approx(expected, rel=0.01)


def test_the_published_curve_ends_phase_one_near_step_1000(analysed: Any) -> None:
    steps = [0, 950, 1020, 1100, 1500, 3000, 5000, 9800]
    loss = np.interp(np.arange(9801), steps, [2.30, 2.30, 2.28, 2.19, 1.95, 1.53, 1.24, 0.85])
    frame = analysed(loss)
    assert frame["phase1_end"][0] == pytest.approx(1000, rel=0.1)
    # 2.1875 and 2.0723 are crossed where the interpolation says, within half a window
    assert frame["phase1_end_95"][0] == pytest.approx(1104, abs=25)
    assert frame["phase1_end_90"][0] == pytest.approx(1296, abs=25)


def test_a_plateau_that_never_ends_is_censored_at_its_last_step(
    analysed: Any, plateau_of: Any
) -> None:
    frame = analysed(plateau_of(1e9, 700))
    assert frame["censored"].tolist() == [True]
    assert frame["diverged"].tolist() == [False]
    assert frame["phase1_end"].isna().all()
    assert frame["horizon"].tolist() == [700]


def test_an_end_seen_for_fewer_than_200_steps_is_censored(analysed: Any) -> None:
    drop = np.repeat([PRIOR, 1.0], [500, 150])
    assert analysed(drop)["censored"].tolist() == [True]


def test_a_drop_that_is_held_to_the_last_step_counts(analysed: Any) -> None:
    frame = analysed(np.repeat([PRIOR, 1.0], [500, 260]))
    # the first window of 50 that holds one low step is centred 25 steps earlier; 1 % of the prior
    # loss is below one fiftieth of this drop
    assert frame["phase1_end"].tolist() == [476]


@pytest.mark.parametrize(("length", "counts"), [(199, False), (200, True)])
def test_a_bounce_shorter_than_200_steps_does_not_count(length: int, counts: bool) -> None:
    below_RxT = np.zeros((2, 1000), dtype=bool)
    below_RxT[0, 300 : 300 + length] = True
    below_RxT[:, 700:] = True
    assert first_sustained(below_RxT).tolist() == [300 if counts else 700, 700]


def test_a_run_shorter_than_the_hold_never_ends() -> None:
    assert np.isnan(first_sustained(np.ones((3, 150), dtype=bool))).all()


def test_a_run_that_starts_below_the_threshold_ends_at_step_0(analysed: Any) -> None:
    assert analysed(np.full(400, 2.0))["phase1_end"].tolist() == [0]


def test_a_run_that_turns_nan_before_the_end_is_diverged_not_censored(
    analysed: Any, plateau_of: Any
) -> None:
    loss = plateau_of(600, 900)
    loss[400:] = np.nan
    frame = analysed(loss)
    assert frame["diverged"].tolist() == [True]
    assert frame["censored"].tolist() == [False]
    assert frame["diverged_at"].tolist() == [400]
    assert frame["phase1_end"].isna().all()


def test_divergence_after_the_end_changes_nothing(analysed: Any, plateau_of: Any) -> None:
    loss = plateau_of(300, 900)
    broken = loss.copy()
    broken[700:] = np.nan
    frame = analysed(loss, broken)
    assert frame["diverged"].tolist() == [False, False]
    assert frame["phase1_end"][0] == frame["phase1_end"][1]
    assert frame["diverged_at"].isna().all()


def test_a_drop_to_nan_within_200_steps_is_no_end(analysed: Any) -> None:
    loss = np.repeat([PRIOR, 1.0, np.nan], [500, 150, 100])
    frame = analysed(loss)
    assert frame["diverged"].tolist() == [True]
    assert frame["diverged_at"].tolist() == [650]


def test_a_loss_that_stays_above_ten_prior_losses_is_diverged(analysed: Any) -> None:
    frame = analysed(np.repeat([PRIOR, 1e4], [500, 300]))
    assert frame["diverged"].tolist() == [True]
    # smoothing shows 1e4 half a window early
    assert frame["diverged_at"][0] == pytest.approx(500, abs=25)


def test_a_large_start_that_comes_down_is_not_diverged(analysed: Any) -> None:
    frame = analysed(np.repeat([50.0, PRIOR, 1.0], [100, 300, 400]))
    assert frame["diverged"].tolist() == [False]
    assert frame["phase1_end"].tolist() == [376]


def test_the_bad_step_that_the_engine_saw_counts_as_divergence(
    analysed: Any, plateau_of: Any
) -> None:
    frame = analysed(plateau_of(1e9, 400), first_bad_step=123, steps=900)
    assert frame["diverged_at"].tolist() == [123]
    assert frame["horizon"].tolist() == [900]


def test_label_noise_asks_for_five_percent_of_what_can_be_gained(analysed: Any) -> None:
    bayes = 1.3
    loss = np.linspace(PRIOR, PRIOR - 0.6 * (PRIOR - bayes), 1201)
    frame = analysed(loss, label_noise=0.2, bayes_loss=bayes)
    # the line gains 60 % in 1200 steps: 5 % after 100, 25 % after 500, 50 % after 1000; an even
    # window is centred half a step early
    for column, expected in (("phase1_end", 100), ("phase1_end_95", 500), ("phase1_end_90", 1000)):
        assert frame[column][0] == pytest.approx(expected, abs=1.5)


def test_without_label_noise_the_bayes_loss_plays_no_part(analysed: Any) -> None:
    loss = np.linspace(PRIOR, 0.5 * PRIOR, 1001)
    # the line gains 50 % in 1000 steps, so 1 % after 20
    assert analysed(loss, bayes_loss=2.0)["phase1_end"][0] == pytest.approx(20, abs=1.5)


@pytest.mark.parametrize("runs", [1, 2])
def test_a_missing_step_is_refused(
    write_results: Any, plateau_of: Any, tmp_path: Path, runs: int
) -> None:
    write_results(tmp_path, [{}] * runs, lambda run: (plateau_of(100, 400), 100.0))
    (part,) = (tmp_path / "steps").iterdir()
    table = pq.read_table(part)
    pq.write_table(table.filter(np.arange(400 * runs) != 77), part)
    with pytest.raises(InputError, match=r"1 runs have gaps.*--fresh"):
        analyse(open_results(tmp_path))


def test_a_run_without_prior_loss_is_refused(analysed: Any, plateau_of: Any) -> None:
    with pytest.raises(InputError, match="prior_loss"):
        analysed(plateau_of(100, 400), prior_loss=np.nan)


def test_the_peak_of_similarity_is_that_of_the_middle_layer(
    write_results: Any, plateau_of: Any, tmp_path: Path
) -> None:
    results = write_results(
        tmp_path, [{"depth": d} for d in (5, 9)], lambda run: (plateau_of(300, 900), 300.0)
    )
    frame = analyse(results)
    for row, layer in enumerate((3, 5)):
        # level 0.9 - 0.35 / layer - 0.01 and a hump of 0.1 at step 330, as written; noise 0.003 in
        # each of five records of a window
        level = 0.9 - 0.35 / layer - 0.01
        assert frame["middle_cos_between_peak"][row] == pytest.approx(level + 0.1, abs=0.005)
        assert frame["middle_cos_between_start"][row] < level + 0.02
        assert 230 < frame["middle_cos_between_peak_step"][row] < 430


def test_similarity_after_divergence_does_not_count(
    write_results: Any, plateau_of: Any, tmp_path: Path
) -> None:
    loss = plateau_of(600, 900)
    loss[100:] = np.nan
    frame = analyse(write_results(tmp_path, [{}], lambda run: (loss, 600.0)))
    assert frame["middle_cos_between_peak_step"][0] < 100


def test_similarity_is_null_where_layers_are_not_recorded(
    write_results: Any, plateau_of: Any, tmp_path: Path
) -> None:
    results = write_results(tmp_path, [{}], lambda run: (plateau_of(100, 400), 100.0), layers=False)
    frame = analyse(results)
    assert frame["middle_cos_between_peak"].isna().all()
    assert frame["phase1_end"].notna().all()


def test_a_sweep_without_any_step_has_an_empty_analysis(
    write_results: Any, plateau_of: Any, tmp_path: Path
) -> None:
    write_results(tmp_path, [{}], lambda run: (plateau_of(100, 400), 100.0))
    (part,) = (tmp_path / "steps").iterdir()
    pq.write_table(pq.read_table(part).slice(0, 0), part)
    frame = analyse(open_results(tmp_path))
    assert frame.empty
    assert list(frame.columns) == ["run_id", *(c.name for c in COLUMNS)]


def test_the_stored_analysis_is_what_the_reader_joins(
    write_results: Any, plateau_of: Any, tmp_path: Path
) -> None:
    results = write_results(
        tmp_path, [{"seed": s} for s in range(3)], lambda run: (plateau_of(300, 900), 300.0)
    )
    path = write_analysis(results)
    assert path == tmp_path / "analysis.parquet"
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []
    joined = open_results(tmp_path).runs.set_index("run_id")
    expected = analyse(results).set_index("run_id")
    pd.testing.assert_frame_equal(joined[expected.columns], expected, check_dtype=False)


def test_writing_the_analysis_again_changes_no_byte(
    write_results: Any, plateau_of: Any, tmp_path: Path
) -> None:
    write_results(tmp_path, [{}], lambda run: (plateau_of(300, 900), 300.0))
    first = write_analysis(open_results(tmp_path)).read_bytes()
    assert write_analysis(open_results(tmp_path)).read_bytes() == first


def test_a_fresh_analysis_does_not_trust_the_stored_one(
    write_results: Any, plateau_of: Any, tmp_path: Path
) -> None:
    configs: list[dict[str, Any]] = [{"seed": 0}]
    write_analysis(write_results(tmp_path, configs, lambda run: (plateau_of(1e9, 500), 300.0)))
    results = write_results(tmp_path, configs, lambda run: (plateau_of(200, 500), 200.0))
    assert with_phases(results)["censored"].tolist() == [True]
    assert with_phases(results, fresh=True)["censored"].tolist() == [False]


def test_runs_are_analysed_independently(analysed: Any, plateau_of: Any) -> None:
    losses = [plateau_of(end, 800, seed) for seed, end in enumerate((100, 300, 1e9))]
    together = analysed(*losses)
    for i, loss in enumerate(losses):
        alone = analysed(loss)
        columns = ["phase1_end", "phase1_end_cp", "censored"]
        assert alone[columns].iloc[0].equals(together[columns].iloc[i])
