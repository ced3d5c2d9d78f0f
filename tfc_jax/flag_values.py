"""What a flag holds, read from its text; refused in the words of sweeps: what came, what may come.

The command line's own library says it in its own words, which change from version to version.
"""

import math
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

import typer

from tfc_jax.errors import nearest, quoted

MOST = 2**31 - 1  # is met by hardly anybody, and left out of messages to all others

_Named = TypeVar("_Named", bound=StrEnum)


def whole(least: int, most: int = MOST) -> Callable[[object], int]:
    """Returns what reads a whole number from `least` to `most`."""

    def read(text: object) -> int:
        try:
            value = int(str(text))
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise _refusal(text, f"a whole number {_limits(value, least, most)}")
        return value

    return read


def number(least: float, most: float) -> Callable[[object], float]:
    """Returns what reads a number from `least` to `most`; NaN is none."""

    def read(text: object) -> float:
        try:
            value = float(str(text))
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise _refusal(text, f"a number {_limits(value, least, most)}")
        return value

    return read


def one_of(names: type[_Named]) -> Callable[[object], _Named]:
    """Returns what reads one of some names."""

    def read(text: object) -> _Named:
        try:
            return names(str(text))
        except ValueError:
            raise _refusal(text, ", ".join(names), nearest(str(text), names)) from None

    return read


def _limits(value: float, least: float, most: float) -> str:
    is_met = most < MOST or value > most
    return f">= {least:g}" + (f" and <= {most:.12g}" if is_met else "")


def _refusal(text: object, allowed: str, hint: str = "") -> typer.BadParameter:
    return typer.BadParameter(f"{quoted(str(text))} came.{hint} Allowed: {allowed}.")
