"""Numbers and texts as JSON inside a page."""

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt

DIGITS = 4
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def numbers(values: npt.NDArray[Any]) -> list[Any]:
    """Nested lists of the array's numbers to four digits; None where not finite."""
    flat: list[Any] = [_short(value) for value in np.asarray(values, dtype=float).ravel().tolist()]
    for size in reversed(values.shape[1:]):
        flat = [flat[i : i + size] for i in range(0, len(flat), size)]
    return flat


def _short(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short == int(short) and abs(short) < 1e6 else short


def json_for_script(content: object) -> str:
    """JSON that may stand inside <script type="application/json">: nothing in it ends the element.

    Raises:
      ValueError: a number is NaN or infinite.
    """
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for character, escape in _UNSAFE.items():
        text = text.replace(character, escape)
    return text
