"""The JSON Schema of a sweep says what the keys say."""

import json

from tfc_jax.config import SECTIONS, json_schema
from tfc_jax.keys import KEYS


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
    assert {"pattern": "^npz:.", "type": "string"} in base["dataset"]["anyOf"]
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
