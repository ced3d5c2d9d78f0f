"""A sweep, and what this process makes of it."""

from pathlib import Path

import pytest

from tests.sweeps import make_sweep, train
from tfc_jax.config import Sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return make_sweep(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, sweep: Sweep) -> Path:
    out = tmp_path_factory.mktemp("reference") / "out"
    assert train(sweep, out) == {"done": 6}
    return out
