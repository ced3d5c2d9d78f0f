"""Stands between tfc_jax.files and the system: each call that changes the disk can be noticed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tfc_jax import files

CHANGES = ("open", "write", "fsync", "link", "rename", "replace", "unlink", "mkdir", "rmdir")


class Disk:
    """What `os` is, for tfc_jax.files.

    Attributes:
      before: called with the number of each call that changes the disk (from 1) and its name.
      calls: so many there were.
    """

    def __init__(self, before: Callable[[int, str], None]) -> None:
        self.before, self.calls = before, 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CHANGES:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            self.before(self.calls, name)
            return real(*args, **kwargs)

        return call


@contextmanager
def watched(before: Callable[[int, str], None]) -> Iterator[Disk]:
    """Watches all changes until the context ends."""
    disk = Disk(before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "os", disk)
        yield disk
