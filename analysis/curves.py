"""Long tables to run-by-step matrices, and their smoothing."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
WINDOW = 50


def middle_layer(depth: int) -> int:
    """Returns ceil(L/2), the layer that stands for the network where one must."""
    return -(-depth // 2)


def floats(table: pd.DataFrame, column: str) -> Floats:
    """One column as float64, null as NaN; (R,)."""
    return table[column].to_numpy(dtype=float, na_value=np.nan)


def places(column: pd.Series, run_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Returns each row's place in `run_ids`, (N,); -1 for other runs. No row becomes a `str`."""
    code_N, found = pd.factorize(column)
    place: npt.NDArray[np.int64] = pd.Index(run_ids).get_indexer(found.astype(object))
    return np.append(place, -1)[code_N]


def matrix(frame: pd.DataFrame, column: str, run_ids: Sequence[str]) -> tuple[Floats, Floats]:
    """Turns one column of a long table into a matrix.

    Args:
      frame: columns run_id, step and `column`; at most one row per run and step.
      run_ids: the rows wanted, in order; other runs of the frame are left out.
    Returns:
      steps_M, all steps of these runs, ascending; values_RxM, NaN where a run has no row or null.
    """
    row = places(frame["run_id"], run_ids)
    kept = row >= 0
    step = frame["step"].to_numpy(dtype=np.int64)[kept]
    steps_M, position = np.unique(step, return_inverse=True)
    values_RxM = np.full((len(run_ids), len(steps_M)), np.nan)
    values_RxM[row[kept], position] = floats(frame, column)[kept]
    return steps_M.astype(float), values_RxM


def smooth(values_RxM: Floats, steps_M: Floats, window: int = WINDOW) -> Floats:
    """Centred moving mean over `window` steps (not records).

    The value at step t is the mean of the records in [t - window/2, t + window/2): 50 steps when
    every step is recorded. Near the first and the last step, where that does not fit, it is the
    widest window that does and is symmetric about t, so that the first value is the record itself
    (ours): a one-sided window would see a drop 25 steps early. Windows are summed one by one, not
    as differences of running sums, so that a spike of 1e30 spoils only the windows it lies in.

    Returns:
      Shape of `values_RxM`; NaN where the value itself is not finite, else the mean over the
      finite values of the window.
    """
    half = window // 2
    room = np.minimum(steps_M - steps_M[0], steps_M[-1] - steps_M)
    low = np.searchsorted(steps_M, steps_M - np.minimum(half, room))
    high = np.searchsorted(steps_M, steps_M + np.minimum(half - 1, room), side="right")
    finite = np.isfinite(values_RxM)
    filled = np.where(finite, values_RxM, 0.0)
    mean_RxM = np.full(values_RxM.shape, np.nan)
    for m, (start, stop) in enumerate(zip(low, high, strict=True)):
        count = finite[:, start:stop].sum(axis=1)
        mean_RxM[:, m] = filled[:, start:stop].sum(axis=1) / np.maximum(count, 1)
    return np.where(finite, mean_RxM, np.nan)


def last_until(values_RxM: Floats, steps_M: Floats, until_R: Floats) -> Floats:
    """The last finite value of each row at or before its step, (R,); NaN where there is none."""
    seen_RxM = np.isfinite(values_RxM) & (steps_M <= until_R[:, None])
    last_R = seen_RxM.shape[1] - 1 - seen_RxM[:, ::-1].argmax(axis=1)
    value_R = values_RxM[np.arange(len(values_RxM)), last_R]
    return np.where(seen_RxM.any(axis=1), value_R, np.nan)


def thin(steps_M: Floats, points: int = 400, *, log: bool = False) -> npt.NDArray[np.int64]:
    """Returns indices of at most `points` records, even in step (or in log step), for drawing."""
    position = np.log(steps_M + 1) if log else steps_M
    targets = np.linspace(position[0], position[-1], points)
    return np.unique(np.clip(np.searchsorted(position, targets), 0, len(steps_M) - 1))
