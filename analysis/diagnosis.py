"""What stops or slows a run: independent flags, each by its evidence (SCIENCE section 5).

Evidence is `analysis.symptoms`, taken in the middle of phase one; neural collapse and learning are
judged at the end. "Somewhere" means in any hidden layer. A flag is null where its evidence is not
recorded, or not defined, as between-class cosines of a regression are not.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import symptoms
from analysis.curves import Floats
from analysis.symptoms import numbers
from tfc_jax.results import Results
from tfc_jax.schema import Column


@dataclass(frozen=True)
class Thresholds:
    """Where each flag begins: SCIENCE section 5, but for three that are ours.

    Attributes:
      underflow: root mean square feature norm (ours; section 5 has the largest entry, which is
        between it over sqrt(width) and it times sqrt(batch_size)).
      dead_units, dead_samples: shares.
      vanishing: decades per layer.
      collapse, collapse_rise: cosine, and how far it is above that of step 0.
      healthy: change of W by a step along one sample's gradient alone, over |W| (ours): what
        float32 resolves is 6e-8.
      within, between: centred class-conditional cosines of the last hidden layer.
      accuracy: on the training probe.
      gain: share of the loss that could be gained (ours).
    """

    underflow: float = 1e-18
    dead_units: float = 0.99
    dead_samples: float = 0.5
    vanishing: float = 0.1
    collapse: float = 0.85
    collapse_rise: float = 0.02
    healthy: float = 1e-7
    within: float = 0.95
    between: float = 0.0
    accuracy: float = 0.99
    gain: float = 0.5


DEFAULT = Thresholds()
MEANINGS = {
    "underflow": "least_feature_norm < {underflow:g}",
    "dead": "most_dead_units >= {dead_units:g} or most_dead_samples >= {dead_samples:g}",
    "diverged": "loss not finite, or for good above ten prior losses, before phase one ended",
    "vanishing": "delta_slope > {vanishing:g}",
    "feature_collapse": "middle_cos_between >= {collapse:g}, and at least {collapse_rise:g} above "
    "middle_cos_between_start",
    "cancelling": "middle_cancellation < 1 / batch_size, with middle_sample_update >= {healthy:g}",
    "plateau": "loss at diagnosed_step not below the threshold of phase1_end",
    "neural_collapse": "end_cos_within > {within:g}, end_cos_between < {between:g}, "
    "final_train_accuracy > {accuracy:g}",
    "learned": "end_gain >= {gain:g}",
}
FLAGS = tuple(MEANINGS)


def columns(at: Thresholds = DEFAULT) -> tuple[Column, ...]:
    """Returns what `diagnose` gives: the evidence, flag_<name> for each flag, and diagnosis."""
    flags = [
        Column(f"flag_{name}", "runs", "", text.format(**asdict(at)), "bool")
        for name, text in MEANINGS.items()
    ]
    named = "the flags that are true, joined by +, or none; null where no layer is recorded"
    return (*symptoms.COLUMNS, *flags, Column("diagnosis", "runs", "", named, "string"))


def diagnose(
    results: Results,
    runs: pd.DataFrame,
    smoothed_RxT: Floats,
    threshold_R: Floats,
    at: Thresholds = DEFAULT,
) -> pd.DataFrame:
    """Evidence and flags of each run: `columns(at)`, with the index of `runs`.

    Args:
      runs: keys and outcomes, and phase1_end, diverged, diverged_at, horizon and
        middle_cos_between_start of `analysis.phases`.
      smoothed_RxT: smoothed loss, NaN from divergence on.
      threshold_R: loss below which phase one is over.
    """
    seen = symptoms.symptoms(results, runs, smoothed_RxT)
    known = seen.join(runs.drop(columns=seen.columns, errors="ignore"))
    flags = {f"flag_{name}": flag for name, flag in _flags(known, threshold_R, at).items()}
    out = seen.assign(**flags)
    out["diagnosis"] = _names(out)
    return out[[c.name for c in columns(at)]]


def _flags(runs: pd.DataFrame, threshold_R: Floats, at: Thresholds) -> dict[str, pd.Series]:
    def flag(test: Callable[..., npt.NDArray[np.bool_]], *names: str) -> pd.Series:
        """Null where a column that the test reads is NaN."""
        values = [numbers(runs, name) for name in names]
        known = np.isfinite(values).all(axis=0)
        return pd.Series(test(*values), runs.index, dtype="boolean").where(known)

    loss_R = numbers(runs, "middle_loss") * numbers(runs, "prior_loss")
    units = flag(lambda share: share >= at.dead_units, "most_dead_units")
    samples = flag(lambda share: share >= at.dead_samples, "most_dead_samples")
    healthy = flag(lambda size: size >= at.healthy, "middle_sample_update")
    alone = flag(lambda c, batch: c * batch < 1, "middle_cancellation", "batch_size")
    return {
        "underflow": flag(lambda norm: norm < at.underflow, "least_feature_norm"),
        "dead": units | samples,
        "diverged": runs["diverged"].astype("boolean"),
        "vanishing": flag(lambda slope: slope > at.vanishing, "delta_slope"),
        "feature_collapse": flag(
            lambda cos, start: (cos >= at.collapse) & (cos - start >= at.collapse_rise),
            "middle_cos_between",
            "middle_cos_between_start",
        ),
        "cancelling": alone & healthy,
        "plateau": pd.Series(loss_R >= threshold_R, runs.index, dtype="boolean").where(
            np.isfinite(loss_R)
        ),
        "neural_collapse": flag(
            lambda within, between, accuracy: (
                (within > at.within) & (between < at.between) & (accuracy > at.accuracy)
            ),
            "end_cos_within",
            "end_cos_between",
            "final_train_accuracy",
        ),
        "learned": pd.Series(runs["end_gain"] >= at.gain, runs.index, dtype="boolean"),
    }


def _names(runs: pd.DataFrame) -> pd.Series:
    """The set of true flags in words."""
    true = pd.DataFrame({name: runs[f"flag_{name}"].fillna(False) for name in FLAGS})
    words = ["+".join(np.array(FLAGS)[row]) or "none" for row in true.to_numpy(dtype=bool)]
    recorded = runs[list(symptoms.OF_LAYERS)].notna().any(axis=1)
    return pd.Series(words, index=runs.index, dtype=object).where(recorded, None)
