"""Axes in, runs out: value lists and ranges, the product, and what is left out of it.

Nothing here walks over all runs in Python before they are known to be wanted: values are checked
once per axis, conditions on arrays over the axes that they name.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfc_jax.comparison import Mask
from tfc_jax.errors import nearest
from tfc_jax.expression import Expression, parse
from tfc_jax.keys import CONTRADICTIONS, KEYS, KINDS, Run
from tfc_jax.keytypes import Key, shown
from tfc_jax.wording import counted
from tfc_jax.yaml_source import Problems, Value

MAX_RUNS = 2_000_000
MAX_REFUSALS = 3  # messages for the values of one axis; the rest is counted


@dataclass(frozen=True)
class Axis:
    """Keys that move together; each row holds one value of each."""

    keys: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]


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
        for when, why in CONTRADICTIONS:
            condition = parse(when, KINDS)
            wrong = self.mask(condition) & keep
            if wrong.any():
                run = next(self.runs(wrong))
                named = [name for name in KEYS if name in condition.names]
                example = ", ".join(f"{name} {_plain(getattr(run, name))}" for name in named)
                of = counted(int(np.count_nonzero(keep)), "run")
                counts = f"{np.count_nonzero(wrong)} of {of}"
                remedy = f'To leave these out, add to exclude: "{when}"'
                yield condition, f"{why}. Met in {counts}, such as {example}. {remedy}."

    def _column(self, name: str) -> NDArray[Any]:
        for i, axis in enumerate(self.axes):
            if name in axis.keys:
                values = [row[axis.keys.index(name)] for row in axis.rows]
                return np.asarray(values).reshape(len(values), *[1] * (len(self.axes) - i - 1))
        return np.asarray(self.base[name])


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
        problems.add(place, f"{what} comes twice (as float32). Keep one of them.")
    return Axis(tuple(columns), rows)


def read_values(key: Key, value: Value, label: str, problems: Problems) -> list[Any]:
    """Returns the checked values of a list or range; empty if anything about it is refused."""
    try:
        raw, place_of = _raw(value)
    except ValueError as error:
        problems.add(value, f"{label}: {error}")
        return []
    values, n_refused = [], 0
    for i, item in enumerate(raw):
        try:
            values.append(key.checked(item))
        except ValueError as error:
            n_refused += 1
            if n_refused <= MAX_REFUSALS:
                problems.add(place_of(i), f"{label}: {error}")
    if n_refused > MAX_REFUSALS:
        more = n_refused - MAX_REFUSALS
        problems.add(value, f"{label}: {more} more values are refused likewise.")
    return [] if n_refused else values


def size_problem(axes: Sequence[Axis], refined: int = 1) -> str | None:
    """Says that the product is too large, before anything is expanded.

    Args:
      refined: runs that a run of the grid can become, itself included.
    """
    total = math.prod(len(axis.rows) for axis in axes) * refined
    if total <= MAX_RUNS:
        return None
    factors = " x ".join(f"{len(axis.rows)} ({', '.join(axis.keys)})" for axis in axes)
    factors += f" x {refined} (refine, at most)" if refined > 1 else ""
    return (
        f"{total:,} runs = {factors}; at most {MAX_RUNS:,} are allowed, before exclude. "
        "Take fewer values, or split the sweep into several files."
    )


def _raw(value: Value) -> tuple[Sequence[object], Callable[[int], Value]]:
    """Returns the values that a list or range stands for, and where each of them stands."""
    if isinstance(value.data, dict):
        return _points(value.data), lambda i: value
    if not isinstance(value.data, list):
        raise ValueError(
            f"{shown(value.data)} came. Allowed: a list, {_FORMS}. One value belongs in base."
        )
    if not value.data:
        raise ValueError("an empty list came. Give it values, or remove the line.")
    for item in value.data:
        if isinstance(item.data, list | dict):
            raise ValueError(f"{shown(item.data)} came inside the list. Allowed: single values.")
    return [item.data for item in value.data], lambda i: value.data[i]


_FORMS = "{range: [a, b]}, {range: [a, b, step]}, {linspace: [a, b, n]} or {logspace: [a, b, n]}"


def _points(form: Mapping[str, Value]) -> Sequence[object]:
    if len(form) != 1 or not form.keys() <= _SPACES.keys():
        unknown = next((name for name in form if name not in _SPACES), "")
        hint = nearest(unknown, _SPACES)
        raise ValueError(
            f"a mapping of {', '.join(form) or 'nothing'} came.{hint} Allowed: {_FORMS}."
        )
    ((name, arguments),) = form.items()
    numbers = [v.data for v in arguments.data] if isinstance(arguments.data, list) else []
    if not numbers or not all(_is_finite(number) for number in numbers):
        raise ValueError(f"{name} needs a list of finite numbers. Allowed: {_FORMS}.")
    return _SPACES[name](*numbers) if len(numbers) in _ARITY[name] else _wrong_count(name, numbers)


def _wrong_count(name: str, numbers: list[float]) -> Sequence[object]:
    raise ValueError(f"{name} came with {len(numbers)} numbers. Allowed: {_FORMS}.")


def _range(start: float, stop: float, step: float = 1) -> Sequence[object]:
    """Half-open, in exact decimal arithmetic: 0, 0.1, ... never reaches 0.30000000000000004."""
    a, b, d = (Fraction(repr(number)) for number in (start, stop, step))
    if d == 0:
        raise ValueError("a range with step 0 came. Give a step that leads from start to stop.")
    count = math.ceil((b - a) / d)
    if count < 1:
        raise ValueError("an empty range came: it is half-open, and stop is not beyond start.")
    return [_number(a + i * d) for i in range(_limited(count))]


def _linspace(start: float, stop: float, count: float) -> Sequence[object]:
    a, b = Fraction(repr(start)), Fraction(repr(stop))
    n = _counted(count)
    inner = (_rounded(a + (b - a) * i / (n - 1)) for i in range(1, n - 1))
    return [_number(a), *inner, _number(b)]


def _logspace(start: float, stop: float, count: float) -> Sequence[object]:
    if start <= 0 or stop <= 0:
        raise ValueError("logspace takes end points above 0, not exponents.")
    a, b, n = math.log(start), math.log(stop), _counted(count)
    inner = (_rounded(math.exp(a + (b - a) * i / (n - 1))) for i in range(1, n - 1))
    return [_number(Fraction(repr(start))), *inner, _number(Fraction(repr(stop)))]


_SPACES: dict[str, Callable[..., Sequence[object]]] = {
    "range": _range,
    "linspace": _linspace,
    "logspace": _logspace,
}
_ARITY = {"range": (2, 3), "linspace": (3,), "logspace": (3,)}


def _counted(count: float) -> int:
    if not isinstance(count, int) or count < 2:
        raise ValueError(
            f"{shown(count)} points came. Allowed: a whole number >= 2, both ends count."
        )
    return _limited(count)


def _limited(count: int) -> int:
    if count > MAX_RUNS:
        raise ValueError(f"{count:,} values came. Allowed: at most {MAX_RUNS:,} runs.")
    return count


def _rounded(number: Fraction | float) -> int | float:
    return _number(Fraction(f"{float(number):.6g}"))


def _number(exact: Fraction) -> int | float:
    """An int where the number is whole, so that a range may serve a key of whole numbers."""
    return exact.numerator if exact.denominator == 1 else float(exact)


def _is_finite(number: object) -> bool:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return False
    return abs(number) < 2.0**1000


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
