"""The common direction of the weights: what it starts as, and how much of the updates it is."""

import numpy as np

from analysis.evidence import Cells, Evidence
from analysis.evidence.samples import by_seed, of_sample
from analysis.evidence.windows import ends, median, middle_curves, unfinished


def alignment_with_mean_feature(cells: Cells, share: float, no_effect: float) -> Evidence:
    """|cos| of W's top direction and the mean feature, middle layer, early in the plateau.

    Args:
      share: of the plateau that has passed; 0 is initialisation.
    """
    runs = cells.all
    curve = middle_curves(cells, runs, ["common_feature_alignment"])["common_feature_alignment"]
    end_R = ends(runs)
    value_R = curve.at(share * end_R)
    later = ", ".join(
        f"{median(curve.at(ends(runs, name))):.3f} at {name}"
        for name in ("phase1_end", "phase1_end_95", "phase1_end_90")
    )
    detail = f"{median(value_R):.3f} after {share:.0%} of the plateau, {later}"
    return of_sample(by_seed(runs, value_R).to_numpy(), no_effect, detail + unfinished(runs))


def update_dominance(cells: Cells, no_effect: float) -> Evidence:
    """Way that the common part of the updates goes over that of the rest, during the plateau.

    The sum over recorded steps of |dW| sqrt(common_strength_dw) over that of |dW| sqrt(1 - it),
    middle layer, from step 0 to the plateau's end (ours). It takes the way of both parts, so turns
    of either part's direction do not make it shorter. Median over seeds.
    """
    runs = cells.all
    names = ["common_strength_dw", "update_ratio", "weight_norm"]
    curves = middle_curves(cells, runs, names)
    share_RxM, ratio_RxM, norm_RxM = (curves[name].values for name in names)
    counted_RxM = curves[names[0]].steps <= ends(runs)[:, None]
    size_RxM = np.where(counted_RxM, ratio_RxM * norm_RxM, np.nan)
    common_R = np.nansum(size_RxM * np.sqrt(share_RxM), axis=1)
    rest_R = np.nansum(size_RxM * np.sqrt(np.clip(1 - share_RxM, 0, 1)), axis=1)
    value_R = np.where(rest_R > 0, common_R / np.where(rest_R > 0, rest_R, 1), np.nan)
    early = median(curves[names[0]].at(np.zeros(len(runs))))
    late = median(curves[names[0]].at(ends(runs)))
    detail = f"common_strength_dw of the middle layer goes from {early:.3f} to {late:.3f}"
    return of_sample(
        by_seed(runs, value_R).to_numpy(), no_effect, detail + unfinished(runs), log=True
    )
