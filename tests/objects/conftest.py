"""One object store for all tests, and a place of its own for each."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.objects.store import Local, fresh_place, running
from tfc_jax.objects.place import Place


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A server on loopback."""
    with running(tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture
def place(
    local: Local, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> Place:
    """Where nothing is yet, and of which this machine has seen nothing."""
    name = re.sub(r"\W", "-", request.node.name)[:100]
    return fresh_place(monkeypatch, local, tmp_path / "cache", name)
