"""How often a fault is tried, the count of what came of it, and what it is tried on.

The short numbers run with all tests, the long ones with `make test-faults`. Each test fills a
`Tally`; the table of all of them ends the report of pytest.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.faults.launches import LONG, own_cache
from tests.faults.stores import Store
from tests.faults.tally import Tally, Tries
from tests.objects.store import running
from tests.sweeps import make_sweep, train
from tfc_jax.config import Sweep


@pytest.fixture
def tries(pytestconfig: pytest.Config) -> Tries:
    """Chooses between a short and a long number of repetitions."""
    is_long = pytestconfig.getoption("--long-faults")
    return lambda short, long: long if is_long else short


@pytest.fixture
def tally(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Iterator[Tally]:
    """Counts the outcomes of a test, which is named after its fault."""
    name = request.node.name.removeprefix("test_").replace("_", " ")
    count = Tally(name)
    yield count
    numbers = {name: int(n) for name, n in asdict(count).items() if name != "what"}
    record_property("tally", {"what": count.what, **numbers})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An object store that is given up after half a second; ended with the test."""
    monkeypatch.setenv("TFC_STORE_SECONDS", "0.5")
    with running(tmp_path / "server") as server:
        yield Store(server, tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def cache() -> Iterator[None]:
    """Launches of a module share compiled programs and data, and nothing with other modules."""
    with own_cache():
        yield


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    """Of `sweep`; modules that need longer runs say so."""
    return LONG


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any]) -> Sweep:
    """Six runs in packs of which each is committed many times."""
    return make_sweep(tmp_path_factory.mktemp("sweep"), **settings)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, sweep: Sweep) -> Path:
    """What an undisturbed launch of `sweep` leaves."""
    out = tmp_path_factory.mktemp("reference") / "out"
    assert train(sweep, out) == {"done": 6}
    return out
