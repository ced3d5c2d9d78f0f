"""The first phase of a run: where it ends, whether it was seen to end (SCIENCE section 3)."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from analysis import diagnosis
from analysis.changepoint import breaks
from analysis.curves import Floats, floats, matrix, middle_layer, smooth
from tfc_jax.errors import InputError
from tfc_jax.files import move_in, sync_file
from tfc_jax.results import Results
from tfc_jax.schema import Column, arrow_schema
from tfc_jax.tables import write_parquet

Mask = npt.NDArray[np.bool_]

HOLD = 200
SIMILARITY = "feature_cos_between"
DIVERGED_ABOVE = 10.0
FRACTIONS = {"phase1_end": 0.99, "phase1_end_95": 0.95, "phase1_end_90": 0.90}
# A clean task must gain 1 % of the prior loss to end phase one, a noisy one 5 % of what can be
# gained at all: five times the share.
NOISY_SHARE = 5.0


def _column(name: str, unit: str, meaning: str, dtype: str = "int64") -> Column:
    return Column(name=name, table="runs", unit=unit, meaning=meaning, dtype=dtype)


_CRITERION = (
    "first step from which the loss, a centred mean over 50 steps, stays below {} of the prior "
    "loss for 200 steps (under label noise: below it by {} of what can be gained); null if never"
)
PHASES: tuple[Column, ...] = (
    _column("phase1_end", "updates", "end of phase one: " + _CRITERION.format("0.99", "5 %")),
    _column("phase1_end_95", "updates", "sensitivity: " + _CRITERION.format("0.95", "25 %")),
    _column("phase1_end_90", "updates", "sensitivity: " + _CRITERION.format("0.90", "50 %")),
    _column(
        "phase1_end_cp",
        "updates",
        "break of a piecewise linear fit to the log loss, an independent detector; null if there "
        "is no plateau followed by a drop",
    ),
    _column("censored", "", "phase one had not ended when the run did", "bool"),
    _column("diverged", "", "the run diverged before phase one ended", "bool"),
    _column("diverged_at", "updates", "first diverged step, if before the end of phase one"),
    _column("horizon", "updates", "steps after which a phase one that has not ended is censored"),
    _column(
        "middle_cos_between_start",
        "cosine",
        "feature_cos_between of the middle layer at step 0",
        "float64",
    ),
    _column(
        "middle_cos_between_peak",
        "cosine",
        "largest feature_cos_between of the middle layer, centred mean over 50 steps",
        "float64",
    ),
    _column("middle_cos_between_peak_step", "updates", "step of middle_cos_between_peak"),
)
COLUMNS: tuple[Column, ...] = (*PHASES, *diagnosis.columns())


def thresholds(runs: pd.DataFrame, fraction: float) -> Floats:
    """Loss below which phase one is over, one per run.

    Clean: fraction * prior loss. Under label noise: prior - 5 (1 - fraction) (prior - Bayes), so
    5 % of the possible gain at 0.99; 25 % and 50 % at 0.95 and 0.90 are ours.
    """
    prior_R = floats(runs, "prior_loss")
    bayes_R = floats(runs, "bayes_loss")
    noisy_R = prior_R - NOISY_SHARE * (1 - fraction) * (prior_R - bayes_R)
    return np.where(runs["label_noise"].to_numpy(dtype=float) > 0, noisy_R, fraction * prior_R)


def first_true(mask_RxT: Mask) -> Floats:
    """Returns the first true column of each row, NaN where there is none."""
    if mask_RxT.shape[1] == 0:
        return np.full(len(mask_RxT), np.nan)
    return np.where(mask_RxT.any(axis=1), mask_RxT.argmax(axis=1), np.nan)


def first_sustained(mask_RxT: Mask, hold: int = HOLD) -> Floats:
    """Returns the first step from which `hold` consecutive steps are true; NaN if there is none.

    The steps must lie inside the run: a phase that ends fewer than `hold` steps before T has not
    been seen to end.
    """
    before_RxT1 = np.cumsum(np.pad(mask_RxT, ((0, 0), (1, 0))), axis=1)
    return first_true(before_RxT1[:, hold:] - before_RxT1[:, :-hold] == hold)


def divergence(loss_RxT: Floats, length_R: Floats, prior_R: Floats, first_bad_R: Floats) -> Floats:
    """First diverged step of each run, NaN if it never diverges.

    That is the first step whose loss is not finite, or the engine's first bad step, or the step
    from which the smoothed loss stays above ten times the prior loss until the run ends, for at
    least 200 steps (ours; a large initialisation starts above it and comes down).
    """
    step_T = np.arange(loss_RxT.shape[1])
    recorded_RxT = step_T < length_R[:, None]
    broken_R = first_true(recorded_RxT & ~np.isfinite(loss_RxT))
    sane_RxT = smooth(loss_RxT, step_T.astype(float)) <= DIVERGED_ABOVE * prior_R[:, None]
    left_R = np.where(sane_RxT, step_T, -1).max(axis=1) + 1.0
    stays_R = np.where(length_R - left_R >= HOLD, left_R, np.nan)
    return np.fmin(np.fmin(broken_R, stays_R), first_bad_R)


def losses(steps: pd.DataFrame, runs: pd.DataFrame) -> tuple[Floats, Floats]:
    """Losses of all steps.

    Returns:
      loss_RxT, NaN after the last recorded step; length_R, the number of recorded steps.
    Raises:
      InputError: steps are missing between the first and the last of a run.
    """
    _, loss_RxT = matrix(steps, "loss", runs["run_id"].tolist())
    length_R = steps.groupby("run_id", observed=True)["step"].agg(["size", "max"])
    length_R = length_R.loc[runs["run_id"].tolist()]
    torn = length_R.index[length_R["size"] != length_R["max"] + 1]
    if len(torn):
        raise InputError(
            f"{len(torn)} runs have gaps in their steps table (first: {', '.join(torn[:3])}). "
            "Train them again with `tfc run SWEEP --fresh`, then analyse again."
        )
    return loss_RxT, length_R["size"].to_numpy(dtype=float)


def _observed_runs(results: Results, steps: pd.DataFrame) -> pd.DataFrame:
    runs = results.runs
    runs = runs[runs["run_id"].isin(steps["run_id"].unique())].reset_index(drop=True)
    unknown = runs.loc[runs["prior_loss"].isna(), "run_id"].tolist()
    if unknown:
        raise InputError(
            f"{results.path}: {len(unknown)} runs have no prior_loss (first: {unknown[0]}), "
            "without which phase one has no threshold. Train them with `tfc run` or `tfc retry`."
        )
    return runs


def middle_records(results: Results, runs: pd.DataFrame) -> pd.DataFrame | None:
    """Rows run_id, step, feature_cos_between of each run's middle layer; None if not recorded."""
    if runs.empty or not results.has("layers", SIMILARITY):
        return None
    frames = [
        results.layers(f"depth == {depth} and layer == {middle_layer(int(depth))}", [SIMILARITY])
        for depth in sorted(runs["depth"].unique())
    ]
    return pd.concat(frames, ignore_index=True)


def _similarity(results: Results, runs: pd.DataFrame, diverged_at_R: Floats) -> pd.DataFrame:
    """Start and peak of the middle layer's between-class cosine; null where not recorded."""
    start, peak, peak_step = (c.name for c in PHASES if c.name.startswith("middle_"))
    out = pd.DataFrame(np.nan, index=runs.index, columns=[start, peak, peak_step])
    frame = middle_records(results, runs)
    if frame is None or frame.empty:
        return out
    steps_M, cos_RxM = matrix(frame, SIMILARITY, runs["run_id"].tolist())
    cos_RxM = np.where(steps_M >= diverged_at_R[:, None], np.nan, cos_RxM)
    cos_RxM = smooth(cos_RxM, steps_M)
    seen = np.isfinite(cos_RxM).any(axis=1)
    out.loc[seen, start] = cos_RxM[seen, 0]
    out.loc[seen, peak] = np.nanmax(cos_RxM[seen], axis=1)
    out.loc[seen, peak_step] = steps_M[np.nanargmax(cos_RxM[seen], axis=1)]
    return out


def analyse(results: Results) -> pd.DataFrame:
    """One row per run that has recorded steps: COLUMNS, by run_id.

    A run is exactly one of: ended (phase1_end set), diverged before that, or censored at
    `horizon`. What happens after the end changes nothing. Cost: about a second per million steps.
    """
    steps = results.steps(columns=["loss"])
    runs = _observed_runs(results, steps)
    if runs.empty:
        return pd.DataFrame(columns=["run_id", *(c.name for c in COLUMNS)])
    loss_RxT, length_R = losses(steps, runs)
    prior_R = runs["prior_loss"].to_numpy(dtype=float)
    first_bad_R = floats(runs, "first_bad_step")
    diverged_at_R = divergence(loss_RxT, length_R, prior_R, first_bad_R)
    step_T = np.arange(loss_RxT.shape[1], dtype=float)
    loss_RxT = np.where(step_T >= diverged_at_R[:, None], np.nan, loss_RxT)
    smoothed_RxT = smooth(loss_RxT, step_T)
    table: dict[str, npt.NDArray[Any]] = {
        name: first_sustained(smoothed_RxT < thresholds(runs, fraction)[:, None])
        for name, fraction in FRACTIONS.items()
    }
    ended_R = np.isfinite(table["phase1_end"])
    diverged_R = np.isfinite(diverged_at_R) & ~ended_R
    table["phase1_end_cp"] = np.where(diverged_R, np.nan, breaks(loss_RxT))
    table["censored"] = ~ended_R & ~diverged_R
    table["diverged"] = diverged_R
    table["diverged_at"] = np.where(diverged_R, diverged_at_R, np.nan)
    planned_R = runs["steps"].to_numpy(dtype=float)
    table["horizon"] = np.where(diverged_R, np.maximum(planned_R, length_R), length_R)
    similarity = _similarity(results, runs, diverged_at_R)
    phases = pd.concat([pd.DataFrame(table), similarity], axis=1)
    known = pd.concat([runs.drop(columns=phases.columns, errors="ignore"), phases], axis=1)
    threshold_R = thresholds(runs, FRACTIONS["phase1_end"])
    diagnosed = diagnosis.diagnose(results, known, smoothed_RxT, threshold_R)
    frame = pd.concat([runs[["run_id"]], phases, diagnosed], axis=1)
    return frame.astype({c.name: "Int64" for c in COLUMNS if c.dtype == "int64"})


def write_analysis(results: Results) -> Path:
    """Writes `<results>/analysis.parquet` beside its place and moves it in; returns its path."""
    path = results.path / "analysis.parquet"
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    schema = arrow_schema("runs", COLUMNS)
    write_parquet(pa.Table.from_pandas(analyse(results), schema=schema), beside)
    sync_file(beside)
    move_in(beside, path)
    return path


def with_phases(results: Results, *, fresh: bool = False) -> pd.DataFrame:
    """Returns `results.runs` that have recorded steps, with COLUMNS.

    Args:
      fresh: analyse now, even where the reader has joined a stored (perhaps older) analysis.
    """
    runs = results.runs
    names = [c.name for c in COLUMNS]
    if fresh or not set(names) <= set(runs.columns):
        runs = runs.drop(columns=names, errors="ignore").merge(analyse(results), on="run_id")
    return runs[runs["horizon"].notna()].reset_index(drop=True)
