"""Names for groups of runs, in the words of the sweep; and the runs of a sweep of operations."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd


def describe(values: Mapping[str, object]) -> str:
    """Returns "depth 9, init_scale 0.8": the same words as in the sweep; numbers to 4 digits."""
    return ", ".join(f"{key} {_short(value)}" for key, value in values.items())


def _short(value: Any) -> str:
    if pd.isna(value):
        return "null"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def varied(runs: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """Returns the keys that take more than one value, null counting as a value; `seed` never."""
    present = [key for key in keys if key in runs.columns and key != "seed"]
    return [key for key in present if runs[key].nunique(dropna=False) > 1]


def departures(
    runs: pd.DataFrame, keys: Sequence[str], plain: Mapping[str, object] | None = None
) -> pd.Series:
    """Names each run by how it departs from the plain condition: "plain", "momentum 0.9", ...

    Unless `plain` is given, it has the most common value of every key, as in a sweep that changes
    one thing at a time; null is a value.
    """
    plain = plain or {key: _commonest(runs[key]) for key in keys}
    names = [
        describe({key: row[key] for key in keys if _differ(row[key], plain[key])}) or "plain"
        for row in runs[list(keys)].to_dict("records")
    ]
    return pd.Series(names, index=runs.index, dtype=object)


def _commonest(values: pd.Series) -> Any:
    """The most common value; null only where it is more common than any other."""
    known = values.mode()
    if known.empty or values.isna().sum() > (values == known.iloc[0]).sum():
        return None
    return known.iloc[0]


def _differ(one: Any, other: Any) -> bool:
    """Whether two values differ; null equals null alone."""
    if pd.isna(one) or pd.isna(other):
        return bool(pd.isna(one) != pd.isna(other))
    return bool(one != other)


OPERATIONS = ("norm", "momentum", "learning_rate", "init_scale", "weight_decay")


def operations(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Runs of a sweep of operations by what was done: plain first, then by key and value."""
    names = departures(runs, OPERATIONS)
    groups = {str(name): group for name, group in runs.groupby(names)}
    order = sorted(groups, key=lambda name: _rank(name, groups[name]))
    return {name: groups[name] for name in order}


def _rank(name: str, group: pd.DataFrame) -> tuple[int, float, int]:
    if name == "plain":
        return (-1, 0.0, 0)
    key = name.split()[0]
    value = group[key].iloc[0]
    number = float(value) if isinstance(value, float) else 0.0
    return (OPERATIONS.index(key), number, name.count(","))
