"""The values of one key of an axis: a list, or a range that stands for one.

They are counted before any is made, so that what is too large is refused without being built.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tfc_jax.errors import nearest, quoted
from tfc_jax.keytypes import Key, shown
from tfc_jax.yaml_source import Problems, Value

MAX_RUNS = 2_000_000
MAX_REFUSALS = 3  # messages for the values of one axis; the rest is counted


def count_values(value: Value) -> int:
    """Returns how many values a list or range stands for, without making any.

    What cannot be counted, or is too many by itself, counts as one: `read_values` refuses it.
    """
    try:
        return len(_raw(value)[0])
    except ValueError:
        return 1


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


def grouped(number: int) -> str:
    """Returns a count with its digits grouped, while one can read them."""
    return f"{number:,}" if number <= 10**24 else "more than 10^24"


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


@dataclass(frozen=True)
class _Lazy(Sequence[object]):
    """Values that are made when they are asked for."""

    n: int
    make: Callable[[int], object]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: Any) -> Any:
        if not 0 <= i < self.n:
            raise IndexError(i)
        return self.make(i)


def _points(form: Mapping[str, Value]) -> Sequence[object]:
    if len(form) != 1 or not form.keys() <= _SPACES.keys():
        unknown = next((name for name in form if name not in _SPACES), "")
        hint = nearest(unknown, _SPACES)
        raise ValueError(f"a mapping of {_names(form)} came.{hint} Allowed: {_FORMS}.")
    ((name, arguments),) = form.items()
    numbers = [v.data for v in arguments.data] if isinstance(arguments.data, list) else []
    if not numbers or not all(_is_finite(number) for number in numbers):
        raise ValueError(f"{name} needs a list of finite numbers. Allowed: {_FORMS}.")
    return _SPACES[name](*numbers) if len(numbers) in _ARITY[name] else _wrong_count(name, numbers)


def _names(form: Mapping[str, Value]) -> str:
    names = [name if name.isidentifier() and len(name) < 40 else quoted(name) for name in form]
    return ", ".join([*names[:3], *["..."] * (len(names) > 3)]) or "nothing"


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
    return _Lazy(_limited(count), lambda i: _number(a + i * d))


def _linspace(start: float, stop: float, count: float) -> Sequence[object]:
    a, b = Fraction(repr(start)), Fraction(repr(stop))
    n = _counted(count)
    return _with_ends(a, b, n, lambda i: a + (b - a) * i / (n - 1))


def _logspace(start: float, stop: float, count: float) -> Sequence[object]:
    if start <= 0 or stop <= 0:
        raise ValueError("logspace takes end points above 0, not exponents.")
    a, b, n = math.log(start), math.log(stop), _counted(count)
    ends = Fraction(repr(start)), Fraction(repr(stop))
    return _with_ends(*ends, n, lambda i: math.exp(a + (b - a) * i / (n - 1)))


def _with_ends(
    start: Fraction, stop: Fraction, n: int, inner: Callable[[int], Fraction | float]
) -> Sequence[object]:
    """The ends as they came, what lies between them to 6 digits."""
    ends = {0: _number(start), n - 1: _number(stop)}
    return _Lazy(n, lambda i: ends[i] if i in ends else _rounded(inner(i)))


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
        raise ValueError(f"{grouped(count)} values came. Allowed: at most {MAX_RUNS:,} runs.")
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
