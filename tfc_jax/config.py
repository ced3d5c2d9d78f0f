"""A sweep: YAML in, validated runs out. All errors at once, before anything is compiled.

Imports no JAX. What a file may hold is in sections.py, the keys of a run in keys.py, the product of
axes in grid.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from tfc_jax import yaml_source
from tfc_jax.comparison import Mask
from tfc_jax.errors import InputError
from tfc_jax.expression import Expression
from tfc_jax.grid import Axis, Grid, size_problem
from tfc_jax.keys import DIGITS, KEYS, TRACED, Run
from tfc_jax.keytypes import Key
from tfc_jax.record import PerDecade, Record, read_record
from tfc_jax.refine import Expansion, Refine, expand
from tfc_jax.refine_section import read_refine
from tfc_jax.run_ids import RunIds, run_ids
from tfc_jax.sections import (
    read_axes,
    read_base,
    read_description,
    read_document,
    read_excludes,
    read_name,
    read_wanted,
)
from tfc_jax.sweep_schema import json_schema
from tfc_jax.wording import counted
from tfc_jax.yaml_source import Problems, Value

__all__ = [
    "KEYS",
    "TRACED",
    "Key",
    "Outline",
    "PerDecade",
    "Record",
    "Run",
    "Sweep",
    "json_schema",
    "load_outline",
    "load_sweep",
]


@dataclass(frozen=True)
class Sweep:
    """Runs that belong together, in the order in which they were asked for.

    Attributes:
      name: of the results folder.
      steps: of every run.
      runs: distinct, each with its own `run_id`. Where cells are refined, those of the rounds
        known so far: of round 0 as loaded, of more as `rounds.known` returns it.
      text: the YAML as read, without overrides.
      path: where it was read.
      refine: None if nothing is refined.
      n_first: runs of round 0, which stand first in `runs`.
      round: the newest round in `runs`.
      more: at most so many runs can follow in later rounds.
      places: where each key that is given stands, such as `sweep.yaml:5` or `--set depth=4`.
      known_ids: runs, and `ids` of these; of other runs they say nothing.
    """

    name: str
    description: str
    record: Record
    steps: int
    runs: tuple[Run, ...]
    text: str
    path: str
    refine: Refine | None = None
    n_first: int | None = None
    round: int = 0
    more: int = 0
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    known_ids: tuple[tuple[Run, ...], RunIds] | None = field(
        default=None, compare=False, repr=False
    )

    @property
    def ids(self) -> RunIds | None:
        """The `run_id` of each run, as a number; None where they are not known yet."""
        runs, ids = self.known_ids or (None, None)
        return ids if runs is self.runs else None

    @property
    def size_text(self) -> str:
        """E.g. `24 runs of 1000 steps`."""
        return f"{counted(len(self.runs), 'run')} of {counted(self.steps, 'step')}"

    @property
    def first(self) -> tuple[Run, ...]:
        """The runs of round 0."""
        return self.runs[: self.n_first]

    def placed(self, message: str) -> str:
        """Returns what is wrong with the runs after the file, and the line of the key it names."""
        place = self.places.get(message.partition(":")[0], self.path)
        is_here = place.startswith(self.path)
        return f"{place}: {message}" if is_here else f"{self.path}: {place}: {message}"

    def with_known(self, expansion: Expansion) -> "Sweep":
        """Returns the sweep with the runs of the rounds that are known."""
        return replace(
            self,
            runs=expansion.runs,
            n_first=len(self.first),
            round=expansion.round,
            more=expansion.more,
        )


@dataclass(frozen=True, eq=False)
class Outline:
    """What a sweep file asks for, all of it checked, before any run is made.

    Attributes:
      grid, keep: the runs, of round 0 where cells are refined, are the kept points of the grid.
      others: as of `Sweep`.
    """

    name: str
    description: str
    record: Record
    grid: Grid
    keep: Mask
    text: str
    path: str
    refine: Refine | None
    places: Mapping[str, str] = field(repr=False)

    @property
    def steps(self) -> int:
        """Of every run."""
        return int(self.grid.base["steps"])

    @cached_property
    def run_ids(self) -> RunIds:
        """Of the runs, in order."""
        return run_ids(self.grid, self.keep)

    @cached_property
    def sweep(self) -> Sweep:
        """The sweep with its runs.

        Raises:
          InputError: two of them have the same id.
        """
        runs = tuple(self.grid.runs(self.keep))
        _refuse_equal_ids(self.path, runs, self.run_ids)
        sweep = Sweep(
            *(self.name, self.description, self.record, self.steps, runs, self.text, self.path),
            refine=self.refine,
            places=self.places,
            known_ids=(runs, self.run_ids),
        )
        return sweep.with_known(expand(self.refine, runs, {})) if self.refine else sweep


def load_sweep(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    where: str | None = None,
    limit: int | None = None,
) -> Sweep:
    """Reads and checks a sweep, and makes its runs.

    Args:
      overrides, where, limit: as `load_outline` takes them.

    Raises:
      InputError: everything that is wrong, each with its place.
    """
    return load_outline(path, overrides=overrides, where=where, limit=limit).sweep


def load_outline(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    where: str | None = None,
    limit: int | None = None,
) -> Outline:
    """Reads and checks a sweep.

    Runs are ordered as the file has the axes: grid keys, then zip blocks, then seeds, the last
    fastest.

    Args:
      overrides: `key=value`, as of `--set`: replaces a key of `base` (an axis of that name goes),
        or `name`, `description`, `seeds`, `record.<key>`, `refine.boundary`, `refine.halvings`.
      where: keeps the runs for which this expression over the keys holds.
      limit: keeps the first so many of those, >= 1.

    Raises:
      InputError: everything that is wrong, each with its place.
    """
    problems = Problems()
    text, root = yaml_source.read(path, problems)
    is_whole = not problems
    root = read_document(root, overrides, problems)
    sections: dict[str, Value] = root.data
    name = read_name(root, problems, is_whole=is_whole)
    description = read_description(sections.get("description"), problems)
    record = read_record(sections.get("record"), problems)
    grid = Grid(read_base(sections.get("base"), problems), read_axes(root, problems))
    excludes = read_excludes(sections.get("exclude"), problems)
    wanted = read_wanted(where, limit, problems)
    refine = read_refine(sections, grid.axes, problems)
    problems.raise_if_any()
    if refine:
        refine = replace(refine, excludes=tuple(excludes), wanted=wanted, limit=limit)
    keep = _kept(root, grid, refine, excludes, wanted, limit)
    places = {key: value.where for key, value in _given(root).items()}
    return Outline(name, description, record, grid, keep, text, str(path), refine, places)


def _kept(
    root: Value,
    grid: Grid,
    refine: Refine | None,
    excludes: Sequence[Expression],
    wanted: Expression | None,
    limit: int | None,
) -> Mask:
    problems = Problems()
    if too_many := size_problem(
        [axis.size for axis in grid.axes], 1 + refine.below(0) if refine else 1
    ):
        problems.add(root, too_many)
        problems.raise_if_any()
    keep = grid.kept(excludes)
    if not keep.any():
        problems.add(root.data["exclude"], "exclude leaves no run. Remove a condition.")
    for condition, message in grid.contradictions(keep):
        problems.add(_place(root, condition), message)
    if refine and not problems:
        for condition, message in _later_contradictions(grid, refine, excludes):
            problems.add(_place(root, condition), f"refine: {message}")
    problems.raise_if_any()
    if wanted:
        keep &= grid.mask(wanted)
        if not keep.any():
            raise InputError(f"--filter: no run of {root.source} fits {wanted.text!r}.")
    if limit is not None:
        keep.flat[np.flatnonzero(keep)[limit:]] = False
    return keep


def _later_contradictions(
    grid: Grid, refine: Refine, excludes: Sequence[Expression]
) -> Iterator[tuple[Expression, str]]:
    """Contradictions among the first cells and the least and largest values of later ones."""
    reach = {line.name: line.points(refine.halvings) for line in refine.axes}

    def stretched(axis: Axis) -> Axis:
        points = reach.get(axis.keys[0], [])
        ends = [(p,) for p in (min(points), max(points))] if points else []
        return replace(axis, rows=[*axis.rows, *ends])

    whole = replace(grid, axes=tuple(map(stretched, grid.axes)))
    return whole.contradictions(whole.kept(excludes))


def _place(root: Value, condition: Expression) -> Value:
    """Returns where the first key that a condition names is set."""
    given = _given(root)
    named = sorted(condition.names & given.keys(), key=condition.text.index)
    return given[named[0]] if named else root


def _given(root: Value) -> dict[str, Value]:
    """Returns the keys that are set in base, grid and zip."""
    blocks = root.data["zip"].data if root.data.get("zip") else []
    sections = [root.data.get("base"), root.data.get("grid"), *(blocks or [])]
    return {name: v for s in sections if s and s.data for name, v in s.data.items()}


def _refuse_equal_ids(path: str, runs: Sequence[Run], ids: RunIds) -> None:
    """Axes hold no value twice, so only the hash can do it: odds of 2 in 1000 for 10^6 runs."""
    if len(np.unique(ids)) == len(runs):
        return
    by_id: dict[int, Run] = {}
    for number, run in zip(ids.tolist(), runs, strict=True):
        other = by_id.setdefault(number, run)
        if other is not run:
            raise InputError(
                f"{path}: {other.changed()} and {run.changed()} have the same run_id "
                f"{number:0{DIGITS}x}. Exclude one of them."
            )
