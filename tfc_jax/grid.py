"""Axes in, runs out: the product, and what is left out of it.

Nothing here walks over all runs in Python before they are known to be wanted: values are checked
once per axis, conditions on arrays over the axes that they name.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfc_jax.axis_values import MAX_RUNS, count_values, grouped, read_values
from tfc_jax.comparison import Mask
from tfc_jax.expression import Expression, parse
from tfc_jax.keys import CONTRADICTIONS, KEYS, KINDS, Run
from tfc_jax.keytypes import shown
from tfc_jax.wording import counted
from tfc_jax.yaml_source import Problems, Value

MAX_VALUES = 4_000_000  # of all keys of all axes
_SPLIT = "Take fewer values, or split the sweep into several files."


Size = tuple[tuple[str, ...], int]  # keys that move together, and how many rows of them


@dataclass(frozen=True)
class Axis:
    """Keys that move together; each row holds one value of each."""

    keys: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]

    @property
    def size(self) -> Size:
        return self.keys, len(self.rows)


@dataclass(frozen=True)
class Grid:
    """The product of axes over a base that holds every key; the last axis moves fastest."""

    base: Mapping[str, Any]
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis.rows) for axis in self.axes)

    def mask(self, condition: Expression) -> Mask:
        """Where the condition holds; broadcasts against `shape`."""
        return condition.mask({name: self._column(name) for name in condition.names})

    def kept(self, excludes: Iterable[Expression]) -> Mask:
        """Returns, of shape `shape`, what no condition excludes."""
        keep = np.ones(self.shape, bool)
        for condition in excludes:
            keep &= ~self.mask(condition)
        return keep

    def runs(self, keep: Mask) -> Iterator[Run]:
        """Yields the kept runs in order."""
        names = [*self.base, *(key for axis in self.axes for key in axis.keys)]
        # An axis overrides the base: it comes later in `names`, and the last one counts.
        in_order = itemgetter(*({name: i for i, name in enumerate(names)}[key] for key in KEYS))
        base = tuple(self.base.values())
        points = itertools.product(*(axis.rows for axis in self.axes))
        for point in itertools.compress(points, keep.tobytes()):
            yield Run(*in_order(tuple(itertools.chain(base, *point))))

    def contradictions(self, keep: Mask) -> Iterator[tuple[Expression, str]]:
        """Yields the condition of every contradiction among the kept runs, with a sentence."""
        for condition, why in _contradictions():
            wrong = self.mask(condition) & keep
            if wrong.any():
                run = next(self.runs(wrong))
                named = [name for name in KEYS if name in condition.names]
                example = ", ".join(f"{name} {_plain(getattr(run, name))}" for name in named)
                of = counted(int(np.count_nonzero(keep)), "run")
                counts = f"{np.count_nonzero(wrong)} of {of}"
                remedy = f'To leave these out, add to exclude: "{condition.text}"'
                if np.array_equal(wrong, keep):
                    remedy = f"Change {' or '.join(named)}"
                yield condition, f"{why}. Met in {counts}, such as {example}. {remedy}."

    def _column(self, name: str) -> NDArray[Any]:
        for i, axis in enumerate(self.axes):
            if name in axis.keys:
                values = [row[axis.keys.index(name)] for row in axis.rows]
                return np.asarray(values).reshape(len(values), *[1] * (len(self.axes) - i - 1))
        return np.asarray(self.base[name])


@cache
def _contradictions() -> tuple[tuple[Expression, str], ...]:
    return tuple((parse(when, KINDS), why) for when, why in CONTRADICTIONS)


def read_axis(columns: Mapping[str, Value], prefix: str, problems: Problems) -> Axis:
    """Returns the axis of one grid key or one zip block; without rows if anything is refused.

    Args:
      columns: key to value list; more than one key move together.
      prefix: of the key in messages, "grid.", "zip." or "".
    """
    lists = [read_values(KEYS[key], v, prefix + key, problems) for key, v in columns.items()]
    place = next(iter(columns.values()))
    if not all(lists):
        return Axis(tuple(columns), [])
    if len({len(values) for values in lists}) > 1:
        counts = ", ".join(f"{key} has {len(v)}" for key, v in zip(columns, lists, strict=True))
        problems.add(
            place, f"{prefix[:-1]}: the keys of a block move together, but {counts} values."
        )
        return Axis(tuple(columns), [])
    rows = list(zip(*lists, strict=True))
    if (row := _repeated(rows)) is not None:
        what = ", ".join(f"{prefix}{key} {_plain(v)}" for key, v in zip(columns, row, strict=True))
        how = " (as float32)" if any(isinstance(v, float) for v in row) else ""
        problems.add(place, f"{what} comes twice{how}. Keep one of them.")
    return Axis(tuple(columns), rows)


def planned_size(columns: Mapping[str, Value]) -> Size:
    """Returns the size of the axis that `read_axis` would make of these columns.

    What cannot be counted, or is too many by itself, is one here: `read_axis` refuses it.
    """
    return tuple(columns), max(count_values(value) for value in columns.values())


def size_problem(axes: Sequence[Size], refined: int = 1) -> str | None:
    """Says that the product is too large, before anything is expanded.

    Args:
      refined: runs that a run of the grid can become, itself included.
    """
    total = math.prod(length for _, length in axes) * refined
    n_values = sum(length * len(keys) for keys, length in axes)
    if total <= MAX_RUNS and n_values <= MAX_VALUES:
        return None
    if total <= MAX_RUNS:
        return f"{n_values:,} values of axes came; at most {MAX_VALUES:,} are allowed. {_SPLIT}"
    parts = [f"{length} ({', '.join(keys)})" for keys, length in axes]
    factors = " x ".join([*parts[:9], *["..."] * (len(parts) > 9)])
    factors += f" x {refined} (refine, at most)" if refined > 1 else ""
    return (
        f"{grouped(total)} runs = {factors}; at most {MAX_RUNS:,} are allowed, before exclude. "
        f"{_SPLIT}"
    )


def _plain(value: object) -> str:
    return value if isinstance(value, str) else shown(value)


def _repeated(rows: Sequence[tuple[Any, ...]]) -> tuple[Any, ...] | None:
    """Returns a row that equals an earlier one once its numbers are float32."""
    seen = set()
    for row in rows:
        single = tuple(np.float32(v).item() if isinstance(v, float) else v for v in row)
        if single in seen:
            return row
        seen.add(single)
    return None
