"""Keys: what a value may be, what a run is called, which combinations contradict."""

import dataclasses
import hashlib
import math
import struct
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfc_jax.expression import parse
from tfc_jax.keys import CONTRADICTIONS, KEYS, KINDS, TRACED, Run

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
FLOAT_KEYS = [name for name, key in KEYS.items() if isinstance(key.default, float)]
finite = st.floats(allow_nan=False, allow_infinity=False)


def as_float32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


@pytest.mark.parametrize("name", KEYS)
def test_every_default_is_a_value_of_its_own_key(name: str) -> None:
    value = KEYS[name].checked(KEYS[name].default)
    assert value == getattr(Run(), name)
    assert type(value) is type(getattr(Run(), name))


def test_defaults_are_frozen() -> None:
    # A changed default would give every stored run a run_id that means something else.
    assert dataclasses.asdict(Run()) == {
        "dataset": "digits",
        "n_train": None,
        "classes": None,
        "label_noise": 0.0,
        "difficulty": None,
        "scaling": "unit",
        "fourier_features": None,
        "architecture": "mlp",
        "depth": 5,
        "width": 128,
        "target_params": None,
        "activation": "relu",
        "norm": "none",
        "bias": False,
        "residual_alpha": 1.0,
        "init": "xavier_normal",
        "init_scale": 1.0,
        "structured_gamma": None,
        "loss": "cross_entropy",
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "momentum_dtype": "float32",
        "batch_size": 100,
        "steps": 1000,
        "precision": "highest",
        "seed": 0,
        "intervention": "none",
        "intervene_at": None,
        "intervene_layer": None,
        "intervene_value": None,
    }


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("scaling", "unit, standard, none"),
        ("activation", "relu, leaky_relu, tanh, gelu, abs, identity"),
        ("norm", "none, batch, layer"),
        (
            "init",
            "xavier_normal, xavier_uniform, he_normal, lecun_normal, orthogonal, torch_default, "
            "structured",
        ),
        ("loss", "cross_entropy, mse"),
        ("optimizer", "sgd, adam"),
        ("momentum_dtype", "float32, bfloat16"),
        ("precision", "highest, high, default"),
        (
            "intervention",
            "none, remove_common_direction, remove_feature_mean, rescale, reinit_dead, "
            "enable_momentum, sham",
        ),
    ],
)
def test_names_of_values_are_frozen_too(name: str, values: str) -> None:
    assert KEYS[name].allowed == values


@pytest.mark.parametrize("name", KEYS)
def test_every_key_says_what_it_means_and_what_it_allows(name: str) -> None:
    assert KEYS[name].doc.endswith(".")
    assert KEYS[name].allowed
    assert KEYS[name].doc in KEYS[name].json_schema["description"]


def test_traced_keys_are_those_that_a_program_takes_as_arrays() -> None:
    assert TRACED == {
        "seed",
        "init_scale",
        "learning_rate",
        "momentum",
        "weight_decay",
        "label_noise",
        "residual_alpha",
        "intervention",
        "intervene_at",
        "intervene_layer",
        "intervene_value",
    }


@pytest.mark.parametrize("name", FLOAT_KEYS)
def test_a_whole_number_for_a_number_key_becomes_a_float(name: str) -> None:
    value = 0 if KEYS[name].accepts(0) else 1
    assert type(KEYS[name].checked(value)) is float


@pytest.mark.parametrize("name", [name for name in KEYS if KINDS[name] == "number"])
@pytest.mark.parametrize("value", [True, "1", [1], {}])
def test_only_numbers_are_numbers(name: str, value: object) -> None:
    with pytest.raises(ValueError, match="came"):
        KEYS[name].checked(value)


def test_negative_zero_is_zero() -> None:
    # Otherwise two runs that do the same would have two run_ids.
    assert str(KEYS["weight_decay"].checked(-0.0)) == "0.0"


@untimed
@given(finite)
def test_a_positive_key_takes_what_float32_holds_and_nothing_else(value: float) -> None:
    # A value beyond float32 cannot even be packed; one below its normal numbers may become 0.
    holds = 2.0**-126 <= value <= (2 - 2.0**-23) * 2.0**127
    assert KEYS["learning_rate"].accepts(value) is holds
    if holds:
        assert KEYS["learning_rate"].checked(value) == value


@pytest.mark.parametrize(
    ("value", "is_held"),
    [
        (2.0**-126, True),
        (math.nextafter(2.0**-126, 0), False),
        (float(np.finfo(np.float32).max), True),
        (math.nextafter(float(np.finfo(np.float32).max), math.inf), False),
    ],
)
def test_float32_ends_where_numpy_says(value: float, is_held: bool) -> None:
    assert KEYS["init_scale"].accepts(value) is is_held


@untimed
@given(st.floats(0.9, 1.1))
def test_momentum_stays_below_one_in_float32(value: float) -> None:
    assert KEYS["momentum"].accepts(value) == (value <= 1 - 2.0**-24)
    if KEYS["momentum"].accepts(value):
        assert as_float32(value) < 1


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("activation", "rellu", ["the text 'rellu' came.", "Did you mean 'relu'?", "relu, leaky"]),
        ("width", 1e4, ["10000.0 came.", "Write 10000.", "a whole number >= 1"]),
        ("width", "64", ["the text '64' came.", "Remove the quotes."]),
        ("learning_rate", "1e-3", ["Remove the quotes.", "a number > 0"]),
        ("init_scale", 1e-50, ["1e-50 came, which float32 cannot hold (1.2e-38 to 3.4e+38)."]),
        ("depth", [3, 5], ["a list of 2 values came.", "under grid or zip."]),
        ("n_train", 0, ["0 came.", "a whole number >= 1 or null"]),
        ("bias", 1, ["1 came.", "true, false"]),
        ("label_noise", 1.5, ["a number >= 0 and <= 1."]),
        ("seed", 2**32, ["4294967296 came.", "a whole number >= 0 and <= 4294967295"]),
        ("seed", 10**60, ["a whole number of more than 38 digits came."]),
        ("dataset", "minst", ["Did you mean 'mnist'?", "npz:PATH", "tfds:NAME"]),
        ("dataset", "npz:", ["the text 'npz:' came."]),
        ("architecture", "mpl", ["Did you mean 'mlp'?"]),
        ("norm", None, ["null came.", "none, batch, layer"]),
        ("activation", "x" * 99, ["xxx...'"]),
    ],
)
def test_a_refusal_says_what_came_what_is_allowed_and_what_to_do(
    name: str, value: object, parts: list[str]
) -> None:
    with pytest.raises(ValueError, match="came") as refusal:
        KEYS[name].checked(value)
    places = [str(refusal.value).find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)  # what to do before all that is allowed


def test_any_archive_of_arrays_is_a_data_set() -> None:
    assert KEYS["dataset"].checked("npz:some/file.npz") == "npz:some/file.npz"


def test_any_image_set_of_the_catalogue_is_a_data_set() -> None:
    assert KEYS["dataset"].checked("tfds:emnist/letters") == "tfds:emnist/letters"


def test_run_ids_hash_what_differs_from_the_defaults() -> None:
    # Written out by hand: these texts, and so every stored run_id, must never change.
    texts: list[tuple[dict[str, Any], bytes]] = [
        ({}, b"{}"),
        (
            {"seed": 3, "learning_rate": 0.02, "depth": 7},
            b'{"depth":7,"learning_rate":0.02,"seed":3}',
        ),
        (
            {"bias": True, "n_train": 100, "dataset": "mnist"},
            b'{"bias":true,"dataset":"mnist","n_train":100}',
        ),
        ({"init_scale": 1e-05}, b'{"init_scale":1e-05}'),
    ]
    for changed, text in texts:
        assert Run(**changed).changed() == changed
        assert Run(**changed).run_id == hashlib.sha256(text).hexdigest()[:12]


def test_steps_and_defaults_do_not_rename_a_run() -> None:
    assert Run(steps=99, width=128).run_id == Run().run_id == "44136fa355b3"
    assert Run(steps=99, width=128).identity == Run().identity != Run(width=64).identity


@pytest.mark.parametrize("name", KEYS)
def test_static_keys_split_programs_and_traced_keys_do_not(name: str) -> None:
    other: dict[str, Any] = {
        "dataset": "mnist",
        "n_train": 10,
        "classes": 3,
        "scaling": "none",
        "architecture": "x",
    }
    default = KEYS[name].default
    value: Any = other.get(name, default + 1 if isinstance(default, int | float) else "other")
    same_program = Run(**{name: value}).static_key() == Run().static_key()
    assert same_program is (name in TRACED or name == "steps")
    assert isinstance(hash(Run().static_key()), int)


def test_a_hundred_thousand_runs_fit_in_a_hundred_megabytes() -> None:
    # Values are shared; an entry in a tuple is one more pointer.
    assert 1e5 * (sys.getsizeof(Run()) + 8) < 1e8
    assert not hasattr(Run(), "__dict__")


MOMENTUM: dict[str, Any] = {
    "intervention": "enable_momentum",
    "intervene_at": 5,
    "intervene_value": 0.9,
}
EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    ("momentum has no effect with optimizer adam", {"optimizer": "adam", "momentum": 0.9}),
    ("momentum_dtype has no effect", {"momentum_dtype": "bfloat16"}),
    ("momentum_dtype has no effect", {"momentum_dtype": "bfloat16", "optimizer": "adam"}),
    ("structured_gamma has no effect", {"structured_gamma": 3.0}),
    ("it needs bias true", {"init": "structured"}),
    ("first hidden layer", {"init": "structured", "bias": True, "depth": 1}),
    ("depth 1 has none", {"norm": "layer", "depth": 1}),
    ("batch of one into zeros", {"norm": "batch", "batch_size": 1}),
    ("one unit into zeros", {"norm": "layer", "width": 1}),
    ("batch_size <= n_train", {"n_train": 50}),
    ("target_params gives the width: leave", {"target_params": 900, "width": 4}),
    ("target_params gives the width of hidden", {"target_params": 900, "depth": 1}),
    ("needs its step", {"intervention": "sham"}),
    ("after the last step", {"intervention": "sham", "intervene_at": 1000}),
    ("intervene_layer has no effect", {"intervene_layer": 2}),
    ("interventions act on hidden layers and depth 1", {"intervene_at": 5, "depth": 1}),
    ("intervene_layer < depth", {"intervene_at": 5, "intervene_layer": 5}),
    ("give intervene_value", {"intervention": "rescale", "intervene_at": 5}),
    ("intervene_value is for", {"intervention": "sham", "intervene_at": 5, "intervene_value": 0.5}),
    ("intervene_value < 1", MOMENTUM | {"intervene_value": 1.0}),
    ("turns on the momentum of sgd", MOMENTUM | {"momentum": 0.5}),
    ("turns on the momentum of sgd", MOMENTUM | {"optimizer": "adam"}),
    ("intervene_layer has no effect", {"intervene_layer": 0}),
    ("give intervene_value", MOMENTUM | {"intervene_value": None}),
    ("intervene_value is for", {"intervene_at": 5, "intervene_value": 0.5}),
    ("acts on all weights", MOMENTUM | {"intervene_layer": 2}),
    ("residual_alpha has no effect", {"residual_alpha": 0.5}),
]


@pytest.mark.parametrize(("why", "changed"), EXAMPLES)
def test_a_contradiction_is_met_by_the_run_that_shows_it(why: str, changed: dict) -> None:
    run = Run(**changed)
    met = [w for when, w in CONTRADICTIONS if parse(when, KINDS).matches(lambda n: getattr(run, n))]
    assert [why in w for w in met] == [True]


def test_every_contradiction_has_an_example() -> None:
    for _, why in CONTRADICTIONS:
        assert any(part in why for part, _ in EXAMPLES)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"optimizer": "adam"},
        {"momentum": 0.9, "momentum_dtype": "bfloat16"},
        {"init": "structured", "bias": True, "structured_gamma": 2.0},
        {"norm": "batch", "depth": 2},
        {"architecture": "residual", "residual_alpha": 0.5},
        {"n_train": 100},
        {"depth": 1, "width": 1, "activation": "tanh"},
        {"target_params": 2000, "depth": 9},
        {"intervene_at": 0},
        {"intervene_at": 5, "intervene_layer": 0},
        {"intervention": "sham", "intervene_at": 999, "intervene_layer": 4},
        {"intervention": "rescale", "intervene_at": 5, "intervene_value": 2.0},
        MOMENTUM | {"momentum_dtype": "bfloat16"},
        {"intervene_at": 5, "momentum_dtype": "bfloat16"},  # its control arm
    ],
)
def test_sensible_runs_contradict_nothing(changed: dict) -> None:
    run = Run(**changed)
    for when, _ in CONTRADICTIONS:
        assert not parse(when, KINDS).matches(lambda name: getattr(run, name))
