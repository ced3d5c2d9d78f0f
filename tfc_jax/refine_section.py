"""Reads the `refine` section of a sweep: everything that is wrong with it, each with its place."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from tfc_jax.axis_values import MAX_RUNS
from tfc_jax.cells import Line
from tfc_jax.errors import InputError, nearest, quoted
from tfc_jax.expression import Expression, parse
from tfc_jax.grid import Axis
from tfc_jax.keys import KEYS
from tfc_jax.keytypes import Key, Whole, shown
from tfc_jax.refine import NAMES, Refine
from tfc_jax.yaml_source import Problems, Value

MOST_HALVINGS = 8
PARTS = ("axes", "boundary", "halvings")
HALVINGS = Key(
    "halvings",
    TypeAdapter(Annotated[Whole, Field(ge=0, le=MOST_HALVINGS)]),
    None,
    False,
    "halvings",
    "How often a cell on the boundary is halved along every refined axis: its size in the end is "
    "the first spacing / 2^halvings. 0: not at all.",
)
BOUNDARY = (
    "A condition over keys and over how a run ended. A cell is on one side if it holds for at "
    "least half of its runs, and is halved if a neighbour is on the other."
)


def read_refine(
    sections: Mapping[str, Value], axes: Sequence[Axis], problems: Problems
) -> Refine | None:
    """Returns the section, None where there is none or something in it is refused.

    Args:
      sections: of the sweep, `grid` among them.
      axes: as read from grid and zip; without rows where they were refused.
    """
    value = sections.get("refine")
    if value is None or value.data is None:
        return None
    if not isinstance(value.data, dict):
        what = f"{shown(value.data)} came. Allowed: a mapping of {', '.join(PARTS)}."
        problems.add(value, f"refine: {what}")
        return None
    for name, item in value.data.items():
        if name not in PARTS:
            hint = f"{nearest(name, PARTS)} Allowed: {', '.join(PARTS)}."
            problems.add(item, f"unknown key {quoted(name)} in refine.{hint}")
    for name in PARTS:
        if name not in value.data:
            problems.add(value, f"refine.{name} is missing. {_EXAMPLES[name]}")
    lines = list(_lines(value.data.get("axes"), sections.get("grid"), axes, problems))
    boundary = _boundary(value.data.get("boundary"), problems)
    halvings = _halvings(value.data.get("halvings"), problems)
    known = tuple(line for line in lines if line)
    for line in known:
        if message := _misfit(line, halvings or 1):
            problems.add(value.data["axes"], f"refine.axes: {message}")
    if boundary is None or halvings is None or len(known) < len(lines):
        return None
    return Refine(known, boundary, halvings)


_EXAMPLES = {
    "axes": "Add the keys of grid to refine, such as axes: [init_scale, learning_rate].",
    "boundary": 'Add a condition that tells the sides apart, such as boundary: "final_loss < 2.2".',
    "halvings": f"Add a whole number from 0 to {MOST_HALVINGS}, such as halvings: 2.",
}


def _lines(
    value: Value | None, grid: Value | None, axes: Sequence[Axis], problems: Problems
) -> Iterator[Line | None]:
    """Yields each refined axis; None for one that is refused, here or where it stands."""
    if value is None:
        yield None
        return
    if not isinstance(value.data, list) or not value.data:
        came = "an empty list" if value.data == [] else shown(value.data)
        problems.add(value, f"refine.axes: {came} came. Allowed: a list of keys of grid.")
        yield None
        return
    in_grid = grid.data if grid and isinstance(grid.data, dict) else {}
    rows = {axis.keys[0]: axis.rows for axis in axes if len(axis.keys) == 1}
    seen: set[object] = set()
    for item in value.data:
        name = item.data
        if not isinstance(name, str) or name not in in_grid or name == "seed":
            problems.add(item, f"refine.axes: {_no_axis(name, axes, in_grid)}")
        elif name in seen:
            problems.add(item, f"refine.axes: {name} comes twice. Keep one of them.")
        elif message := _unrefinable(name, [row[0] for row in rows.get(name, [])]):
            problems.add(item, f"refine.axes: {message}")
        elif name in KEYS and rows.get(name):
            seen.add(name)
            yield _line(name, in_grid[name], rows[name])
            continue
        yield None


def _line(name: str, listed: Value, rows: Sequence[tuple[Any, ...]]) -> Line:
    is_log = isinstance(listed.data, dict) and "logspace" in listed.data
    return Line(name, tuple(row[0] for row in rows), is_log)


def _no_axis(name: object, axes: Sequence[Axis], in_grid: Mapping[str, Value]) -> str:
    if not isinstance(name, str):
        return f"{shown(name)} came. Allowed: names of keys of grid."
    if name == "seed":
        return "seed is no place on a map: the seeds of a cell are its runs. Remove it."
    if any(name in axis.keys for axis in axes):
        return f"{name} is an axis, but not of grid. Only those of grid are refined."
    allowed = f"Axes of grid: {', '.join(in_grid) or 'none'}."
    return f"{quoted(name)} is no axis of grid.{nearest(name, in_grid)} {allowed}"


def _unrefinable(name: str, values: Sequence[Any]) -> str | None:
    if not values:
        return None  # refused where it stands
    if KEYS[name].kind != "number" or None in values:
        return f"{name} is not a number everywhere, so it has no half. Remove it."
    if len(values) < 2 or sorted(values) != list(values):
        return f"{name} needs at least two values in grid, in ascending order."
    return None


def _boundary(value: Value | None, problems: Problems) -> Expression | None:
    if value is None:
        return None
    if not isinstance(value.data, str):
        what = f"{shown(value.data)} came. Allowed: an expression in quotes."
        problems.add(value, f"refine.boundary: {what}")
        return None
    try:
        return parse(value.data, NAMES)
    except InputError as error:
        for message in error.messages:
            problems.add(value, f"refine.boundary: {message}")
        return None


def _halvings(value: Value | None, problems: Problems) -> int | None:
    if value is None:
        return None
    try:
        number: int = HALVINGS.checked(value.data)
    except ValueError as error:
        problems.add(value, f"refine.halvings: {error}")
        return None
    return number


def _misfit(line: Line, halvings: int) -> str | None:
    """Says what the halves of an axis would be that a run cannot have.

    Those of more than MAX_RUNS cells are not even computed: the sweep is refused for its size.
    """
    if len(line.values) * (2 ** (halvings + 1) - 1) > MAX_RUNS:
        return None
    points = line.points(halvings)
    for point in points:
        try:
            KEYS[line.name].checked(point)
        except ValueError as error:
            return (
                f"{line.name} would be tried at {point:g}: {error} Cells reach half a "
                "spacing beyond the first and last value; start or end the axis further inside, "
                "or leave it out of refine."
            )
    if len(set(points)) < len(points):
        return (
            f"{line.name} has values so close that some of their halves are equal in 6 digits. "
            "Take values further apart, or fewer halvings."
        )
    return None
