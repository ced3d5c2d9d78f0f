"""A small sweep, and what training it leaves."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.sweeps import make_sweep, train
from tfc_jax.config import Sweep

DONE = Counter(done=6)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the small sweep: 6 runs in 2 packs, 60 steps."""
    folder = tmp_path_factory.mktemp("finished")
    assert train(make_sweep(folder), folder / "out") == DONE
    return folder / "out"


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished results."""
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return make_sweep(tmp_path)
