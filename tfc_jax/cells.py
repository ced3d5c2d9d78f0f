"""Boxes around the points of a grid, halved where two sides meet. Numbers in, numbers out.

A cell is a level and one whole index per axis: level 0 is the box around a point of the grid, and
2i and 2i+1 at level l+1 are the halves of i at level l.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Cell:
    """A box of the grid; its size is the first spacing / 2**level."""

    level: int
    index: tuple[int, ...]

    def children(self) -> Iterator["Cell"]:
        """Yields the 2**k halves along all k axes, the last axis fastest."""
        halves = [(2 * i, 2 * i + 1) for i in self.index]
        return (Cell(self.level + 1, index) for index in itertools.product(*halves))

    def window(self, finest: int) -> tuple[slice, ...]:
        """Where the cell lies on the lattice of level `finest`."""
        width = 1 << (finest - self.level)
        return tuple(slice(i * width, (i + 1) * width) for i in self.index)


@dataclass(frozen=True)
class Line:
    """One axis of the grid.

    Attributes:
      values: of the grid, ascending, at least two; above 0 if `is_log`.
      is_log: cells are halved in the logarithm.
    """

    name: str
    values: tuple[float, ...]
    is_log: bool

    def box(self, level: int, index: int) -> tuple[float, float]:
        """Borders of a cell. Those of the grid lie half way; the outer ones mirror the next."""
        first, part = index >> level, index & ((1 << level) - 1)
        low, high = self._borders[first : first + 2]
        step = (high - low) / (1 << level)
        return self._back(low + part * step), self._back(low + (part + 1) * step)

    def point(self, level: int, index: int) -> float:
        """The value at which a cell is tried: its own in the grid, else its middle, to 6 digits."""
        if level == 0:
            return self.values[index]
        low, high = (self._coordinate(border) for border in self.box(level, index))
        return float(f"{self._back((low + high) / 2):.6g}")

    def points(self, finest: int) -> list[float]:
        """All values that cells of level 0..finest can have."""
        levels = range(finest + 1)
        return [self.point(n, i) for n in levels for i in range(len(self.values) << n)]

    @cached_property
    def _borders(self) -> list[float]:
        x = [self._coordinate(value) for value in self.values]
        inner = [(a + b) / 2 for a, b in itertools.pairwise(x)]
        return [2 * x[0] - inner[0], *inner, 2 * x[-1] - inner[-1]]

    def _coordinate(self, value: float) -> float:
        return math.log(value) if self.is_log else value

    def _back(self, coordinate: float) -> float:
        return math.exp(coordinate) if self.is_log else coordinate


def on_boundary(
    cells: Sequence[Cell], sides: Sequence[bool | None], shape: Sequence[int]
) -> list[bool]:
    """Returns which cells share a piece of border with a cell on the other side.

    Args:
      cells: of any levels, not overlapping; places that none covers have no side.
      sides: of the cells; None is neither side.
      shape: cells of level 0 along each axis.
    """
    finest = max((cell.level for cell in cells), default=0)
    owner = np.full([n << finest for n in shape], -1)
    for number, cell in enumerate(cells):
        owner[cell.window(finest)] = number
    side = np.array([*(-1 if s is None else int(s) for s in sides), -1])[owner]
    touched = np.zeros(len(cells) + 1, bool)
    for axis in range(owner.ndim):
        owners, values = (np.moveaxis(array, axis, 0) for array in (owner, side))
        meets = (values[:-1] != values[1:]) & (values[:-1] >= 0) & (values[1:] >= 0)
        touched[owners[:-1][meets]] = True
        touched[owners[1:][meets]] = True
    return [bool(t) for t in touched[:-1]]
