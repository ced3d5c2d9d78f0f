"""An end of phase one that knows no threshold: one break in a piecewise linear log loss."""

import numpy as np
import ruptures

from analysis.curves import Floats

POINTS = 128
MIN_POINTS = 16
MIN_DROP = -float(np.log(0.99))


def breaks(loss_RxT: Floats) -> Floats:
    """Break of each run's log loss, in steps; NaN where there is no plateau and then a drop.

    The log loss, averaged over at most 128 equal blocks of steps, is fitted by two straight lines
    (ruptures: piecewise linear cost, one break, exact search), so the answer is exact to one
    block, T/128 steps. It answers a slightly different question than the threshold: where the
    curve bends, which is later when the drop starts slowly. Only the finite start of a run counts.
    """
    return np.array([_break(row) for row in loss_RxT])


def _break(loss_T: Floats) -> float:
    finite = np.isfinite(loss_T)
    length = len(loss_T) if finite.all() else int(finite.argmin())
    block = -(-length // POINTS)
    count = length // block if block else 0
    if count < MIN_POINTS:
        return float("nan")
    mean = loss_T[: count * block].reshape(count, block).mean(axis=1)
    log_loss = np.log(np.maximum(mean, np.finfo(np.float32).tiny))
    x = np.arange(count) / count
    covariates = np.column_stack([x, np.ones(count)])
    search = ruptures.Dynp(model="linear", min_size=3, jump=1)
    bend = search.fit(np.column_stack([log_loss, covariates])).predict(n_bkps=1)[0]
    return float(bend * block) if _drops(log_loss, covariates, bend) else float("nan")


def _drops(log_loss: Floats, covariates: Floats, bend: int) -> bool:
    """Whether the second line ends at least ln(1/0.99) below the first, prolonged (ours)."""
    first, second = (
        np.linalg.lstsq(covariates[part], log_loss[part], rcond=None)[0]
        for part in (slice(bend), slice(bend, None))
    )
    return bool(covariates[-1] @ (first - second) >= MIN_DROP)
