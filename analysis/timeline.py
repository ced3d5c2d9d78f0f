"""A figure's time axis: which runs it shows, where phase one ends, and moments of each run."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis import style
from analysis.conditions import describe
from analysis.curves import Floats, floats, matrix, middle_layer
from analysis.phases import with_phases
from analysis.survival import Survival, kaplan_meier
from tfc_jax.results import Results

PHASE = ("step 0", "middle of phase one", "end of phase one", "peak", "later", "last step")
QUARTERS = ("step 0", "first quarter", "half", "third quarter", "last step")


def whole_runs(results: Results) -> tuple[pd.DataFrame, str]:
    """Runs that have whole curves: with their phases, without those that diverged; and their count.

    For curves alone: the end of phase one is that of all runs (`phase_end`). All are kept where
    all diverged. The text is "16 seeds", or "15 seeds (1 diverged, left out)".
    """
    runs = with_phases(results)
    broken = runs["diverged"].to_numpy(dtype=bool) | (runs["status"] == "diverged").to_numpy()
    if not broken.any() or broken.all():
        return runs, _seeds(len(runs))
    kept = runs[~broken].reset_index(drop=True)
    return kept, f"{_seeds(len(kept))} ({broken.sum()} diverged, left out)"


def phase_end(results: Results) -> Survival:
    """Median length of phase one with its interval, over all runs of a sweep of one condition.

    A run that diverged in phase one never ends it; one that diverged later ended it (SCIENCE 3).
    """
    return kaplan_meier(with_phases(results))


def _seeds(count: int) -> str:
    return f"{count} seed" if count == 1 else f"{count} seeds"


def setting(runs: pd.DataFrame) -> str:
    """Names the network and data set of a sweep of one condition: "digits, depth 9, width 128"."""
    first = runs.iloc[0]
    rest = {key: first[key] for key in ("depth", "width") if pd.notna(first[key])}
    return f"{first['dataset']}, {describe(rest)}" if "dataset" in runs else describe(rest)


def mark_end(axes: Axes, boundary: Survival) -> None:
    """A line at the median end of phase one and its interval shaded; nothing where none ended."""
    if np.isfinite(boundary.median):
        axes.axvline(boundary.median, color=style.ACCENT, linewidth=1.3, zorder=1)
        right = min(boundary.high, axes.get_xlim()[1])
        axes.axvspan(boundary.low, right, color=style.ACCENT, alpha=0.13, linewidth=0, zorder=0)


def name_end(axes: Axes, boundary: Survival, height: float = 0.06) -> None:
    """Says beside the line what it is, on the side with more room; `height` is a share of axes."""
    if not np.isfinite(boundary.median):
        return
    start, stop = axes.get_xlim()
    left = boundary.low - start > 0.25 * (stop - start)
    interval = f"{boundary.low:.0f} to {boundary.high:.0f}"
    axes.annotate(
        f"end of phase one:\n{boundary.median:.0f} ({interval})",
        (boundary.low if left else min(boundary.high, stop), height),
        xycoords=("data", "axes fraction"),
        xytext=(-6 if left else 6, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        color=style.ACCENT,
    )


def title_end(axes: Axes, boundary: Survival) -> None:
    """Says above narrow axes what the line is, or how few runs ended phase one."""
    if np.isfinite(boundary.median):
        interval = f"{boundary.low:.0f} to {boundary.high:.0f}"
        text = f"| end of phase one: {boundary.median:.0f} ({interval})"
    else:
        text = f"phase one ended in {boundary.ended} of {boundary.n} runs"
    axes.set_title(text, color=style.ACCENT)


def moments(runs: pd.DataFrame) -> dict[str, Floats]:
    """Steps of comparable moments of each run, by name, in order: {name: step_R}.

    They are relative to the run's own phase one: its start, middle and end, the peak of the middle
    layer's between-class cosine, half way from there to the end of the run, and its last step
    (ours). A run whose phase one did not end lacks two of them: NaN. Where none ended, or the
    similarity was not recorded, they are the quarters of the run.
    """
    last_R = runs["steps_done"].to_numpy(dtype=float) - 1
    end_R, peak_R = (floats(runs, name) for name in ("phase1_end", "middle_cos_between_peak_step"))
    if np.isnan(end_R).all() or np.isnan(peak_R).all():
        shares = np.linspace(0, 1, len(QUARTERS))
        return {name: share * last_R for name, share in zip(QUARTERS, shares, strict=True)}
    later_R = (peak_R + last_R) / 2
    steps = (0 * last_R, end_R / 2, end_R, peak_R, later_R, last_R)
    return dict(zip(PHASE, steps, strict=True))


def at(steps_M: Floats, values_RxM: Floats, step_R: Floats) -> Floats:
    """Value of each run at the record nearest to its step, (R,); NaN where the step is NaN.

    Only records that the run has (are not NaN) count; the earlier of two equally near ones.
    """
    gap_RxM = np.abs(steps_M - step_R[:, None])
    gap_RxM = np.where(np.isfinite(values_RxM) & np.isfinite(gap_RxM), gap_RxM, np.inf)
    row_R, nearest_R = np.arange(len(step_R)), gap_RxM.argmin(axis=1)
    found_R = np.isfinite(gap_RxM[row_R, nearest_R])
    return np.where(found_R, values_RxM[row_R, nearest_R], np.nan)


def name_moment(name: str, step_R: Floats) -> str:
    """Returns the name with the median step of the runs that have this moment."""
    known = step_R[np.isfinite(step_R)]
    return name if name == "step 0" else f"{name}\n(step {np.median(known):,.0f})"


def some_layers(depth: int, count: int = 4) -> list[int]:
    """Hidden layers to stand for all: the first, the middle and the last, and others between."""
    hidden = max(depth - 1, 1)
    even = np.linspace(1, hidden, min(count, hidden)).round().astype(int)
    middle = min(middle_layer(depth), hidden)
    if middle not in even:
        inner = even[1:-1] if len(even) > 2 else even
        even = np.where(even == inner[np.abs(inner - middle).argmin()], middle, even)
    return sorted({int(layer) for layer in even})


def by_layer(
    frame: pd.DataFrame, column: str, run_ids: Sequence[str]
) -> dict[int, tuple[Floats, Floats]]:
    """Records of one column by layer: {layer: (steps_M, values_RxM)}."""
    return {int(layer): matrix(rows, column, run_ids) for layer, rows in frame.groupby("layer")}
