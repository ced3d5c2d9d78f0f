"""What a run shows in the middle of phase one and at its end: the evidence of its diagnosis.

The middle is that of phase one, of the run if the phase never ends, of what came before if the run
diverged. Values of layers there are means over 50 steps, as everywhere; at the end they are those
of the last record.
"""

import numpy as np
import pandas as pd

from analysis.curves import WINDOW, Floats, floats
from tfc_jax.results import Results
from tfc_jax.schema import Column
from tfc_jax.theory import ACTIVATIONS, WEIGHT_VARIANCES, mean

LAYER_COLUMNS = (
    "feature_norm",
    "dead_units",
    "dead_samples",
    "delta_norm",
    "feature_cos_between",
    "cancellation",
    "grad_norm",
    "weight_norm",
    "feature_cos_within_centered",
    "feature_cos_between_centered",
)
HOMOGENEOUS = ("relu", "leaky_relu", "abs", "identity")


def _column(name: str, unit: str, meaning: str, dtype: str = "float64") -> Column:
    return Column(name=name, table="runs", unit=unit, meaning=meaning, dtype=dtype)


_AT = ", at diagnosed_step"
COLUMNS: tuple[Column, ...] = (
    _column(
        "diagnosed_step", "updates", "middle of phase one, of the run if it never ends", "int64"
    ),
    _column("least_feature_norm", "1", "smallest feature_norm of a hidden layer" + _AT),
    _column("most_dead_units", "share", "largest dead_units of a hidden layer" + _AT),
    _column("most_dead_samples", "share", "largest dead_samples of a hidden layer" + _AT),
    _column(
        "delta_slope",
        "decades per layer",
        "least-squares slope of log10 delta_norm over the hidden layers; > 0 where gradients fall "
        "towards the input" + _AT,
    ),
    _column(
        "delta_slope_excess",
        "decades per layer",
        "delta_slope less what the initialisation predicts: log10(sqrt(2) / init_scale) for ReLU "
        "under Xavier, 0 under He; null where it predicts none",
    ),
    _column("middle_cos_between", "cosine", "feature_cos_between of the middle layer" + _AT),
    _column("middle_cancellation", "1", "cancellation of the middle layer" + _AT),
    _column(
        "middle_sample_update",
        "1",
        "change of the middle layer's W, over |W|, by a step of learning_rate along one sample's "
        "gradient, root mean square over samples" + _AT,
    ),
    _column("middle_loss", "prior losses", "loss, mean over 50 steps" + _AT),
    _column(
        "end_cos_within", "cosine", "feature_cos_within_centered, last hidden layer, at the end"
    ),
    _column(
        "end_cos_between", "cosine", "feature_cos_between_centered, last hidden layer, at the end"
    ),
    _column(
        "end_gain", "share", "prior_loss less the loss at the end (50 steps), over prior less Bayes"
    ),
)

OF_LAYERS = tuple(c.name for c in COLUMNS[1:-3] if c.name != "middle_loss")


def symptoms(results: Results, runs: pd.DataFrame, smoothed_RxT: Floats) -> pd.DataFrame:
    """COLUMNS of each run, with the index of `runs`; NaN where not recorded or not defined.

    Args:
      runs: keys and outcomes, and phase1_end, diverged_at, horizon of `analysis.phases`.
      smoothed_RxT: smoothed loss, NaN from divergence on.
    """
    out = pd.DataFrame(np.nan, index=runs.index, columns=[c.name for c in COLUMNS])
    middle_R = _middle(runs)
    out["diagnosed_step"] = middle_R
    rows = np.arange(len(runs))
    prior_R = numbers(runs, "prior_loss")
    out["middle_loss"] = smoothed_RxT[rows, middle_R.astype(int)] / prior_R
    length_R = np.minimum(numbers(runs, "horizon"), smoothed_RxT.shape[1])
    last_R = np.maximum(length_R - 1 - WINDOW // 2, 0).astype(int)
    gainable_R = prior_R - np.nan_to_num(numbers(runs, "bayes_loss"))
    out["end_gain"] = (prior_R - smoothed_RxT[rows, last_R]) / gainable_R
    hidden = _hidden_records(results, runs.assign(middle=middle_R))
    for name, value in _of_layers(hidden).items():
        out[name] = runs["run_id"].map(value).to_numpy(dtype=float, na_value=np.nan)
    out["delta_slope_excess"] = out["delta_slope"] - predicted_slope(runs)
    return out


def numbers(runs: pd.DataFrame, name: str) -> Floats:
    """A column as float64; NaN all over where there is no such column."""
    if name not in runs.columns:
        return np.full(len(runs), np.nan)
    return floats(runs, name)


def _middle(runs: pd.DataFrame) -> Floats:
    end_R, diverged_R, horizon_R = (
        numbers(runs, name) for name in ("phase1_end", "diverged_at", "horizon")
    )
    return np.floor(np.where(np.isfinite(end_R), end_R, np.fmin(diverged_R, horizon_R)) / 2)


def predicted_slope(runs: pd.DataFrame) -> Floats:
    """Decades per layer by which gradients fall towards the input at initialisation; (R,).

    -log10(w m) / 2 with w the weight variance times fan_in of square layers, and m the mean square
    of the activation of a standard Gaussian, which for homogeneous activations is that of their
    slope, too. NaN for other activations, with normalisation, and off the plain perceptron.
    """
    variance_R = runs["init"].map(WEIGHT_VARIANCES).to_numpy(dtype=float)
    square = {name: _mean_square(name) for name in HOMOGENEOUS}
    square_R = runs["activation"].map(square).to_numpy(dtype=float)
    plain_R = ((runs["architecture"] == "mlp") & (runs["norm"] == "none")).to_numpy(dtype=bool)
    factor_R = variance_R * numbers(runs, "init_scale") ** 2 * square_R
    return np.where(plain_R, -np.log10(factor_R) / 2, np.nan)


def _mean_square(activation: str) -> float:
    function = ACTIVATIONS[activation]
    return float(mean(lambda z: function(z) ** 2))


def _hidden_records(results: Results, runs: pd.DataFrame) -> pd.DataFrame:
    """Records of hidden layers before divergence, with LAYER_COLUMNS, NaN where not recorded."""
    recorded = [name for name in LAYER_COLUMNS if results.has("layers", name)]
    joined = ["run_id", "depth", "learning_rate", "diverged_at", "middle"]
    if recorded:
        kinds = {**dict.fromkeys(recorded, float), "step": "int64", "layer": "int64"}
        frame = results.layers(columns=recorded).astype(kinds)
    else:
        frame = pd.DataFrame({"run_id": [], "step": [], "layer": []})
    frame = frame.merge(runs[joined].astype(dict.fromkeys(joined[1:], float)), on="run_id")
    frame = frame[(frame["layer"] < frame["depth"]) & ~(frame["step"] >= frame["diverged_at"])]
    return frame.reindex(columns=[*frame.columns, *(c for c in LAYER_COLUMNS if c not in recorded)])


def _of_layers(hidden: pd.DataFrame) -> dict[str, pd.Series]:
    """Evidence by name, each a series over run_id."""
    around = _around_middle(hidden)
    runs = around.groupby("run_id")
    middle = around[around["layer"] == np.ceil(around["depth"] / 2)].set_index("run_id")
    sample_grad = middle["grad_norm"] / np.sqrt(middle["cancellation"])
    last = hidden[hidden["layer"] == hidden["depth"] - 1].groupby("run_id").last()
    return {
        "least_feature_norm": runs["feature_norm"].min(),
        "most_dead_units": runs["dead_units"].max(),
        "most_dead_samples": runs["dead_samples"].max(),
        "delta_slope": delta_slopes(around),
        "middle_cos_between": middle["feature_cos_between"],
        "middle_cancellation": middle["cancellation"],
        "middle_sample_update": middle["learning_rate"] * sample_grad / middle["weight_norm"],
        "end_cos_within": last["feature_cos_within_centered"],
        "end_cos_between": last["feature_cos_between_centered"],
    }


def _around_middle(hidden: pd.DataFrame) -> pd.DataFrame:
    """One row per run and layer: means over the records within 25 steps of the middle.

    Centred on the record nearest to it; the window narrows at the first and last record as in
    `curves.smooth`.
    """
    by_run = hidden.groupby("run_id")["step"]
    first, last = by_run.transform("min"), by_run.transform("max")
    distance = (hidden["step"] - hidden["middle"]).abs()
    nearest = hidden.loc[distance.groupby(hidden["run_id"]).idxmin()].set_index("run_id")["step"]
    at = hidden["run_id"].map(nearest).astype(float)
    half = np.minimum(WINDOW // 2, np.minimum(at - first, last - at))
    low, high = at - half, at + np.minimum(half, WINDOW // 2 - 1)
    inside = hidden[(hidden["step"] >= low) & (hidden["step"] <= high)]
    return inside.groupby(["run_id", "layer"]).mean().reset_index()


def delta_slopes(layers: pd.DataFrame) -> pd.Series:
    """Least-squares slope of log10 delta_norm over hidden layers, by run_id; NaN below two.

    Zero counts as the smallest normal number of float32, so that a gradient that underflowed on the
    way counts as one that fell.
    """
    known = layers[layers["delta_norm"].notna()]
    log = np.log10(known["delta_norm"].clip(lower=float(np.finfo(np.float32).tiny)))
    x, y = (v - v.groupby(known["run_id"]).transform("mean") for v in (known["layer"], log))
    sums = pd.DataFrame({"xy": x * y, "xx": x * x}).groupby(known["run_id"]).sum()
    return sums["xy"] / sums["xx"].where(sums["xx"] > 0)
