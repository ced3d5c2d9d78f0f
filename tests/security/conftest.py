"""A results folder, trained once, of which tests make what a stranger could hand out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from tests.sweeps import make_sweep, train
from tfc_jax.cli import app

Change = Callable[[Any], Any]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 runs in 2 packs, done."""
    folder = tmp_path_factory.mktemp("trained")
    train(make_sweep(folder, record={"metrics": ["similarity"]}), folder / "out")
    return folder / "out"


@pytest.fixture
def stranger(trained: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return Path(shutil.copytree(trained, tmp_path / "home" / "stranger"))


def tfc(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)


def change_json(path: Path, change: Change) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def change_parquet(path: Path, change: Change) -> None:
    """Rewrites a file with another table."""
    pq.write_table(change(pq.read_table(path, partitioning=None)), path)


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    """The table with other values in a column, or with one more."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, values)
    return table.append_column(name, values)


def snapshot(root: Path) -> dict[str, Any]:
    """Everything below a folder: names, kinds, times of change of what is a file."""
    return {
        str(path.relative_to(root)): path.lstat().st_mtime_ns if path.is_file() else "folder"
        for path in sorted(root.rglob("*"))
    }
