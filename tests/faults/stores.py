"""A local object store, and places on it of which this process has seen nothing."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.objects.store import Local, fresh_place
from tfc_jax.objects.place import Place


@dataclass
class Store:
    """A server for one test.

    Attributes:
      folder: for what is cached and copied.
      patch: of the environment, in which a place says how its server is reached.
    """

    server: Local
    folder: Path
    patch: pytest.MonkeyPatch

    def place(self, name: object) -> Place:
        """A new place."""
        return fresh_place(self.patch, self.server, self.folder / "cache", f"p{name}")

    def copied(self, place: Place) -> Path:
        """What is stored there, as a folder."""
        return self.server.as_folder(place, self.folder / "copied")


def environment_of_stores() -> dict[str, str]:
    """What a process needs that is forked from a server which began before a place was made."""
    return {name: v for name, v in os.environ.items() if name.startswith(("AWS_", "TFC_STORE"))}
