"""The interactive curves: medians by condition and single runs, of every layer and metric."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.curves import WINDOW, Floats, middle_layer, places, smooth
from analysis.report.detail import Detail, Extent, evenly
from analysis.report.embed import numbers
from analysis.report.metrics import TABLES, Metric, recorded
from tfc_jax.results import Results


class SweepCurves:
    """The curves of one sweep; tables are read once for each detail asked for and not kept.

    Args:
      groups: the runs of each condition that have recorded steps.
    """

    def __init__(self, results: Results, name: str, groups: dict[str, pd.DataFrame]) -> None:
        self.name = name
        self._results = results
        self._groups = groups
        self._depths = [int(runs["depth"].max()) for runs in groups.values()]
        self.metrics = recorded(results)
        self._steps = {table: self._recorded_steps(table) for table in TABLES}
        self._made: dict[Detail, dict[str, Any]] = {}  # the newest alone

    def _recorded_steps(self, table: str) -> npt.NDArray[np.int64]:
        if not any(m.table == table for m in self.metrics):
            return np.array([], dtype=np.int64)
        return np.unique(self._results.table(table, columns=[])["step"].to_numpy(dtype=np.int64))

    @property
    def extent(self) -> Extent:
        """How much there is, for the budget."""
        return Extent(
            self._depths,
            max(map(len, self._groups.values())),
            [len(self._steps[m.table]) for m in self.metrics],
            [m.layered for m in self.metrics],
        )

    def embedded(self, detail: Detail) -> dict[str, Any]:
        """Returns what `curves.js` draws, with a sentence for each thing left out."""
        if detail not in self._made:
            self._made = {detail: self._make(detail)}
        return self._made[detail]

    def _make(self, detail: Detail) -> dict[str, Any]:
        at = evenly(range(len(self._groups)), detail.conditions)
        names = list(self._groups)
        conditions = [
            {
                "name": names[i],
                "runs": len(self._groups[names[i]]),
                "layers": evenly(range(1, self._depths[i] + 1), detail.layers),
                "middle": middle_layer(self._depths[i]),
            }
            for i in at
        ]
        groups = [self._groups[names[i]].sort_values("seed", kind="stable") for i in at]
        shown = self.metrics[: detail.metrics]
        frames = [self._table(t, [m for m in shown if m.table == t]) for t in TABLES]
        curves = {
            metric.name: curve
            for frame in frames
            if frame
            for metric, curve in frame.curves(groups, conditions, detail)
        }
        return {
            "name": self.name,
            "conditions": conditions,
            "singles": [[f"seed {s}" for s in g["seed"][: detail.runs]] for g in groups],
            "metrics": [
                {"name": m.name, "unit": m.unit, "meaning": m.meaning, "layered": m.layered}
                | curves[m.name]
                for m in shown
            ],
            "left_out": self._left_out(detail, conditions),
        }

    def _table(self, table: str, metrics: Sequence[Metric]) -> "Cube | None":
        if not metrics:
            return None
        frame = self._results.table(table, columns=[m.name for m in metrics])
        run_ids = [run_id for g in self._groups.values() for run_id in g["run_id"]]
        return Cube(frame, metrics, run_ids, max(self._depths))

    def _left_out(self, detail: Detail, conditions: Sequence[dict[str, Any]]) -> list[str]:
        said = []
        most = max((len(self._steps[m.table]) for m in self.metrics), default=0)
        if most > detail.points:
            said.append(f"at most {detail.points} of {most} recorded steps of a curve")
        if not detail.bands:
            said.append("medians without quartiles")
        runs = max(map(len, self._groups.values()))
        if runs > detail.runs:
            said.append(f"{detail.runs} of up to {runs} single runs of a condition, lowest seeds")
        if len(conditions) < len(self._groups):
            said.append(f"{len(conditions)} of {len(self._groups)} conditions, evenly spaced")
        if detail.layers is not None and detail.layers < max(self._depths):
            said.append(f"at most {detail.layers} layers of a network, evenly spaced")
        names = [m.name for m in self.metrics]
        if detail.metrics is not None and len(names) > detail.metrics:
            said.append(f"without {', '.join(names[detail.metrics :])}")
        return said


class Cube:
    """The values of one table as (run, layer, step) arrays; one layer where it has none."""

    def __init__(
        self, frame: pd.DataFrame, metrics: Sequence[Metric], run_ids: Sequence[str], depth: int
    ) -> None:
        run_N = places(frame["run_id"], run_ids)
        self._frame = frame[run_N >= 0]
        self._run_N = run_N[run_N >= 0]
        self._row = {run_id: i for i, run_id in enumerate(run_ids)}
        self._metrics = metrics
        layered = "layer" in frame.columns
        self._layer_N = self._frame["layer"].to_numpy(dtype=int) - 1 if layered else 0
        self._shape = (len(run_ids), depth if layered else 1)
        steps = self._frame["step"].to_numpy(dtype=np.int64)
        self._steps_M, self._step_N = np.unique(steps, return_inverse=True)

    def curves(
        self,
        groups: Sequence[pd.DataFrame],
        conditions: Sequence[dict[str, Any]],
        detail: Detail,
    ) -> list[tuple[Metric, dict[str, Any]]]:
        """Returns x and, by condition and layer, median, quartiles and single runs."""
        shown = spread(self._steps_M, detail.points)
        rows = [[self._row[run_id] for run_id in group["run_id"]] for group in groups]
        out = []
        for metric in self._metrics:
            values_RxLxM = self._values(metric)[..., shown]
            parts = [
                _summary(values_RxLxM[own], condition["layers"], metric.layered, detail)
                for own, condition in zip(rows, conditions, strict=True)
            ]
            curve = {key: [part[key] for part in parts] for key in parts[0]}
            out.append((metric, {"x": self._steps_M[shown].tolist(), **curve}))
        return out

    def _values(self, metric: Metric) -> Floats:
        values_RxLxM = np.full((*self._shape, len(self._steps_M)), np.nan)
        column = self._frame[metric.name].to_numpy(dtype=float, na_value=np.nan)
        values_RxLxM[self._run_N, self._layer_N, self._step_N] = column
        values_RxLxM[~np.isfinite(values_RxLxM)] = np.nan
        if metric.table == "steps":
            return smooth(values_RxLxM[:, 0], self._steps_M.astype(float))[:, None]
        return values_RxLxM


def _summary(
    values_RxLxM: Floats, layers: Sequence[int], layered: bool, detail: Detail
) -> dict[str, list[Any]]:
    if layered:
        values_RxLxM = values_RxLxM[:, [layer - 1 for layer in layers]]
    low, median, high = quartiles(values_RxLxM)
    out = {"median": numbers(median)}
    if detail.bands and len(values_RxLxM) > 1:
        out |= {"low": numbers(low), "high": numbers(high)}
    else:
        out |= {"low": [], "high": []}
    return out | {"runs": numbers(values_RxLxM[: detail.runs])}


def quartiles(values_RxN: Floats) -> tuple[Floats, Floats, Floats]:
    """25 %, 50 % and 75 % quantiles over the first axis, of the values that are not NaN."""
    ordered = np.sort(values_RxN, axis=0)  # NaN last
    count = np.isfinite(ordered).sum(axis=0, keepdims=True)
    found = []
    for share in (0.25, 0.5, 0.75):
        position = share * np.maximum(count - 1, 0)
        below = np.floor(position).astype(int)
        above = np.minimum(below + 1, np.maximum(count - 1, 0))
        low, high = (np.take_along_axis(ordered, at, axis=0)[0] for at in (below, above))
        found.append(low + (high - low) * (position - below)[0])
    return found[0], found[1], found[2]


def spread(steps_M: npt.NDArray[np.int64], points: int) -> npt.NDArray[np.int64]:
    """Returns indices of at most `points` records: half even in step, half in log step."""
    if len(steps_M) <= points:
        return np.arange(len(steps_M))
    half = points // 2
    chosen = [
        np.searchsorted(scale, np.linspace(scale[0], scale[-1], half))
        for scale in (steps_M.astype(float), np.log(steps_M + 1.0))
    ]
    return np.unique(np.minimum(np.concatenate(chosen), len(steps_M) - 1))


NOTE = (
    f"Loss, accuracy and other values of every step are means over {WINDOW} steps. Lines are "
    "medians over the runs of a condition, bands reach from their 25 % to their 75 % quantile; "
    "values that are not finite are left out. Where the number of steps is thinned, half of "
    "those shown are even in step, half in log step."
)
