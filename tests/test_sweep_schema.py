"""The JSON Schema of a sweep says what the keys say."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tfc_jax.config import json_schema
from tfc_jax.keys import KEYS
from tfc_jax.sections import SECTIONS

ROOT = Path(__file__).parent.parent
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def fits(schema: dict[str, Any], value: Any) -> bool:
    """The rules of JSON Schema that a sweep's schema uses, and a refusal of any other."""
    rules = {
        "$schema": lambda _: True,
        "title": lambda _: True,
        "description": lambda text: isinstance(text, str),
        "default": lambda _: True,
        "type": lambda name: (
            isinstance(value, TYPES[name]) and isinstance(value, bool) == (name == "boolean")
        ),
        "enum": lambda names: value in names,
        "const": lambda only: value == only,
        "anyOf": lambda options: any(fits(option, value) for option in options),
        "pattern": lambda pattern: re.search(pattern, value) is not None,
        "minimum": lambda limit: value >= limit,
        "maximum": lambda limit: value <= limit,
        "exclusiveMinimum": lambda limit: value > limit,
        "minItems": lambda count: len(value) >= count,
        "maxItems": lambda count: len(value) <= count,
        "uniqueItems": lambda wanted: not wanted or len(set(map(repr, value))) == len(value),
        "items": lambda inner: all(fits(inner, item) for item in value),
        "required": lambda names: set(names) <= set(value),
        "additionalProperties": lambda _: set(value) <= set(schema["properties"]),
        "properties": lambda inner: all(
            fits(inner[name], item) for name, item in value.items() if name in inner
        ),
    }
    # A value of another type is refused before rules that only its own type can follow.
    first = [rule for rule in ("type", "additionalProperties") if rule in schema]
    return all(rules[rule](schema[rule]) for rule in [*first, *schema])


@pytest.mark.parametrize(
    "path",
    [*ROOT.glob("sweeps/**/*.yaml"), ROOT / "tfc_jax" / "sweep_template.yaml"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_shipped_sweep_fits_the_schema(path: Path) -> None:
    assert fits(json_schema(), YAML(typ="safe", pure=True).load(path.read_text()))


@pytest.mark.parametrize(
    "text",
    [
        "{name: a}",
        "{name: a, seeds: 3, exclude: ['depth > 3'], description: b}",
        "{name: a, seeds: [3, 5], zip: [{depth: [3, 5], bias: [true, true]}]}",
        "{name: a, seeds: {range: [3, 5]}, record: {every: {log: 3}, metrics: all, probes: []}}",
        "{name: a, grid: {n_train: [null, 10], init_scale: {linspace: [1, 2, 3]}}}",
        "{name: a, base: {n_train: null, dataset: 'npz:x', learning_rate: 1, activation: tanh}}",
        "{name: a, record: {every: 3, probe_every: 5, probe_samples: 7}}",
        "{name: a, refine: {axes: [init_scale], boundary: final_loss < 2, halvings: 1}}",
    ],
)
def test_a_valid_sweep_fits_the_schema(text: str) -> None:
    assert fits(json_schema(), YAML(typ="safe", pure=True).load(text))


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{description: b}",
        "{name: .a}",
        "{name: a, more: 1}",
        "{name: a, description: 3}",
        "{name: a, seeds: 0}",
        "{name: a, seeds: '3'}",
        "{name: a, seeds: [3, 3]}",
        "{name: a, exclude: [3]}",
        "{name: a, exclude: 'depth > 3'}",
        "{name: a, zip: {depth: [3]}}",
        "{name: a, grid: {depth: 3}}",
        "{name: a, grid: {depth: []}}",
        "{name: a, grid: {steps: [3]}}",
        "{name: a, grid: {activation: [rellu]}}",
        "{name: a, grid: {activation: {range: [1, 2]}}}",
        "{name: a, grid: {depth: {range: [1]}}}",
        "{name: a, grid: {depth: {linspace: [1, 2]}}}",
        "{name: a, grid: {depth: {range: ['1', 2]}}}",
        "{name: a, base: {depth: true}}",
        "{name: a, base: {depth: [3]}}",
        "{name: a, base: {label_noise: 2}}",
        "{name: a, base: {learning_rate: 0}}",
        "{name: a, base: {dataset: minst}}",
        "{name: a, base: {widht: 3}}",
        "{name: a, record: {every: 0}}",
        "{name: a, record: {every: {lin: 3}}}",
        "{name: a, record: {metrics: none}}",
        "{name: a, record: {probes: [nothing]}}",
        "{name: a, refine: {axes: [activation], boundary: final_loss < 2, halvings: 1}}",
        "{name: a, refine: {axes: [], boundary: final_loss < 2, halvings: 1}}",
        "{name: a, refine: {axes: [init_scale], boundary: final_loss < 2, halvings: 9}}",
        "{name: a, refine: {axes: [init_scale], halvings: 1}}",
    ],
)
def test_a_wrong_sweep_does_not_fit_the_schema(text: str) -> None:
    assert not fits(json_schema(), YAML(typ="safe", pure=True).load(text))


def test_the_schema_is_json_with_every_section_and_key() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert set(schema["properties"]) == set(SECTIONS)
    assert set(schema["properties"]["base"]["properties"]) == set(KEYS)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["name"]
    assert schema["additionalProperties"] is False


def test_steps_is_a_key_of_base_and_no_axis() -> None:
    properties = json_schema()["properties"]
    axes = set(KEYS) - {"steps"}
    assert set(properties["grid"]["properties"]) == axes
    assert set(properties["zip"]["items"]["properties"]) == axes


def test_limits_and_names_reach_the_schema() -> None:
    base = json_schema()["properties"]["base"]["properties"]
    assert base["learning_rate"]["exclusiveMinimum"] == 0
    assert (base["label_noise"]["minimum"], base["label_noise"]["maximum"]) == (0, 1)
    assert base["activation"]["enum"][0] == "relu"
    assert base["depth"]["default"] == 5
    for prefix, title in (("npz", "npz:PATH"), ("tfds", "tfds:NAME")):
        family = {"pattern": f"^{prefix}:.", "type": "string", "title": title}
        assert family in base["dataset"]["anyOf"]
    assert "mlp" in base["architecture"]["enum"]


def test_every_key_carries_its_meaning_and_unit() -> None:
    for name, schema in json_schema()["properties"]["base"]["properties"].items():
        assert KEYS[name].doc in schema["description"]
        assert KEYS[name].unit in schema["description"]


def test_only_number_axes_may_be_ranges() -> None:
    axes = json_schema()["properties"]["grid"]["properties"]
    assert axes["activation"]["items"]["enum"] == [
        "relu",
        "leaky_relu",
        "tanh",
        "gelu",
        "abs",
        "identity",
    ]
    spaces = [option["required"] for option in axes["depth"]["anyOf"] if "required" in option]
    assert spaces == [["range"], ["linspace"], ["logspace"]]


def test_records_may_be_per_decade() -> None:
    every = json_schema()["properties"]["record"]["properties"]["every"]
    assert [option["type"] for option in every["anyOf"]] == ["integer", "object"]
    assert "type" not in every
