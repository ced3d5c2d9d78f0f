"""How a pack departs from most others of its sweep, in a few words."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tfc_jax.keys import KEYS
from tfc_jax.run_arrays import Coded, RunArrays
from tfc_jax.stored_runs import StoredRuns

# Keys that the title of a program tells, and the seed, which tells little.
_TOLD = ("seed", "dataset", "architecture", "depth", "width", "target_params")
_NO_VALUE = object()


def pack_texts(rows: StoredRuns, runs: RunArrays) -> list[str]:
    """Returns e.g. "digits mlp 9x64, init_scale 0.6 to 1.2" for each pack.

    Named are the keys in which the sweep's runs differ, where a pack does not have the value that
    most runs of the sweep have.
    """
    parts = [_titles(rows, runs)]
    for name, usual in _usual_values(runs):
        parts.append(_departures(rows, name, usual, runs.column(name, rows.place)))
    return [", ".join(filter(None, of_pack)) for of_pack in zip(*parts, strict=True)]


def _titles(rows: StoredRuns, runs: RunArrays) -> list[str]:
    """Data set, architecture, depth and built width of the first run of each pack."""
    names = ("dataset", "architecture", "depth", "width")
    columns = [runs.column(name, rows.place[rows.first]) for name in names]
    told = zip(*(map(c.values.__getitem__, c.code.tolist()) for c in columns), strict=True)
    built = rows.built_width[rows.first].tolist()
    return [
        f"{dataset} {architecture} {depth}x{width if at != at else int(at)}"
        for (dataset, architecture, depth, width), at in zip(told, built, strict=True)
    ]


def _usual_values(runs: RunArrays) -> Iterator[tuple[str, Any]]:
    """Yields the keys in which runs differ, with the value that most of them have, if any."""
    everywhere = runs.everywhere
    for name in KEYS:
        if name not in _TOLD:
            values, code = runs.column(name, everywhere)
            counts = np.bincount(code, minlength=len(values))
            most = int(counts.argmax())
            if np.count_nonzero(counts) > 1:
                yield name, values[most] if counts[most] > len(runs) / 2 else _NO_VALUE


def _departures(rows: StoredRuns, name: str, usual: Any, column: Coded) -> list[str]:
    """Returns what each pack has of a key; nothing where that is the usual value."""
    values, code = column
    if not rows.packs:
        return []
    least = np.minimum.reduceat(code, rows.first)
    most = np.maximum.reduceat(code, rows.first)
    alone = ["" if value == usual else f"{name} {_short(value)}" for value in values]
    several = _several(rows, column)
    return [
        alone[low] if low == high else f"{name} {several(pack)}"
        for pack, (low, high) in enumerate(zip(least.tolist(), most.tolist(), strict=True))
    ]


def _several(rows: StoredRuns, column: Coded) -> Callable[[int], str]:
    """Returns what tells the values of a pack that has several."""
    values, code = column
    stops = np.append(rows.first[1:], len(code))

    def told(pack: int) -> str:
        own = code[rows.first[pack] : stops[pack]].tolist()
        return _range([values[i] for i in dict.fromkeys(own)])

    return told


def _range(values: Sequence[Any]) -> str:
    """E.g. "0.8", "0.6 to 1.2", "none, sham, ..."."""
    if len(values) > 1 and all(isinstance(value, int | float) for value in values):
        return f"{_short(min(values))} to {_short(max(values))}"
    return ", ".join([*map(_short, values[:2]), *["..."] * (len(values) > 2)])


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
