"""What a sweep file and its flags may hold, and what is wrong with them, with its place.

Each reader adds what is wrong to `problems`, and returns what it can. `record` and `refine` have
modules of their own (record.py, refine_section.py).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tfc_jax.axis_values import MAX_RUNS
from tfc_jax.errors import InputError, nearest, quoted
from tfc_jax.expression import Expression, parse
from tfc_jax.grid import Axis, Size, planned_size, read_axis, size_problem
from tfc_jax.keys import AXES, KEYS, KINDS
from tfc_jax.keytypes import shown
from tfc_jax.overrides import apply_overrides
from tfc_jax.yaml_source import Problems, Value

SECTIONS = ("name", "description", "base", "grid", "zip", "exclude", "seeds", "refine", "record")
MAX_EXCLUDES = 100
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


def read_document(root: Value, overrides: Sequence[str], problems: Problems) -> Value:
    """Returns the mapping of sections, with what `--set` replaces.

    Raises:
      InputError: the file holds no mapping.
    """
    if not isinstance(root.data, dict):
        problems.raise_if_any()
        came = "nothing" if root.data is None else shown(root.data)
        raise InputError(
            f"{root.where}: {came} came. A sweep is a mapping of {', '.join(SECTIONS)}; "
            "`tfc init` prints one to start from."
        )
    for section, value in root.data.items():
        if section not in SECTIONS:
            problems.add(value, _unknown(section, "the sweep", SECTIONS))
    return apply_overrides(root, overrides, problems)


def _unknown(name: str, section: str, allowed: Sequence[str]) -> str:
    if name in KEYS and "base" in allowed:
        return f"'{name}' came beside base. Move it under base."
    if name in SECTIONS and name not in allowed:
        return f"'{name}' came inside {section}. Move it to the left margin."
    return (
        f"unknown key {quoted(name)} in {section}.{nearest(name, allowed)} "
        f"Allowed: {', '.join(allowed)}."
    )


def read_name(root: Value, problems: Problems, *, is_whole: bool) -> str:
    """The results are stored under this name, so it must be one on every file system.

    A missing name is no second problem of a file that could not be read whole.
    """
    allowed = "Allowed: letters, digits, ., _ and -, at most 64, the first not . or -."
    value = root.data.get("name")
    if value is None:
        if is_whole:
            problems.add(root, f"name is missing. Add a line such as name: my_sweep. {allowed}")
    elif not isinstance(value.data, str):
        problems.add(value, f"name: {shown(value.data)} came. Put quotes around it. {allowed}")
    elif not _NAME.fullmatch(value.data):
        problems.add(value, f"name: {shown(value.data)} came. {allowed}")
    else:
        return value.data
    return ""


def read_description(value: Value | None, problems: Problems) -> str:
    """Returns the text; empty if there is none."""
    if value is None or value.data is None:
        return ""
    if not isinstance(value.data, str):
        problems.add(value, f"description: {shown(value.data)} came. Put quotes around it.")
        return ""
    return value.data.strip()


def _mapping(
    value: Value | None, section: str, names: Sequence[str], problems: Problems
) -> Mapping[str, Value]:
    """Returns the known keys of a section; a section of comments only is empty."""
    if value is None or value.data is None:
        return {}
    if not isinstance(value.data, dict):
        problems.add(value, f"{section}: {shown(value.data)} came. Allowed: a mapping of keys.")
        return {}
    for name, item in value.data.items():
        if name == "steps" and name not in names:
            problems.add(
                item,
                f"{section}.steps: steps is not an axis, since a longer run contains the shorter. "
                "Put the largest number in base.",
            )
        elif name not in names:
            problems.add(item, _unknown(name, section, names))
    return {name: item for name, item in value.data.items() if name in names}


def read_base(value: Value | None, problems: Problems) -> dict[str, Any]:
    """Returns every key of a run, with its default where the file has none."""
    base = {name: key.default for name, key in KEYS.items()}
    for name, item in _mapping(value, "base", tuple(KEYS), problems).items():
        try:
            base[name] = KEYS[name].checked(item.data)
        except ValueError as error:
            problems.add(item, f"base.{name}: {error}")
    return base


def read_axes(root: Value, problems: Problems) -> tuple[Axis, ...]:
    """Returns the axes; none where they are too many values, which are not even made then."""
    grid = _mapping(root.data.get("grid"), "grid", AXES, problems)
    blocks = _blocks(root.data.get("zip"), problems)
    seeds = root.data.get("seeds")
    if too_many := size_problem(_sizes(grid, blocks, seeds)):
        problems.add(root, too_many)
        return ()
    axes = [read_axis({name: value}, "grid.", problems) for name, value in grid.items()]
    axes += [read_axis(block, "zip.", problems) for block in blocks if block]
    if seeds is not None:
        axes.append(_seeds(seeds, problems))
    _refuse_taken(grid, blocks, seeds, problems)
    return tuple(axes)


def _sizes(
    grid: Mapping[str, Value], blocks: Sequence[Mapping[str, Value]], seeds: Value | None
) -> list[Size]:
    """The sizes of the axes, before any of their values is made."""
    sizes = [planned_size({name: value}) for name, value in grid.items()]
    sizes += [planned_size(block) for block in blocks if block]
    if seeds is not None:
        counted = _is_seed_count(seeds.data)
        sizes.append((("seed",), seeds.data) if counted else planned_size({"seed": seeds}))
    return sizes


def _refuse_taken(
    grid: Mapping[str, Value],
    blocks: Sequence[Mapping[str, Value]],
    seeds: Value | None,
    problems: Problems,
) -> None:
    """Refuses a key that is an axis already."""
    taken: dict[str, str] = {"seed": "seeds"} if seeds is not None else {}
    for section, block in [("grid", grid), *(("zip", block) for block in blocks)]:
        for name, value in block.items():
            if name in taken:
                what = f"{section}.{name}: {name} is already an axis (under {taken[name]})."
                problems.add(value, f"{what} Keep one of them.")
            taken.setdefault(name, section)


def _blocks(value: Value | None, problems: Problems) -> list[Mapping[str, Value]]:
    if value is None or value.data is None:
        return []
    if not isinstance(value.data, list):
        came = shown(value.data)
        problems.add(value, f"zip: {came} came. Allowed: a list of blocks, each begun by a dash.")
        return []
    return [_mapping(block, "zip", AXES, problems) for block in value.data]


def _seeds(value: Value, problems: Problems) -> Axis:
    if isinstance(value.data, list | dict):
        return read_axis({"seed": value}, "", problems)
    if _is_seed_count(value.data):
        return Axis(("seed",), [(seed,) for seed in range(value.data)])
    problems.add(
        value,
        f"seeds: {shown(value.data)} came. Allowed: a whole number from 1 to {MAX_RUNS} "
        "(N stands for 0..N-1), or a list of seeds.",
    )
    return Axis(("seed",), [])


def _is_seed_count(data: object) -> bool:
    return isinstance(data, int) and not isinstance(data, bool) and 1 <= data <= MAX_RUNS


def read_excludes(value: Value | None, problems: Problems) -> list[Expression]:
    """Returns the conditions under which a run is left out."""
    if value is None or value.data is None:
        return []
    if not isinstance(value.data, list):
        problems.add(value, f"exclude: {shown(value.data)} came. Allowed: a list of expressions.")
        return []
    if len(value.data) > MAX_EXCLUDES:
        what = f"{len(value.data):,} expressions came. Allowed: at most {MAX_EXCLUDES}. Join some "
        problems.add(value, f"exclude: {what}with or.")
        return []
    read = [_expression(item, "exclude: ", problems) for item in value.data]
    return [expression for expression in read if expression]


def read_wanted(where: str | None, limit: int | None, problems: Problems) -> Expression | None:
    """Returns the condition of `--filter`, and checks `--limit`."""
    if limit is not None and limit < 1:
        place = Value(None, "--limit", 0)
        problems.add(place, f"{limit} came. Allowed: a whole number >= 1.")
    return None if where is None else _expression(Value(where, "--filter", 0), "", problems)


def _expression(value: Value, label: str, problems: Problems) -> Expression | None:
    if not isinstance(value.data, str):
        what = f"{shown(value.data)} came. Allowed: an expression in quotes."
        problems.add(value, f"{label}{what}")
        return None
    try:
        return parse(value.data, KINDS)
    except InputError as error:
        for message in error.messages:
            problems.add(value, f"{label}{message}")
        return None
