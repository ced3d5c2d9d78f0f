"""The keys of a run: names, defaults, units, meanings, and which combinations contradict.

One place for all of them; imports no JAX. A new key is one new field with a default that leaves
existing runs as they were.
"""

import hashlib
import json
from collections.abc import Hashable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import Field, TypeAdapter

from tfc_jax import data, registry
from tfc_jax.keytypes import (
    INT32_MAX,
    Count,
    Flag,
    Info,
    Key,
    NotNegative,
    Positive,
    Share,
    ShareBelowOne,
    Text,
    Whole,
    one_of,
)

Intervention = Literal[
    "none",
    "remove_common_direction",
    "remove_feature_mean",
    "rescale",
    "reinit_dead",
    "enable_momentum",
    "sham",
]
DIGITS = 12  # of a run_id
INTERVENTIONS: tuple[str, ...] = get_args(Intervention)
Dataset = Annotated[Text, *one_of(data.available(), data.is_known)]
_models = registry.names("models")
Architecture = Annotated[Text, *one_of(_models, _models.__contains__)]


@dataclass(frozen=True, slots=True)
class Run:
    """One network and its training.

    Defaults are frozen: a `run_id` is a hash of what differs from them. Values are as
    `Key.checked` returns them (a number key holds a float, never an int).
    """

    dataset: Annotated[Dataset, Info("", "Data set: a family of tfc_jax/data.")] = "digits"
    n_train: Annotated[
        Count | None, Info("samples", "The first n_train training samples; null: all.")
    ] = None
    classes: Annotated[
        Annotated[Whole, Field(ge=2, le=INT32_MAX)] | None,
        Info("classes", "Keeps the samples with labels 0..classes-1; null: all."),
    ] = None
    label_noise: Annotated[
        Share,
        Info(
            "probability",
            "Chance that a training label is redrawn uniformly over the classes.",
            traced=True,
        ),
    ] = 0.0
    difficulty: Annotated[
        Positive | None,
        Info(
            "",
            "How hard a made-up data set is: cells per side of checkerboard, spread of a class "
            "over the distance of class centres in gaussian_blobs, directions of single_index; "
            "null: the set's own default.",
        ),
    ] = None
    scaling: Annotated[
        Literal["unit", "standard", "none"],
        Info(
            "",
            "Inputs: unit divides by the largest possible value, standard gives each channel or "
            "feature mean 0 and deviation 1 over the training set, none leaves them.",
        ),
    ] = "unit"
    fourier_features: Annotated[
        Count | None,
        Info(
            "frequencies",
            "Inputs become a sine and a cosine at so many frequencies (flat inputs); null: not.",
        ),
    ] = None
    architecture: Annotated[Architecture, Info("", "Network: a file of tfc_jax/models.")] = "mlp"
    depth: Annotated[
        Count,
        Info(
            "layers",
            "Layers L, of which 1..L-1 are hidden: linear layers of an mlp, blocks of the others; "
            "layer L is the linear map onto the outputs.",
        ),
    ] = 5
    width: Annotated[
        Count, Info("units", "Units of each hidden layer; channels of a convolution's first stage.")
    ] = 128
    target_params: Annotated[
        Count | None,
        Info("count", "Chooses the width whose network has closest to so many trained numbers."),
    ] = None
    activation: Annotated[
        Literal["relu", "leaky_relu", "tanh", "gelu", "abs", "identity"],
        Info("", "Nonlinearity of the hidden layers."),
    ] = "relu"
    norm: Annotated[
        Literal["none", "batch", "layer"],
        Info("", "Normalisation between a hidden linear layer and its activation."),
    ] = "none"
    bias: Annotated[Flag, Info("", "Whether linear layers have a bias.")] = False
    residual_alpha: Annotated[
        NotNegative,
        Info("", "Factor on the branch of a residual block: x + alpha branch(x).", traced=True),
    ] = 1.0
    init: Annotated[
        Literal[
            "xavier_normal",
            "xavier_uniform",
            "he_normal",
            "lecun_normal",
            "orthogonal",
            "torch_default",
            "structured",
        ],
        Info("", "Law of the initial weights; normal ones are not truncated."),
    ] = "xavier_normal"
    init_scale: Annotated[
        Positive, Info("", "Factor on the initial weights of every layer.", traced=True)
    ] = 1.0
    structured_gamma: Annotated[
        Positive | None,
        Info("", "Slope of the units of a structured first layer; null: width/4."),
    ] = None
    loss: Annotated[
        Literal["cross_entropy", "mse"],
        Info("", "Cross-entropy in nats, or squared error averaged over samples and outputs."),
    ] = "cross_entropy"
    optimizer: Annotated[Literal["sgd", "adam"], Info("", "Update rule.")] = "sgd"
    learning_rate: Annotated[Positive, Info("", "Step size of the update rule.", traced=True)] = (
        0.01
    )
    momentum: Annotated[
        ShareBelowOne,
        Info("", "Share of the last update that sgd keeps, below 1.", traced=True),
    ] = 0.0
    weight_decay: Annotated[
        NotNegative,
        Info("", "L2: this multiple of the weights joins their gradient.", traced=True),
    ] = 0.0
    momentum_dtype: Annotated[
        Literal["float32", "bfloat16"], Info("", "How the momentum of sgd is stored.")
    ] = "float32"
    batch_size: Annotated[Count, Info("samples", "Training samples of one step.")] = 100
    steps: Annotated[Count, Info("steps", "Updates; a longer run contains the shorter.")] = 1000
    precision: Annotated[
        Literal["highest", "high", "default"],
        Info("", "Matrix products: highest is float32; high and default as JAX defines them."),
    ] = "highest"
    seed: Annotated[
        Annotated[Whole, Field(ge=0, le=2**32 - 1)],
        Info("", "Fixes initial directions, batch order and label noise.", traced=True),
    ] = 0
    intervention: Annotated[
        Intervention,
        Info("", "What is done to the network once, at step intervene_at.", traced=True),
    ] = "none"
    intervene_at: Annotated[
        Annotated[Whole, Field(ge=0, le=INT32_MAX)] | None,
        Info(
            "updates",
            "Step before which the intervention happens: the measurement of that step sees it, a "
            "probe at it does not. With intervention none, the control arm that shares a program "
            "with the others.",
            traced=True,
        ),
    ] = None
    intervene_layer: Annotated[
        Annotated[Whole, Field(ge=0, le=INT32_MAX)] | None,
        Info("", "Layer it acts on; 0: all hidden ones, null: the middle one.", traced=True),
    ] = None
    intervene_value: Annotated[
        Positive | None,
        Info(
            "",
            "Factor of rescale; momentum of enable_momentum, which at first keeps the gradient of "
            "the step before; else null.",
            traced=True,
        ),
    ] = None

    def changed(self) -> dict[str, Any]:
        """Returns the keys that differ from their defaults, without `steps`."""
        values = zip(_IDENTITY, _identity_of(self), _DEFAULTS, strict=True)
        return {name: value for name, value, default in values if value != default}

    @property
    def identity(self) -> Hashable:
        """What `run_id` stands for, without a hash of it: the values of all keys but `steps`."""
        return _identity_of(self)

    @property
    def run_id(self) -> str:
        """12 hex digits: a hash of `changed()`, so neither new keys nor more steps rename a run."""
        return hashlib.sha256(canonical(self.changed()).encode()).hexdigest()[:DIGITS]

    @property
    def has_momentum(self) -> bool:
        """Whether the optimizer keeps a momentum buffer, which plain SGD need not carry.

        Every arm of an intervention has one, so that all arms share a program.
        """
        return self.momentum > 0 or (self.intervene_at is not None and self.optimizer == "sgd")

    @property
    def intervened_layers(self) -> tuple[int, ...]:
        """Layers that `intervene_layer` stands for: one, the middle ceil(L/2), or all hidden."""
        if self.intervene_layer == 0:
            return tuple(range(1, self.depth))
        return (self.intervene_layer or -(-self.depth // 2),)

    def static_key(self) -> Hashable:
        """Returns the values of the keys that fix shapes or code: equal within one program."""
        return _static_of(self)


def _keys() -> dict[str, Key]:
    hints = get_type_hints(Run, include_extras=True)
    return {
        field.name: Key(
            field.name, TypeAdapter(hint), field.default, info.traced, info.unit, info.doc
        )
        for field in fields(Run)
        for hint in [hints[field.name]]
        for info in [next(note for note in hint.__metadata__ if isinstance(note, Info))]
    }


KEYS = _keys()
TRACED = frozenset(name for name, key in KEYS.items() if key.traced)
AXES = tuple(name for name in KEYS if name != "steps")
KINDS = {name: key.kind for name, key in KEYS.items()}

canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_IDENTITY = AXES
_DEFAULTS = tuple(KEYS[name].default for name in _IDENTITY)
_identity_of = attrgetter(*_IDENTITY)
_static_of = attrgetter(*(name for name in _IDENTITY if name not in TRACED))

# (when, why): combinations in which a key could have no effect, or nothing could be learned.
# A stored key that did nothing would read like a cause in the results.
CONTRADICTIONS = (
    (
        "optimizer == 'adam' and momentum > 0",
        "momentum has no effect with optimizer adam: use sgd, or leave momentum at 0",
    ),
    (
        "momentum_dtype != 'float32' and (optimizer == 'adam' or momentum == 0 and "
        "intervene_at == null)",
        "momentum_dtype has no effect without momentum: leave it at float32",
    ),
    (
        "structured_gamma != null and init != 'structured'",
        "structured_gamma has no effect without init structured: leave it at null",
    ),
    (
        "init == 'structured' and not bias",
        "init structured places its units by their biases: it needs bias true",
    ),
    (
        "init == 'structured' and depth == 1",
        "init structured is a scheme of the first hidden layer: it needs depth >= 2",
    ),
    (
        "residual_alpha != 1 and not architecture in ['residual', 'residual_simple', 'vit']",
        "residual_alpha has no effect without residual blocks: leave it at 1, or use architecture "
        "residual, residual_simple or vit",
    ),
    (
        "norm != 'none' and depth == 1",
        "norm stands in hidden layers and depth 1 has none: it needs depth >= 2",
    ),
    (
        "norm == 'batch' and batch_size == 1",
        "norm batch turns a batch of one into zeros: it needs batch_size >= 2",
    ),
    (
        "norm == 'layer' and width == 1",
        "norm layer turns a layer of one unit into zeros: it needs width >= 2",
    ),
    (
        "n_train < batch_size",
        "a batch takes no sample twice: it needs batch_size <= n_train",
    ),
    (
        "target_params != null and width != 128",
        "target_params gives the width: leave width at its default",
    ),
    (
        "target_params != null and depth == 1",
        "target_params gives the width of hidden layers and depth 1 has none: it needs depth >= 2",
    ),
    (
        "intervention != 'none' and intervene_at == null",
        "an intervention needs its step: give intervene_at",
    ),
    (
        "intervene_at >= steps",
        "an intervention after the last step does nothing: it needs intervene_at < steps",
    ),
    (
        "intervene_at == null and intervene_layer != null",
        "intervene_layer has no effect without intervene_at: leave it at null",
    ),
    (
        "intervene_at != null and depth == 1",
        "interventions act on hidden layers and depth 1 has none: it needs depth >= 2",
    ),
    (
        "intervene_layer >= depth",
        "interventions act on hidden layers: it needs intervene_layer < depth",
    ),
    (
        "intervention in ['rescale', 'enable_momentum'] and intervene_value == null",
        "rescale needs its factor, enable_momentum its momentum: give intervene_value",
    ),
    (
        "intervene_value != null and not intervention in ['rescale', 'enable_momentum']",
        "intervene_value is for rescale and enable_momentum: leave it at null, or zip the two keys",
    ),
    (
        "intervention == 'enable_momentum' and intervene_value >= 1",
        "momentum is a share below 1: it needs intervene_value < 1",
    ),
    (
        "intervention == 'enable_momentum' and (optimizer == 'adam' or momentum > 0)",
        "enable_momentum turns on the momentum of sgd: it needs optimizer sgd and momentum 0",
    ),
    (
        "intervention == 'enable_momentum' and intervene_layer != null",
        "enable_momentum acts on all weights: leave intervene_layer at null",
    ),
)
