"""Tables with a class or a unit per row, as arrays at one moment of each run."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.curves import Floats

Steps = npt.NDArray[np.int64]


def nearest_records(frame: pd.DataFrame, run_ids: list[str], step_R: Floats) -> pd.DataFrame:
    """Rows of each run at its record nearest to its step; of two equally near, the earlier.

    Args:
      frame: columns run_id and step.
      step_R: in the order of `run_ids`; runs with NaN are left out.
    """
    kept = []
    for run_id, step in zip(run_ids, step_R, strict=True):
        rows = frame[frame["run_id"] == run_id]
        if np.isnan(step) or rows.empty:
            continue
        recorded = np.unique(rows["step"].to_numpy(dtype=float))
        kept.append(rows[rows["step"] == recorded[np.abs(recorded - step).argmin()]])
    return pd.concat(kept) if kept else frame.iloc[:0]


def median_class_cosines(rows: pd.DataFrame) -> Floats:
    """Median over runs of the class-by-class cosines, (K, K); NaN where no run has the pair.

    Args:
      rows: of table `classes`, one layer, one record per run.
    """
    medians = rows.groupby(["class_a", "class_b"])["class_cos"].median()
    return medians.unstack("class_b").to_numpy(dtype=float)


def salient_units(features: pd.DataFrame, count: int = 10) -> list[int]:
    """Units of the highest variance over the probe at the last step, highest first.

    Args:
      features: table `features` of one run.
    """
    last = features[features["step"] == features["step"].max()]
    variance = last.groupby("unit")["unit_variance"].max()
    return [int(unit) for unit in variance.nlargest(count).index]


def unit_by_sample(rows: pd.DataFrame, units: list[int]) -> Floats:
    """Values of these units for all samples of one record of one run, (units, samples)."""
    table = rows.pivot(index="unit", columns="sample", values="feature")
    return table.loc[units].to_numpy(dtype=float)


def spread(value_UxS: Floats) -> float:
    """How much units differ between samples, in [0, 1]; NaN where all are 0.

    The share of the values' energy that is not in each unit's mean over the samples: 0 if every
    sample looks the same (ours).
    """
    known_UxS = value_UxS[:, np.isfinite(value_UxS).all(axis=0)]
    largest = np.abs(known_UxS).max(initial=0.0)
    if largest == 0:
        return float("nan")
    scaled_UxS = known_UxS / largest
    rest_UxS = scaled_UxS - scaled_UxS.mean(axis=1, keepdims=True)
    return float((rest_UxS**2).sum() / (scaled_UxS**2).sum())
