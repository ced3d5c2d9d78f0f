"""RANK: epsilon-rank of the features, its steps, its bound on the loss, and what raises it.

The rank is `eps_rank_abs` of the last hidden layer's features on the training probe unless an
argument says otherwise. A step is a change of the rank's running median over five looks (ours):
eigenvalues beside the threshold make the count flutter.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import scipy.stats

from analysis.alignment import alignment, running_median
from analysis.curves import Floats
from analysis.evidence import Cells, Evidence
from analysis.evidence.counts import share
from analysis.evidence.samples import by_seed, of_sample
from analysis.looks import first_look, layer_looks, looks, steps_to_loss

EPSILON = "1em4"
EPSILONS = ("1em2", "1em4", "1em6", "1em8")
LAST_HIDDEN = -1
# Of loss and bound: float32 rounding (6e-8) of targets and outputs of size up to about 10, and of
# the singular vectors that the targets are projected on.
TOLERANCE = 1e-5


def rise(cells: Cells, epsilon: str = EPSILON, no_effect: float = 0) -> Evidence:
    """Rank at the last look less that at the first, median over seeds."""
    runs = cells.all
    _, rank_RxM = _ranks(cells, runs, epsilon)
    first_R, last_R = _ends(rank_RxM)
    detail = f"from {np.nanmedian(first_R):.0f} to {np.nanmedian(last_R):.0f} (medians)"
    return of_sample(by_seed(runs, last_R - first_R).to_numpy(), no_effect, detail)


def up_steps(cells: Cells, epsilon: str = EPSILON, no_effect: float = 0.5) -> Evidence:
    """Share of up-steps among all steps of a run, median over seeds; NaN of a run without any."""
    runs = cells.all
    _, rank_RxM = _ranks(cells, runs, epsilon)
    ups_R, downs_R = _steps(running_median(rank_RxM))
    raw_up, raw_down = _steps(rank_RxM)
    detail = (
        f"{np.median(ups_R):.0f} up and {np.median(downs_R):.0f} down per run, of the bare count "
        f"{np.median(raw_up):.0f} and {np.median(raw_down):.0f} (medians)"
    )
    with np.errstate(invalid="ignore"):
        share_R = ups_R / (ups_R + downs_R)
    return of_sample(by_seed(runs, share_R).to_numpy(), no_effect, detail)


def aligned(cells: Cells, epsilon: str = EPSILON, no_effect: float = 0) -> Evidence:
    """Correlation of loss drops with rank steps, beyond that under circular shifts; both detrended.

    Per run: the fall of the log training loss between two looks against the change of the rank.
    The p value combines the seeds' permutation scores by Stouffer's sum, z = sum z_s / sqrt(S).
    """
    runs = cells.all
    _, rank_RxM = _ranks(cells, runs, epsilon)
    _, loss_RxM = looks(cells.results, runs, "train_loss")
    drop_RxM = -np.diff(np.log(np.maximum(loss_RxM, np.finfo(np.float32).tiny)))
    pairs = zip(drop_RxM, np.diff(rank_RxM), strict=True)
    found = np.array([alignment(*_finite(drop, step)) for drop, step in pairs])
    z_S = by_seed(runs, found[:, 1]).dropna().to_numpy()
    detail = (
        f"{np.sum(z_S > 1.645)} of {runs['seed'].nunique()} seeds have a permutation p below 0.05"
    )
    evidence = of_sample(by_seed(runs, found[:, 0]).to_numpy(), no_effect, detail)
    total = z_S.sum() / np.sqrt(len(z_S)) if len(z_S) else np.nan
    return replace(evidence, p=float(2 * scipy.stats.norm.sf(abs(total))))


def below_bound(cells: Cells) -> Evidence:
    """Share of runs whose loss is below its bound at any look at which the bound says something.

    Of the bounds for the four epsilons the largest counts; not positive, it says nothing.
    """
    runs = cells.all
    _, rmse_RxM = looks(cells.results, runs, "output_rmse")
    bounds = [looks(cells.results, runs, f"rank_bound_{name}")[1] for name in EPSILONS]
    bound_RxM = np.max(bounds, axis=0)
    told_RxM = np.isfinite(rmse_RxM) & (bound_RxM > 0)
    broken_RxM = told_RxM & (rmse_RxM < bound_RxM - TOLERANCE)
    told_R = told_RxM.any(axis=1)
    reach = np.median((bound_RxM / rmse_RxM)[told_RxM]) if told_RxM.any() else np.nan
    detail = (
        f"the bound says something at {told_RxM.sum()} of {np.isfinite(rmse_RxM).sum()} looks, "
        f"where it is {reach:.2f} of the loss's root (median); below it at {broken_RxM.sum()}"
    )
    return share(int(broken_RxM.any(axis=1).sum()), int(told_R.sum()), detail)


def low_with_low_rank(
    cells: Cells, loss_share: float, rank: float, epsilon: str = EPSILON
) -> Evidence:
    """Share of the runs that reach a low loss in which the rank is low at such a look."""
    runs = cells.all
    _, rank_RxM = _ranks(cells, runs, epsilon)
    _, loss_RxM = looks(cells.results, runs, "train_loss")
    low_RxM = loss_RxM <= loss_share * runs["prior_loss"].to_numpy(dtype=float)[:, None]
    reached_R = low_RxM.any(axis=1)
    smallest = np.min(rank_RxM[low_RxM]) if reached_R.any() else np.nan
    detail = (
        f"{reached_R.sum()} of {len(runs)} runs reach it; the smallest rank there is {smallest:.0f}"
    )
    violated = (low_RxM & (rank_RxM < rank)).any(axis=1)
    return share(int(violated.sum()), int(reached_R.sum()), detail)


def deeper(cells: Cells, epsilon: str = EPSILON, no_effect: float = 0) -> Evidence:
    """Rank of the last hidden layer less that of the first at the last look, median over seeds."""
    runs = cells.all
    first, last = (_ends(_ranks(cells, runs, epsilon, layer)[1])[1] for layer in (1, LAST_HIDDEN))
    detail = f"layer 1 has {np.nanmedian(first):.0f}, the last hidden {np.nanmedian(last):.0f}"
    return of_sample(by_seed(runs, last - first).to_numpy(), no_effect, detail)


def starts_higher(cells: Cells, epsilon: str = EPSILON, no_effect: float = 0) -> Evidence:
    """Rank of the first cell at step 0 less that of the second, same seed; median over seeds."""
    first, second = (
        by_seed(runs, _ends(_ranks(cells, runs, epsilon)[1])[0]) for runs in cells.runs.values()
    )
    detail = f"{first.median():.0f} against {second.median():.0f} (medians)"
    return of_sample((first - second).dropna().to_numpy(), no_effect, detail)


def sooner(cells: Cells, loss_share: float, no_effect: float = 1) -> Evidence:
    """Updates to a share of the prior loss, the first cell's over the second's, same seed.

    A run that does not get there counts as inf, so that a pair of such runs says nothing.
    """
    first, second = (
        by_seed(runs, np.maximum(steps_to_loss(cells.results, runs, loss_share), 1))
        for runs in cells.runs.values()
    )
    detail = f"{first.median():.0f} against {second.median():.0f} updates (medians, inf is never)"
    with np.errstate(invalid="ignore"):
        ratio_S = (first / second).reindex(first.index.intersection(second.index)).to_numpy()
    return of_sample(ratio_S, no_effect, detail, log=True)


def rank_then_loss(
    cells: Cells, rank: float, loss_share: float, epsilon: str = EPSILON, no_effect: float = 0
) -> Evidence:
    """Kendall's tau over the cells of one seed: updates to a rank and to a loss; median over seeds.

    Cells that do not get there within T are tied as the last ones.
    """
    runs = cells.all
    steps_M, rank_RxM = _ranks(cells, runs, epsilon)
    runs["to_rank"] = np.minimum(first_look(steps_M, rank_RxM >= rank), 2 * steps_M[-1])
    to_loss_R = steps_to_loss(cells.results, runs, loss_share)
    runs["to_loss"] = np.minimum(to_loss_R, 2 * steps_M[-1])
    pairs = [group[["to_rank", "to_loss"]].to_numpy().T for _, group in runs.groupby("seed")]
    tau_S = np.array([_kendall(*pair) for pair in pairs])
    medians = runs.groupby("cell", sort=False)[["to_rank", "to_loss"]].median()
    text = ", ".join(f"{cell} {_when(row, steps_M[-1])}" for cell, row in medians.iterrows())
    return of_sample(tau_S, no_effect, f"updates to rank {rank:g} and to the loss: {text}")


def _ranks(
    cells: Cells, runs: pd.DataFrame, epsilon: str, layer: int = LAST_HIDDEN
) -> tuple[Floats, Floats]:
    return layer_looks(cells.results, runs, f"eps_rank_abs_{epsilon}", layer)


def _ends(rank_RxM: Floats) -> tuple[Floats, Floats]:
    """First and last finite rank of each run; NaN where there is none."""
    seen_RxM = np.isfinite(rank_RxM)
    row = np.arange(len(rank_RxM))
    first_R = rank_RxM[row, seen_RxM.argmax(axis=1)]
    return first_R, rank_RxM[row, rank_RxM.shape[1] - 1 - seen_RxM[:, ::-1].argmax(axis=1)]


def _steps(rank_RxM: Floats) -> tuple[Floats, Floats]:
    change_RxM = np.diff(rank_RxM, axis=1)
    up_R, down_R = (change_RxM > 0).sum(axis=1), (change_RxM < 0).sum(axis=1)
    return up_R.astype(float), down_R.astype(float)


def _finite(first_M: Floats, second_M: Floats) -> tuple[Floats, Floats]:
    """Both series until one is no longer finite."""
    bad = ~(np.isfinite(first_M) & np.isfinite(second_M))
    stop = int(bad.argmax()) if bad.any() else len(bad)
    return first_M[:stop], second_M[:stop]


def _kendall(one_N: Floats, other_N: Floats) -> float:
    if min(len(np.unique(one_N)), len(np.unique(other_N))) < 2:
        return np.nan
    return float(scipy.stats.kendalltau(one_N, other_N).statistic)


def _when(row: pd.Series, last: float) -> str:
    return " and ".join(f"{v:.0f}" if v <= last else "never" for v in row)
