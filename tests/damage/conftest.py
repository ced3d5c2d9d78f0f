"""Results of several commits, and copies of them to damage."""

import shutil
from pathlib import Path

import pytest

from tests.sweeps import BARE, make_sweep, train
from tfc_jax.config import Sweep
from tfc_jax.layout import Folder

RECORD = BARE | {"metrics": ["similarity"], "probes": ["generalization"]}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return make_sweep(tmp_path_factory.mktemp("sweep"), record=RECORD)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, sweep: Sweep) -> Path:
    """6 runs in 2 packs, in several groups each."""
    out = tmp_path_factory.mktemp("trained") / "out"
    train(sweep, out, commit_seconds=0)
    return out


@pytest.fixture
def folder(tmp_path: Path, trained: Path) -> Folder:
    """A copy to damage; the copy of the runs table is made anew, since files have new inodes."""
    shutil.copytree(trained, tmp_path / "out")
    return Folder(tmp_path / "out")
