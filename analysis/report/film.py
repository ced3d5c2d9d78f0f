"""The class film: how alike the features of each pair of classes are, step by step."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.curves import Floats, middle_layer, places
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


class Film:
    """The film of one sweep that has one; its table is read once.

    Of each condition the median over its runs, and its run of the lowest seed.

    Args:
      groups: the runs of each condition that have recorded steps.
    """

    def __init__(self, results: Results, name: str, groups: dict[str, pd.DataFrame]) -> None:
        self._name, self._conditions = name, len(groups)
        self._shown = dict(list(groups.items())[:REELS])
        run_ids = [run_id for runs in self._shown.values() for run_id in runs["run_id"]]
        frame = results.table("classes", columns=[COLUMN])
        frame = frame[frame["run_id"].isin(run_ids) & (frame["class_a"] <= frame["class_b"])]
        self._classes = 0 if frame.empty else int(frame["class_b"].max()) + 1
        self._kept = min(self._classes, CLASSES)
        self._frame = frame[frame["class_b"] < self._kept]
        self._steps_M = np.unique(self._frame["step"].to_numpy(dtype=np.int64))
        self._made: dict[int, dict[str, Any]] = {}  # by number of frames

    def embedded(self, budget: float) -> dict[str, Any] | None:
        """Returns what `film.js` shows; None if the table has no rows yet.

        Args:
          budget: bytes, about; frames are thinned until they fit.
        """
        if self._frame.empty:
            return None
        layers, pairs = int(self._frame["layer"].max()), self._kept * (self._kept + 1) / 2
        per_frame = BYTES * 2 * len(self._shown) * layers * pairs
        frames = max(2, min(FRAMES, int(budget / per_frame)))
        if frames not in self._made:
            self._made = {frames: self._make(frames)}
        return self._made[frames]

    def _make(self, frames: int) -> dict[str, Any]:
        steps_M = self._steps_M[spread(self._steps_M, frames)]
        return {
            "name": self._name,
            "classes": self._kept,
            "steps": steps_M.tolist(),
            "reels": [r for name in self._shown for r in self._reels(name, steps_M)],
            "left_out": self._left_out(len(steps_M)),
        }

    def _reels(self, condition: str, steps_M: np.ndarray) -> list[dict[str, Any]]:
        runs = self._shown[condition].sort_values("seed", kind="stable")
        depth = int(runs["depth"].max())
        values_RxMxLxP = _values(self._frame, list(runs["run_id"]), steps_M, depth, self._kept)
        one = {"condition": condition, "depth": depth, "middle": middle_layer(depth)}
        label, values = f"seed {runs['seed'].iloc[0]}", numbers(values_RxMxLxP[0])
        reels = [{**one, "label": label, "pairs": values}]
        if len(runs) > 1:
            label, values = f"median of {len(runs)} runs", numbers(quartiles(values_RxMxLxP)[1])
            reels.insert(0, {**one, "label": label, "pairs": values})
        return reels

    def _left_out(self, frames: int) -> list[str]:
        said = []
        if frames < len(self._steps_M):
            said.append(f"{frames} of {len(self._steps_M)} recorded steps")
        if self._kept < self._classes:
            said.append(f"classes 0 to {self._kept - 1} of {self._classes}")
        if len(self._shown) < self._conditions:
            said.append(f"the first {len(self._shown)} of {self._conditions} conditions")
        return said


def _values(
    frame: pd.DataFrame, run_ids: list[str], steps_M: np.ndarray, depth: int, classes: int
) -> Floats:
    """Cosines (run, step, layer, pair a <= b in the order of `np.triu_indices`)."""
    pair_KxK = np.zeros((classes, classes), dtype=int)
    upper = np.triu_indices(classes)
    pair_KxK[upper] = np.arange(len(upper[0]))
    own = frame[frame["run_id"].isin(run_ids) & frame["step"].isin(steps_M)]
    index = (
        places(own["run_id"], run_ids),
        np.searchsorted(steps_M, own["step"].to_numpy(dtype=np.int64)),
        own["layer"].to_numpy(dtype=int) - 1,
        pair_KxK[own["class_a"].to_numpy(dtype=int), own["class_b"].to_numpy(dtype=int)],
    )
    values = np.full((len(run_ids), len(steps_M), depth, len(upper[0])), np.nan)
    values[index] = own[COLUMN].to_numpy(dtype=float, na_value=np.nan)
    return values
