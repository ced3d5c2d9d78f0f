"""`refine:` of a sweep: the grid gets finer where an outcome changes sides.

A cell is the box around a point of the refined axes, with the runs of all seeds there; every other
axis separates maps. A cell lies on one side if `boundary` holds for at least half of its runs.
Cells next to one on the other side are halved along every axis, round after round, until all of
those have been halved `halvings` times. The runs of a round are a function of the sweep and of how
the runs of earlier rounds ended, whatever trained them, in whatever order. A run that failed has
no vote, and a cell without votes no side; one that diverged ended at an infinite loss.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from tfc_jax.cells import Cell, Line, on_boundary
from tfc_jax.expression import Expression
from tfc_jax.keys import KEYS, KINDS, Run
from tfc_jax.keytypes import Kind

# Columns of the runs table that say how a run ended and nothing about who trained it.
OUTCOMES: dict[str, Kind] = {
    "status": "text",
    "first_bad_step": "number",
    "prior_loss": "number",
    "bayes_loss": "number",
    "final_loss": "number",
    "final_accuracy": "number",
}
NAMES: dict[str, Kind] = {**KINDS, **OUTCOMES}


@dataclass(frozen=True)
class Refine:
    """What to refine, and how far.

    Attributes:
      axes: the refined axes of the grid.
      boundary: over NAMES; the sides of a cell are where it holds and where it does not.
      halvings: how often a cell on the boundary is halved along every axis.
      excludes, wanted, limit: select among the runs of later rounds as among those of the first.
    """

    axes: tuple[Line, ...]
    boundary: Expression
    halvings: int
    excludes: tuple[Expression, ...] = ()
    wanted: Expression | None = None
    limit: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells of level 0 along each axis."""
        return tuple(len(line.values) for line in self.axes)

    def below(self, level: int) -> int:
        """Returns how many cells can come out of one of this level, itself apart."""
        finer = range(1, self.halvings - level + 1)
        return sum(2 ** (len(self.axes) * n) for n in finer)

    def keeps(self, run: Run) -> bool:
        """Whether a run of a later round is wanted."""

        def get(name: str) -> object:
            return getattr(run, name)

        is_out = any(condition.matches(get) for condition in self.excludes)
        return not is_out and (self.wanted is None or self.wanted.matches(get))


@dataclass(frozen=True)
class Leaf:
    """A cell that has not been halved.

    Attributes:
      runs: one per seed.
      holds: its side; None while a run has not ended, or where all failed.
    """

    cell: Cell
    runs: tuple[Run, ...]
    holds: bool | None = None


@dataclass(frozen=True)
class Expansion:
    """What is known of a refined sweep.

    Attributes:
      runs: of all rounds so far, in order.
      round: the newest, from 0.
      maps: the leaves of each map.
      more: at most so many runs can follow; 0 when the refinement has ended.
    """

    runs: tuple[Run, ...]
    round: int
    maps: tuple[tuple[Leaf, ...], ...]
    more: int


def expand(refine: Refine, first: Sequence[Run], votes: Mapping[str, bool | None]) -> Expansion:
    """Returns the runs that the outcomes known so far ask for.

    Args:
      first: the runs of round 0.
      votes: by run_id, of the runs that have ended, whether `boundary` holds; None if it failed.
    """
    maps, runs, n_round = _first_maps(refine, first), list(first), 0
    while True:
        maps = [[_judged(leaf, votes) for leaf in leaves] for leaves in maps]
        is_ended = all(run.run_id in votes for run in runs)
        is_full = refine.limit is not None and len(runs) >= refine.limit
        halved = [_halved(refine, leaves) for leaves in maps] if is_ended and not is_full else []
        new = [run for found in halved for _, children in found for c in children for run in c.runs]
        if not new:
            more = 0 if is_ended or is_full else _at_most(refine, maps, len(runs))
            return Expansion(tuple(runs), n_round, tuple(map(tuple, maps)), more)
        n_round += 1
        runs += new[: None if refine.limit is None else refine.limit - len(runs)]
        maps = [list(_replaced(leaves, dict(f))) for leaves, f in zip(maps, halved, strict=True)]
        maps = [_within(leaves, {run.run_id for run in runs}) for leaves in maps]


def _first_maps(refine: Refine, first: Sequence[Run]) -> list[list[Leaf]]:
    """Groups the runs of round 0 by map, then by point, both in order of appearance."""
    names = [line.name for line in refine.axes]
    point_of = attrgetter(*names)
    map_of = attrgetter(*(name for name in KEYS if name not in (*names, "seed", "steps")))
    maps: dict[Any, dict[Any, list[Run]]] = {}
    for run in first:
        maps.setdefault(map_of(run), {}).setdefault(point_of(run), []).append(run)
    return [
        [Leaf(_cell(refine, runs[0]), tuple(runs)) for runs in points.values()]
        for points in maps.values()
    ]


def _cell(refine: Refine, run: Run) -> Cell:
    return Cell(0, tuple(line.values.index(getattr(run, line.name)) for line in refine.axes))


def _judged(leaf: Leaf, votes: Mapping[str, bool | None]) -> Leaf:
    ids = [run.run_id for run in leaf.runs]
    cast = [vote for run_id in ids if (vote := votes.get(run_id)) is not None]
    is_known = cast and all(run_id in votes for run_id in ids)
    return replace(leaf, holds=2 * sum(cast) >= len(cast) if is_known else None)


def _halved(refine: Refine, leaves: Sequence[Leaf]) -> list[tuple[Cell, list[Leaf]]]:
    """Returns the cells to halve now, each with what takes its place."""
    at = on_boundary([leaf.cell for leaf in leaves], [leaf.holds for leaf in leaves], refine.shape)
    return [
        (leaf.cell, children)
        for leaf, is_on in zip(leaves, at, strict=True)
        if is_on and leaf.cell.level < refine.halvings
        if (children := list(_children(refine, leaf)))
    ]


def _children(refine: Refine, leaf: Leaf) -> Iterator[Leaf]:
    for cell in leaf.cell.children():
        where = zip(refine.axes, cell.index, strict=True)
        point: dict[str, Any] = {line.name: line.point(cell.level, i) for line, i in where}
        moved = (replace(run, **point) for run in leaf.runs)
        kept = tuple(run for run in moved if refine.keeps(run))
        if kept:
            yield Leaf(cell, kept)


def _replaced(leaves: Iterable[Leaf], halved: Mapping[Cell, Sequence[Leaf]]) -> Iterator[Leaf]:
    for leaf in leaves:
        yield from halved.get(leaf.cell, [leaf])


def _within(leaves: Iterable[Leaf], ids: set[str]) -> list[Leaf]:
    """Drops what a limit cut off."""
    kept = [replace(e, runs=tuple(r for r in e.runs if r.run_id in ids)) for e in leaves]
    return [leaf for leaf in kept if leaf.runs]


def _at_most(refine: Refine, maps: Iterable[Iterable[Leaf]], n_runs: int) -> int:
    most = sum(len(e.runs) * refine.below(e.cell.level) for leaves in maps for e in leaves)
    return most if refine.limit is None else min(most, refine.limit - n_runs)
