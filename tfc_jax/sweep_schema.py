"""JSON Schema of a sweep, for editors; derived from the keys, so it cannot drift from them."""

from typing import Any

from tfc_jax import record, registry
from tfc_jax.keys import AXES, KEYS
from tfc_jax.keytypes import Key
from tfc_jax.refine_section import BOUNDARY, HALVINGS, PARTS

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> Schema:
    """Returns what an editor needs to complete and check a sweep; `load_sweep` checks more."""
    axes = {name: _values(KEYS[name]) for name in AXES}
    columns = {name: _values(KEYS[name], is_distinct=False) for name in AXES}
    properties = {
        "name": {
            "type": "string",
            "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$",
            "description": "Names the folder of the results.",
        },
        "description": {"type": "string", "description": "What the sweep is for."},
        "base": _object(
            {name: key.json_schema for name, key in KEYS.items()}, "One value of each key."
        ),
        "grid": _object(axes, "Value lists, of which every combination is a run."),
        "zip": {
            "type": "array",
            "items": _object(columns, "Value lists of equal length that move together."),
            "description": "Blocks; each block is one axis.",
        },
        "exclude": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Leaves out the runs for which one of these expressions holds.",
        },
        "seeds": {
            "anyOf": [{"type": "integer", "minimum": 1}, _values(KEYS["seed"])],
            "description": "N for the seeds 0..N-1, or a list.",
        },
        "refine": _refine(),
        "record": _record(),
    }
    title = "A sweep of tfc_jax"
    return {"$schema": DIALECT, "title": title, **_object(properties), "required": ["name"]}


def _object(properties: Schema, description: str | None = None) -> Schema:
    about = {"description": description} if description else {}
    return {"type": "object", **about, "properties": properties, "additionalProperties": False}


def _values(key: Key, *, is_distinct: bool = True) -> Schema:
    """A list of values, or a range of numbers."""
    one = {name: item for name, item in key.json_schema.items() if name != "default"}
    listed = {"type": "array", "items": one, "minItems": 1, "uniqueItems": is_distinct}
    if key.kind != "number":
        return {**listed, "description": key.json_schema["description"]}
    spaces = [_space("range", 2), _space("linspace", 3), _space("logspace", 3)]
    return {"anyOf": [listed, *spaces], "description": key.json_schema["description"]}


def _space(name: str, n_least: int) -> Schema:
    numbers = {"type": "array", "items": {"type": "number"}, "minItems": n_least, "maxItems": 3}
    return {**_object({name: numbers}), "required": [name]}


def _refine() -> Schema:
    names = [name for name in AXES if KEYS[name].kind == "number" and name != "seed"]
    listed = {"type": "string", "enum": names}
    parts = {
        "axes": {
            "type": "array",
            "items": listed,
            "minItems": 1,
            "uniqueItems": True,
            "description": "Axes of grid, each with at least two ascending values.",
        },
        "boundary": {"type": "string", "description": BOUNDARY},
        "halvings": {**HALVINGS.adapter.json_schema(), "description": HALVINGS.doc},
    }
    about = "Halves the cells of the grid where an outcome changes sides, round after round."
    return {**_object(parts, about), "required": list(PARTS)}


def _record() -> Schema:
    numbers = {name: key.json_schema for name, key in record.NUMBERS.items()}
    per_decade = {**_object({"log": record.LOG.adapter.json_schema()}), "required": ["log"]}
    every = {
        **numbers["every"],
        "anyOf": [record.NUMBERS["every"].adapter.json_schema(), per_decade],
    }
    for limit in ("type", "minimum", "maximum"):
        every.pop(limit)
    plugins = {folder: _plugins(folder) for folder in record.PLUGINS}
    return _object({**numbers, "every": every, **plugins}, "What is measured, and when.")


def _plugins(folder: str) -> Schema:
    names = {"type": "string", "enum": list(registry.names(folder))}
    listed = {"type": "array", "items": names, "uniqueItems": True}
    return {
        "anyOf": [{"const": "all"}, listed],
        "description": f"Files of tfc_jax/{folder}, or all.",
        "default": list(getattr(record.Record, folder)),
    }
