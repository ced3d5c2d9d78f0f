"""Data sets. One file per family; a new data set is a new file in this folder.

Each file declares either `NAMES` (the data sets it knows) or `PREFIX` (it knows every name that
starts so) with `PLACEHOLDER` (what messages show after it), and `load_raw(name) -> Dataset`. Where
a data set can be made harder, it declares `DIFFICULTY` (a sentence: what it is, what is allowed,
the default) and `load_raw(name, difficulty)`, which takes None for the default. It may also declare
`state(name) -> State`, where a data set may be missing from a machine, and
`prepare(name) -> State`, which gets it. Importing a file is quick and touches no disk or network.
This package imports NumPy alone: no JAX.
"""

from functools import cache
from types import ModuleType

from tfc_jax import registry
from tfc_jax.data._dataset import Dataset
from tfc_jax.data._reference import Loss, bayes_loss, prior_loss
from tfc_jax.data._scaling import Scaling, affine
from tfc_jax.data._select import select
from tfc_jax.data._state import State
from tfc_jax.errors import InputError, nearest

__all__ = [
    "Dataset",
    "Loss",
    "Scaling",
    "State",
    "affine",
    "available",
    "bayes_loss",
    "is_known",
    "load",
    "loaded",
    "prepare",
    "prior_loss",
    "select",
    "state",
]


def load(
    name: str,
    *,
    n_train: int | None = None,
    classes: int | None = None,
    difficulty: float | None = None,
) -> Dataset:
    """Returns a data set, or the part of it that a sweep asks for. Never uses the network.

    Args:
      name: one of `available()`.
      n_train: keep the first n_train training samples; None keeps all. The test set stays whole.
      classes: keep only the labels 0..classes-1, in both sets, before counting n_train.
      difficulty: how hard to make it, in the unit of its family; None is the family's default.
    Raises:
      InputError: the name is unknown, the data are missing or damaged here, the part is not in the
        data set, or its family cannot take the difficulty. The message says what to do.
    """
    return select(_load_raw(name, difficulty), n_train=n_train, classes=classes)


@cache
def loaded(
    name: str, n_train: int | None, classes: int | None, difficulty: float | None
) -> Dataset:
    """Returns what `load` does, read once per process."""
    return load(name, n_train=n_train, classes=classes, difficulty=difficulty)


def available() -> tuple[str, ...]:
    """Every name that a sweep may use, here or elsewhere, for messages and completion; sorted."""
    return tuple(sorted(name for family in _families() for name in _names(family)))


def is_known(name: str) -> bool:
    """Whether a sweep may use `name`. Says nothing about files on this machine; see `state`."""
    return any(_knows(family, name) for family in _families())


def state() -> list[State]:
    """Returns which data sets can be loaded here, and how to get the others; sorted by name."""
    return [_state(family, name) for name, family in sorted(_named().items())]


def prepare(name: str) -> State:
    """Gets a data set ready on this machine: downloads and converts once, nothing if it is there.

    Raises:
      InputError: the name is unknown, or something needed is missing; the message says what.
    """
    family = _family(name)
    return family.prepare(name) if hasattr(family, "prepare") else _state(family, name)


def _load_raw(name: str, difficulty: float | None) -> Dataset:
    family = _family(name)
    if hasattr(family, "DIFFICULTY"):
        return family.load_raw(name, difficulty)
    if difficulty is None:
        return family.load_raw(name)
    others = [n for known in _families() if hasattr(known, "DIFFICULTY") for n in _names(known)]
    raise InputError(
        f"difficulty: {difficulty:g} came, but '{name}' has no such knob. Leave difficulty out. "
        f"Data sets with it: {', '.join(sorted(others))}."
    )


def _families() -> list[ModuleType]:
    return [registry.module("data", file) for file in registry.names("data")]


def _names(family: ModuleType) -> tuple[str, ...]:
    if hasattr(family, "NAMES"):
        return family.NAMES
    return (family.PREFIX + family.PLACEHOLDER,)


def _named() -> dict[str, ModuleType]:
    families = [family for family in _families() if hasattr(family, "NAMES")]
    return {name: family for family in families for name in family.NAMES}


def _knows(family: ModuleType, name: str) -> bool:
    if hasattr(family, "NAMES"):
        return name in family.NAMES
    return name.startswith(family.PREFIX) and name != family.PREFIX


def _family(name: str) -> ModuleType:
    for family in _families():
        if _knows(family, name):
            return family
    allowed = available()
    raise InputError(
        f"unknown dataset '{name}'.{nearest(name, allowed)} Available: {', '.join(allowed)}."
    )


def _state(family: ModuleType, name: str) -> State:
    if hasattr(family, "state"):
        return family.state(name)
    return State(name, available=True, where="built in")
