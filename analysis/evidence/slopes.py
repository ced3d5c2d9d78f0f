"""Length of phase one along a covariate: a log-normal model of accelerated failure time."""

import warnings

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.stats
from lifelines import LogNormalAFTFitter
from lifelines.exceptions import ConvergenceError, ConvergenceWarning, StatisticalWarning

from analysis.curves import Floats, floats
from analysis.evidence import Cells, Evidence
from analysis.evidence.lengths import describe
from analysis.ordering import RESAMPLES, resampled, trend_p
from analysis.survival import kaplan_meier, times

Mask = npt.NDArray[np.bool_]

MOST_FAILED = 0.1  # of the resamples, else there is no interval
NEWTON_STEPS, SETTLED = 40, 1e-6
SEPARATED = 50.0  # standard deviations per standard deviation of the covariate: no finite estimate


def slope(cells: Cells, covariate: str, per: float = 1.0, logarithm: bool = False) -> Evidence:
    """Decades by which phase one grows when a key grows by `per`, all cells together.

    Right-censored log-normal model with a common spread (lifelines), lengths of 0 taken as 1. The
    interval is the percentile bootstrap over whole seeds; p is that of the trend within seeds under
    censoring (`ordering.trend_p`), which needs no model.

    Args:
      logarithm: per doubling of the key instead.
    """
    runs = cells.all
    value_R = floats(runs, covariate)
    x_R = np.log2(value_R) if logarithm else value_R / per
    time_R, ended_R = times(runs)
    time_R = np.maximum(time_R, 1)
    low, high, failed = _interval(time_R, ended_R, x_R, runs["seed"].to_numpy())
    _, p = trend_p(time_R, ended_R, x_R, runs["seed"].to_numpy())
    medians = "; ".join(
        f"{value:g}: {describe(kaplan_meier(group))}" for value, group in runs.groupby(covariate)
    )
    detail = f"median length by {covariate}: {medians}"
    if failed:
        detail += f"; {failed} of {RESAMPLES} resamples have no estimate"
    effect = fitted(time_R, ended_R, x_R)
    return Evidence(effect, low, high, 1.0 if np.isnan(p) else p, runs["seed"].nunique(), detail)


def fitted(time_R: Floats, ended_R: npt.ArrayLike, x_R: Floats) -> float:
    """Slope of log10 length in x; NaN where ends at fewer than two values of x leave it open."""
    if len(np.unique(x_R[np.asarray(ended_R, bool)])) < 2:
        return float("nan")
    frame = pd.DataFrame({"time": time_R, "ended": ended_R, "x": x_R - x_R.mean()})
    try:
        with warnings.catch_warnings():
            # what lifelines only warns of is no estimate either; others' warnings are none of it
            for category in (ConvergenceWarning, StatisticalWarning):
                warnings.simplefilter("error", category)
            model = LogNormalAFTFitter().fit(frame, "time", "ended")
    except (
        ConvergenceError,
        ConvergenceWarning,
        StatisticalWarning,
        np.linalg.LinAlgError,
        ValueError,
    ):
        return float("nan")
    return float(model.params_.loc[("mu_", "x")] / np.log(10))


def _interval(
    time_R: Floats, ended_R: npt.ArrayLike, x_R: Floats, seed_R: Floats
) -> tuple[float, float, int]:
    """Ends of the interval over resampled seeds, and how many resamples had no estimate."""
    seeds, at_R = np.unique(seed_R, return_inverse=True)
    if len(seeds) < 2:
        return float("nan"), float("nan"), 0
    slope_B = weighted_slopes(time_R, ended_R, x_R, resampled(len(seeds))[:, at_R])
    failed = int(np.isnan(slope_B).sum())
    if failed > MOST_FAILED * len(slope_B):
        return float("nan"), float("nan"), failed
    low, high = np.nanquantile(slope_B, [0.025, 0.975])
    return float(low), float(high), failed


def weighted_slopes(
    time_R: Floats, ended_R: npt.ArrayLike, x_R: Floats, weight_BxR: Floats
) -> Floats:
    """The model's slope for many weightings of the runs at once, (B,), decades per unit of x.

    Newton's method on 1/sd and the coefficients over sd, in which the likelihood is concave (Olsen
    1978). Thousands of resamples take a second, with lifelines hours; the slope is the same
    (test_slopes.py). NaN where there is no finite estimate or none was found.
    """
    slope_B = np.full(len(weight_BxR), np.nan)
    estimable_B = _estimable(np.asarray(ended_R, dtype=bool), x_R, weight_BxR)
    if not estimable_B.any():
        return slope_B
    spread, y_R = float(x_R.std()), np.log10(time_R)
    scale = max(float(y_R.std()), 1e-9)
    columns = [np.ones(len(x_R)), (x_R - x_R.mean()) / spread, (y_R.mean() - y_R) / scale]
    beta_BxP = _solve(np.column_stack(columns), np.asarray(ended_R, bool), weight_BxR[estimable_B])
    finite_B = np.abs(beta_BxP[:, 1]) < SEPARATED
    per_unit = beta_BxP[:, 1] / beta_BxP[:, 2] * scale / spread
    slope_B[estimable_B] = np.where(finite_B, per_unit, np.nan)
    return slope_B


def _estimable(ended_R: Mask, x_R: Floats, weight_BxR: Floats) -> Mask:
    """Whether runs ended at two values of x or more."""
    ended_RxV = (x_R[:, None] == np.unique(x_R)) & ended_R[:, None]
    return np.asarray(((weight_BxR @ ended_RxV) > 0).sum(axis=1) >= 2)


def _solve(design_RxP: Floats, ended_R: Mask, weight_BxR: Floats) -> Floats:
    """Coefficients (B, P), the last of them 1/sd; NaN where Newton's method did not settle."""
    beta_BxP = np.tile([0.0, 0.0, 1.0], (len(weight_BxR), 1))
    for _ in range(NEWTON_STEPS):
        step_BxP = _newton(beta_BxP, design_RxP, ended_R, weight_BxR)
        settled_B = np.abs(step_BxP).max(axis=1) < SETTLED
        # 1/sd stays positive: at most nine tenths of the way to 0
        furthest_B = -0.9 * beta_BxP[:, 2]
        too_far_B = step_BxP[:, 2] < furthest_B
        size_B = np.where(too_far_B, furthest_B / np.where(too_far_B, step_BxP[:, 2], 1.0), 1.0)
        beta_BxP = beta_BxP + size_B[:, None] * step_BxP
        if settled_B.all():
            break
    return np.where(settled_B[:, None], beta_BxP, np.nan)


def _newton(beta_BxP: Floats, design_RxP: Floats, ended_R: Mask, weight_BxR: Floats) -> Floats:
    """One Newton step; z = design . beta is minus the standardised residual."""
    z_BxR = np.clip(beta_BxP @ design_RxP.T, -1e3, 1e3)
    # inverse Mills ratio phi(z) / Phi(z), stable for z far below 0
    mills_BxR = np.exp(scipy.stats.norm.logpdf(z_BxR) - scipy.stats.norm.logcdf(z_BxR))
    score_BxR = np.where(ended_R, -z_BxR, mills_BxR) * weight_BxR
    curve_BxR = np.where(ended_R, 1.0, mills_BxR * (z_BxR + mills_BxR)) * weight_BxR
    events_B = (weight_BxR * ended_R).sum(axis=1)
    gradient_BxP = score_BxR @ design_RxP
    gradient_BxP[:, 2] += events_B / beta_BxP[:, 2]
    hessian_BxPxP = np.einsum("br,rp,rq->bpq", curve_BxR, design_RxP, design_RxP, optimize=True)
    hessian_BxPxP[:, 2, 2] += events_B / beta_BxP[:, 2] ** 2
    hessian_BxPxP += 1e-10 * np.eye(design_RxP.shape[1])
    return np.linalg.solve(hessian_BxPxP, gradient_BxP[..., None])[..., 0]
