"""Which of two quantities moves first."""

from dataclasses import replace

import numpy as np

from analysis.curves import WINDOW, floats
from analysis.evidence import Cells, Evidence
from analysis.evidence.samples import by_seed, of_sample, sign_p
from analysis.evidence.windows import middle_curves
from analysis.leadlag import lead_lag

PHASES = 2.0  # curves count until this many times the plateau's length


def lead(cells: Cells, first: str, second: str, no_effect: float) -> Evidence:
    """Lag at which growth of `second` follows growth of `first`, over the plateau's length.

    Per run the peak of the cross-correlation of both curves' growth (`analysis.leadlag`), middle
    layer, until twice the plateau's length, at lags up to half of its median (ours). Positive:
    `first` leads. p is the sign test's over seeds with a peak.
    """
    runs = cells.all
    end_R = floats(runs, "phase1_end")
    ended_R = np.isfinite(end_R) & (end_R > 0)
    if not ended_R.any():
        nan = float("nan")
        return Evidence(nan, nan, nan, nan, 0, "no run ended its plateau within T")
    length = float(np.median(end_R[ended_R]))
    curves = middle_curves(cells, runs, [first, second], smoothed=False)
    counted_RxM = curves[first].steps <= np.where(ended_R, PHASES * end_R, -1)[:, None]
    a_RxM, b_RxM = (np.where(counted_RxM, curves[c].values, np.nan) for c in (first, second))
    window = max(WINDOW, round(length / 5))
    lag_R = lead_lag(a_RxM, b_RxM, curves[first].steps, length / 2, window)
    share_R = np.where(ended_R, lag_R / np.where(ended_R, end_R, 1), np.nan)
    lag_S = by_seed(runs, lag_R).to_numpy()
    known = lag_S[np.isfinite(lag_S)]
    ahead, behind = int((known > 0).sum()), int((known < 0).sum())
    detail = f"{first} leads {second} on {ahead} seeds and follows on {behind}"
    if len(known):
        detail += f"; median lag {np.median(known):.0f} updates"
    return replace(
        of_sample(by_seed(runs, share_R).to_numpy(), no_effect, detail),
        p=sign_p(ahead, ahead + behind),
    )
