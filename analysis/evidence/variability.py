"""VAR: how a network's function varies at initialisation, and what that says about training.

Variability is `v3_raw` at step 0 unless a claim's arguments say otherwise (definition ours). Seeds
are the independent units: each has one network of every cell and depth.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy.stats

from analysis.curves import Floats
from analysis.diagnosis import DEFAULT
from analysis.evidence import Cells, Evidence
from analysis.evidence.counts import share
from analysis.evidence.samples import of_sample
from analysis.looks import at_start
from analysis.symptoms import delta_slopes

VARIABILITY = "v3_raw"
COLLAPSED = 1e-2  # coefficient of variation, or 1 - cosine, of a collapsed network


def from_peak(
    cells: Cells, side: Literal["shallow", "deep"], column: str = VARIABILITY, no_effect: float = 1
) -> Evidence:
    """Variability at the shallowest or deepest depth over that at the best, median over seeds.

    The best depth of a seed is where the median of the other seeds peaks, so that no seed chooses
    the depth it is judged by. A peak at the end itself gives the ratio 1.
    """
    table_SxD = _by_depth(at_start(cells.results, cells.all, [column]), column)
    if len(table_SxD) < 2:
        return of_sample(np.array([]), no_effect, f"{column} is known of {len(table_SxD)} seeds")
    best_S = _peaks(table_SxD)
    edge = table_SxD.columns[0 if side == "shallow" else -1]
    peak_S = np.array([table_SxD.loc[seed, depth] for seed, depth in best_S.items()])
    detail = (
        f"{column} peaks at depth {best_S.mode().iloc[0]} and is there "
        f"{np.median(peak_S):.2g}, at depth {edge} {table_SxD[edge].median():.2g} (medians)"
    )
    return of_sample(_ratio(table_SxD[edge], peak_S), no_effect, detail, log=True)


def with_units(cells: Cells, column: str = VARIABILITY, no_effect: float = 0) -> Evidence:
    """Spearman's correlation with the number of hidden units over the depths up to the peak."""
    runs = at_start(cells.results, cells.all, [column])
    best_S = _peaks(_by_depth(runs, column))
    rho_S = per_seed(runs, lambda g: _spearman(_before(g, best_S), column, "n_units"))
    deeper = runs[runs["depth"] > 2]
    rho_3 = per_seed(deeper, lambda g: _spearman(_before(g, best_S), column, "n_units"))
    detail = f"depths up to {best_S.max()}; without depth 2 the median is {_median(rho_3):.2f}"
    return of_sample(rho_S, no_effect, detail)


def with_constancy(cells: Cells, column: str = VARIABILITY, no_effect: float = 0) -> Evidence:
    """Spearman's correlation with the collapse to a constant, 1/output_cv, over a seed's runs."""
    names = list(dict.fromkeys([column, VARIABILITY, "v3_std", "output_cv", "output_constant"]))
    runs = at_start(cells.results, cells.all, names)
    # outputs that are all 0 have no cv, and are constant
    runs["constancy"] = -runs["output_cv"].fillna(0.0)
    rho_S = per_seed(runs, lambda g: _spearman(g, column, "constancy"))
    other = "v3_std" if column != "v3_std" else VARIABILITY
    other_S = per_seed(runs.dropna(subset=[other]), lambda g: _spearman(g, other, "constancy"))
    constant = runs["output_constant"].mean()
    detail = f"{constant:.0%} of networks start constant; of {other} it is {_median(other_S):.2f}"
    return of_sample(rho_S, no_effect, detail)


def apart(cells: Cells, given: Literal["constant", "vanishing"]) -> Evidence:
    """Share of the constant networks without a vanishing gradient, or the other way; at step 0.

    A network of which one of both is not known is no case.
    """
    runs = at_start(cells.results, cells.all, ["output_constant"])
    slopes_R = _vanishing(cells, runs)
    known_R = np.isfinite(slopes_R) & runs["output_constant"].notna().to_numpy()
    constant_R = runs["output_constant"].to_numpy()[known_R] == 1
    vanishing_R = slopes_R[known_R] == 1
    have, lack = constant_R, vanishing_R
    if given == "vanishing":
        have, lack = lack, have
    counts = [int(np.sum(constant_R & a)) for a in (vanishing_R, ~vanishing_R)]
    detail = (
        f"of {known_R.sum()} networks {counts[0]} are constant with a vanishing gradient, "
        f"{counts[1]} constant without, {int(np.sum(vanishing_R & ~constant_R))} only vanish"
    )
    return share(int(np.sum(have & ~lack)), int(np.sum(have)), detail)


def against(cells: Cells, column: str = VARIABILITY, no_effect: float = 1) -> Evidence:
    """Variability of the first cell over the second, same seed and depth: median over depths."""
    first, second = (
        _by_depth(at_start(cells.results, runs, [column]), column) for runs in cells.runs.values()
    )
    ratio_SxD = first / second
    by_depth = ", ".join(f"{depth}: {value:.2f}" for depth, value in ratio_SxD.median().items())
    detail = f"ratio by depth {by_depth}"
    with np.errstate(divide="ignore"):
        ratio_S = np.exp(np.log(ratio_SxD).median(axis=1)).to_numpy()
    return of_sample(ratio_S, no_effect, detail, log=True)


def collapse_depth(
    cells: Cells, measure: Literal["spread", "cosine"], no_effect: float = 1
) -> Evidence:
    """Depth at which the first cell's networks collapse over that of the second's, by seed.

    `spread`: the outputs' coefficient of variation falls below 1e-2; `cosine`: one less the mean
    cosine of the last hidden layer's features falls below 1e-2. Between the depths of the sweep
    the logarithm is interpolated. Networks that collapse at no depth of it count as if they did at
    the deepest, which makes the ratio less extreme; seeds in which neither does are left out.
    """
    depths = []
    for runs in cells.runs.values():
        if measure == "spread":
            frame = at_start(cells.results, runs, ["output_cv"])
            frame["left"] = frame["output_cv"].fillna(0.0)
        else:
            frame = runs.assign(left=1 - _last_hidden_cosine(cells, runs))
        depths.append(_crossings(_by_depth(frame, "left")))
    names = list(cells.runs)
    detail = "; ".join(f"{n}: depth {d.median():.3g}" for n, d in zip(names, depths, strict=True))
    deepest = max(runs["depth"].max() for runs in cells.runs.values())
    known = np.isfinite(depths[0]) | np.isfinite(depths[1])
    ratio_S = (depths[0].clip(upper=deepest) / depths[1].clip(upper=deepest)).where(known)
    return of_sample(ratio_S.to_numpy(), no_effect, detail + " (medians)", log=True)


def per_seed(runs: pd.DataFrame, statistic: Callable[[pd.DataFrame], float]) -> Floats:
    """A statistic of each seed's runs, (S,)."""
    return np.array([statistic(group) for _, group in runs.groupby("seed")], dtype=float)


def _by_depth(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Seeds by depth, ascending; seeds that lack a depth (or are infinite there) are left out."""
    value = runs[column].astype(float).replace([np.inf, -np.inf], np.nan)
    return value.groupby([runs["seed"], runs["depth"]]).median().unstack().dropna()


def _peaks(table_SxD: pd.DataFrame) -> pd.Series:
    """Depth at which the median over all other seeds is largest, by seed."""
    if len(table_SxD) < 2:
        return pd.Series(dtype=float)
    others = {seed: table_SxD.drop(index=seed).median().idxmax() for seed in table_SxD.index}
    return pd.Series(others)


def _before(group: pd.DataFrame, best_S: pd.Series) -> pd.DataFrame:
    return group[group["depth"] <= best_S.get(group["seed"].iloc[0], -1)]


def _spearman(group: pd.DataFrame, one: str, other: str) -> float:
    """NaN of fewer than three runs, or where one of both is the same for all."""
    known = group[[one, other]].astype(float).dropna()
    if len(known) < 3 or (known.nunique() < 2).any():
        return np.nan
    return float(scipy.stats.spearmanr(known[one], known[other]).statistic)


def _ratio(first: Any, second: Any) -> Floats:
    """NaN where both are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(first, dtype=float) / np.asarray(second, dtype=float)


def _median(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else np.nan


def _vanishing(cells: Cells, runs: pd.DataFrame) -> Floats:
    """1 where log10 of delta_norm falls by > 0.1 per hidden layer towards the input, else 0.

    As the flag vanishing has it; NaN of a run that has fewer than two hidden layers on record.
    """
    frame = cells.results.layers("step == 0 and layer < depth", ["delta_norm"])
    slope_R = runs["run_id"].map(delta_slopes(frame)).to_numpy(dtype=float, na_value=np.nan)
    return np.where(np.isnan(slope_R), np.nan, slope_R > DEFAULT.vanishing)


def _last_hidden_cosine(cells: Cells, runs: pd.DataFrame) -> Floats:
    parts = [
        cells.results.layers(
            f"step == 0 and depth == {depth} and layer == {depth - 1}", ["feature_cos"]
        )
        for depth in sorted(runs["depth"].unique())
    ]
    cosine = pd.concat(parts).set_index("run_id")["feature_cos"]
    return runs["run_id"].map(cosine).to_numpy(dtype=float, na_value=np.nan)


def _crossings(left_SxD: pd.DataFrame) -> pd.Series:
    """Depth at which each seed first falls below 1e-2, its logarithm interpolated; else inf."""
    depth_D = left_SxD.columns.to_numpy(dtype=float)
    rows = np.log(np.maximum(left_SxD.to_numpy(dtype=float), np.finfo(float).tiny))
    depths = [_crossing(row, depth_D) for row in rows]
    return pd.Series(depths, index=left_SxD.index, dtype=float)


def _crossing(log_D: Floats, depth_D: Floats) -> float:
    level = np.log(COLLAPSED)
    below = np.flatnonzero(log_D < level)
    if not len(below):
        return np.inf
    at = int(below[0])
    if at == 0:
        return float(depth_D[0])
    return float(np.interp(-level, -log_D[at - 1 : at + 1], depth_D[at - 1 : at + 1]))
