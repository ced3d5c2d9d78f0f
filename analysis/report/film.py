"""The class film: how alike the features of each pair of classes are, step by step."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.curves import Floats, middle_layer
from analysis.report.curves import quartiles, spread
from analysis.report.detail import BYTES
from analysis.report.embed import numbers
from analysis.report.metrics import value_columns
from tfc_jax.results import Results

COLUMN = "class_cos"
CLASSES = 20
FRAMES = 120
REELS = 12


def has_film(results: Results) -> bool:
    """Whether a sweep records cosines of classes."""
    return COLUMN in value_columns(results, "classes")


def film(
    results: Results, name: str, groups: dict[str, pd.DataFrame], budget: float
) -> dict[str, Any] | None:
    """Returns what `film.js` shows of one sweep that has a film; None if it has no rows yet.

    Of each condition the median over its runs, and its run of the lowest seed.

    Args:
      groups: the runs of each condition that have recorded steps.
      budget: bytes, about; frames are thinned until they fit.
    """
    shown = dict(list(groups.items())[:REELS])
    run_ids = [run_id for runs in shown.values() for run_id in runs["run_id"]]
    frame = results.table("classes", columns=[COLUMN])
    frame = frame[frame["run_id"].isin(run_ids) & (frame["class_a"] <= frame["class_b"])]
    if frame.empty:
        return None
    classes = int(frame["class_b"].max()) + 1
    kept = min(classes, CLASSES)
    frame = frame[frame["class_b"] < kept]
    steps_M = np.unique(frame["step"].to_numpy(dtype=np.int64))
    layers = int(frame["layer"].max())
    per_frame = BYTES * 2 * len(shown) * layers * kept * (kept + 1) / 2
    at = spread(steps_M, max(2, min(FRAMES, int(budget / per_frame))))
    reels = []
    for condition, group in shown.items():
        runs = group.sort_values("seed", kind="stable")
        depth = int(runs["depth"].max())
        values_RxMxLxP = _values(frame, list(runs["run_id"]), steps_M[at], depth, kept)
        one = {"condition": condition, "depth": depth, "middle": middle_layer(depth)}
        median = quartiles(values_RxMxLxP)[1]
        if len(runs) > 1:
            label = f"median of {len(runs)} runs"
            reels.append({**one, "label": label, "pairs": numbers(median)})
        label = f"seed {runs['seed'].iloc[0]}"
        reels.append({**one, "label": label, "pairs": numbers(values_RxMxLxP[0])})
    left_out = []
    if len(at) < len(steps_M):
        left_out.append(f"{len(at)} of {len(steps_M)} recorded steps")
    if kept < classes:
        left_out.append(f"classes 0 to {kept - 1} of {classes}")
    if len(shown) < len(groups):
        left_out.append(f"the first {len(shown)} of {len(groups)} conditions")
    steps = steps_M[at].tolist()
    return {"name": name, "classes": kept, "steps": steps, "reels": reels, "left_out": left_out}


def _values(
    frame: pd.DataFrame, run_ids: list[str], steps_M: np.ndarray, depth: int, classes: int
) -> Floats:
    """Cosines (run, step, layer, pair a <= b in the order of `np.triu_indices`)."""
    pair_KxK = np.zeros((classes, classes), dtype=int)
    upper = np.triu_indices(classes)
    pair_KxK[upper] = np.arange(len(upper[0]))
    own = frame[frame["run_id"].isin(run_ids) & frame["step"].isin(steps_M)]
    index = (
        pd.Index(run_ids).get_indexer(own["run_id"].astype(object)),
        np.searchsorted(steps_M, own["step"].to_numpy(dtype=np.int64)),
        own["layer"].to_numpy(dtype=int) - 1,
        pair_KxK[own["class_a"].to_numpy(dtype=int), own["class_b"].to_numpy(dtype=int)],
    )
    values = np.full((len(run_ids), len(steps_M), depth, len(upper[0])), np.nan)
    values[index] = own[COLUMN].to_numpy(dtype=float, na_value=np.nan)
    return values
