"""What the middle layer's similarity does from the first step to the end of phase one."""

import numpy as np
import pandas as pd

from analysis.curves import Floats, floats, last_until, matrix, smooth
from analysis.phases import SIMILARITY, middle_records
from tfc_jax.results import Results

COLUMNS = ("cos_start", "cos_end", "cos_rise")


def with_rise(results: Results, runs: pd.DataFrame) -> pd.DataFrame:
    """Returns the runs with COLUMNS, of feature_cos_between of each run's middle layer.

    `cos_start` is its value at step 0, `cos_end` that at the last record at or before the end of
    phase one, centred mean over 50 steps, and `cos_rise` the change between them (ours). A run
    that did not end phase one is read at its last step before it stopped or diverged. The change
    is not taken up to the largest value, which noise alone lifts above the first. NaN where the
    similarity was not recorded.
    """
    start_R = end_R = np.full(len(runs), np.nan)
    frame = middle_records(results, runs)
    if frame is not None and not frame.empty:
        steps_M, cos_RxM = matrix(frame, SIMILARITY, runs["run_id"].tolist())
        diverged_at_R = floats(runs, "diverged_at")
        cos_RxM = np.where(steps_M >= diverged_at_R[:, None], np.nan, cos_RxM)
        cos_RxM = smooth(cos_RxM, steps_M)
        start_R = cos_RxM[:, 0]
        end_R = last_until(cos_RxM, steps_M, _phase_ends(runs))
    rise = dict(zip(COLUMNS, (start_R, end_R, end_R - start_R), strict=True))
    return runs.assign(**rise)


def _phase_ends(runs: pd.DataFrame) -> Floats:
    """End of phase one, else infinity."""
    end_R = floats(runs, "phase1_end")
    return np.where(np.isfinite(end_R), end_R, np.inf)
