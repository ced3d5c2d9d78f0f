"""`--set key=value`: the same document with one value replaced, before anything is checked."""

from collections.abc import Sequence
from dataclasses import replace

from tfc_jax import record, yaml_source
from tfc_jax.errors import InputError, nearest, quoted
from tfc_jax.keys import KEYS
from tfc_jax.yaml_source import Problems, Value

_SECTIONS = ("name", "description", "seeds")
_INNER = [f"record.{name}" for name in record.NAMES] + ["refine.boundary", "refine.halvings"]
_SETTABLE = (*KEYS, *_SECTIONS, *_INNER)


def apply_overrides(root: Value, overrides: Sequence[str], problems: Problems) -> Value:
    """Returns the document with every `key=value` in place.

    A key of `base` that is an axis stops being one. `seed` replaces `seeds`, and the reverse.
    """
    seen: set[str] = set()
    for text in overrides:
        name, sign, raw = (part.strip() for part in text.partition("="))
        place = Value(None, f"--set {text if len(text) <= 80 else text[:77] + '...'}", 0)
        if not sign or not raw:
            problems.add(place, "not of the form key=value, such as depth=7.")
        elif name not in _SETTABLE:
            problems.add(place, _unknown(name))
        elif name in seen:
            problems.add(place, f"'{name}' is set twice. Keep one of them.")
        else:
            root = _set(root, name, raw, place, problems)
        seen.add(name)
    return root


def _unknown(name: str) -> str:
    hint = nearest(name, _SETTABLE)
    return f"unknown key {quoted(name)}.{hint} Allowed: {', '.join(_SETTABLE)}."


def _set(root: Value, name: str, raw: str, place: Value, problems: Problems) -> Value:
    try:
        value = yaml_source.parse(raw, place.source, problems, lines=False)
    except InputError as error:
        for message in error.messages:
            problems.add(place, message.removeprefix(f"{place.source}: "))
        return root
    if name in _SECTIONS:
        axisless = _without_axis(root, "seed") if name == "seeds" else root
        return _with(axisless, name, value)
    section, _, inner = name.rpartition(".")
    return _with(_without_axis(root, name), section or "base", value, inner)


def _with(root: Value, section: str, value: Value, key: str = "") -> Value:
    """Returns the document with a section, or one key of it, replaced."""
    if key:
        old = root.data.get(section) or Value(None, value.source, value.line)
        if not isinstance(old.data, dict | None):
            return root  # the section itself is wrong, and will be refused as such
        value = replace(old, data={**(old.data or {}), key: value})
    return replace(root, data={**root.data, section: value})


def _without_axis(root: Value, name: str) -> Value:
    data = dict(root.data)
    if name == "seed":
        data.pop("seeds", None)
    grid, blocks = data.get("grid"), data.get("zip")
    if grid and isinstance(grid.data, dict):
        data["grid"] = _without(grid, name) or replace(grid, data=None)
    if blocks and isinstance(blocks.data, list):
        data["zip"] = replace(
            blocks, data=[b for b in (_without(b, name) for b in blocks.data) if b]
        )
    return replace(root, data=_unrefined(data, name))


def _unrefined(data: dict[str, Value], name: str) -> dict[str, Value]:
    """Takes an axis out of `refine` too; the section goes with its last axis."""
    refine = data.get("refine")
    axes = refine.data.get("axes") if refine and isinstance(refine.data, dict) else None
    if refine is None or axes is None or not isinstance(axes.data, list):
        return data
    left = [item for item in axes.data if item.data != name]
    if not left and axes.data:
        return {section: value for section, value in data.items() if section != "refine"}
    kept = replace(refine, data={**refine.data, "axes": replace(axes, data=left)})
    return {**data, "refine": kept}


def _without(mapping: Value, name: str) -> Value | None:
    """Returns a mapping without one key; None if that leaves a block empty."""
    if not isinstance(mapping.data, dict) or name not in mapping.data:
        return mapping
    rest = {key: value for key, value in mapping.data.items() if key != name}
    return replace(mapping, data=rest) if rest else None
