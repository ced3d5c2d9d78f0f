"""Whether a data set can be loaded here, as `tfc doctor` shows it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class State:
    """One line of `tfc doctor`.

    Attributes:
      name: what a sweep calls the data set.
      available: whether `load` can return it here and now, without a network.
      where: the folder or package it is read from; where it would be, if it is not there.
      remedy: what to do to get it; empty when it is available.
    """

    name: str
    available: bool
    where: str
    remedy: str = ""
