"""A launch that was killed before it wrote its manifest: nothing was trained, nothing is lost."""

from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.launching.conftest import DONE
from tests.sweeps import content, make_sweep, train
from tfc_jax import fsck, lock, manifest
from tfc_jax.config import Sweep
from tfc_jax.errors import InputError
from tfc_jax.layout import EMPTY_PART, Folder
from tfc_jax.schema import RESULT_TABLES
from tfc_jax.status import read_status


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a launch with more metrics and probes leaves that is killed at its manifest."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    more = {"metrics": "all", "probes": ["neural_collapse"]}
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            train(make_sweep(tmp_path, name="more", record=more), tmp_path / "left")
    return tmp_path / "left"


def columns(folder: Path) -> dict[str, list[str]]:
    """Names by table, of the empty part."""
    parts = {table: folder / table / EMPTY_PART for table in ("runs", *RESULT_TABLES)}
    return {table: pq.read_schema(part).names for table, part in parts.items() if part.exists()}


@pytest.mark.parametrize("fresh", [False, True])
def test_another_record_has_its_own_tables_and_columns_afterwards(
    left: Path, finished: Path, sweep: Sweep, fresh: bool
) -> None:
    assert columns(left) != columns(finished)
    assert train(sweep, left, fresh=fresh) == DONE
    assert columns(left) == columns(finished)
    assert content(left) == content(finished)
    for table in columns(left):
        duckdb.read_parquet(str(left / table / "*.parquet")).fetchall()
    assert fsck.check(Folder(left)).findings == ()


def test_it_is_no_damage_and_no_result(left: Path) -> None:
    report = fsck.check(Folder(left))
    assert report.damage == []
    assert [one.path.name for one in report.findings] == ["manifest.json"]
    with pytest.raises(InputError, match="there are no results here"):
        read_status(Folder(left))


def test_rows_keep_the_columns_that_were_recorded_with_them(out: Path, sweep: Sweep) -> None:
    """A later version has more columns; the part without rows has those of the rows."""
    part = out / "steps" / EMPTY_PART
    pq.write_table(pq.read_table(part).append_column("new", [[]]), part)
    before = part.read_bytes()
    train(sweep, out)
    assert part.read_bytes() == before


def test_every_folder_that_it_may_have_made_is_durable(
    tmp_path: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(lock, "sync_folder", synced.append)
    (tmp_path / "a" / "b").mkdir(parents=True)
    train(sweep, tmp_path / "a" / "b" / "out")
    assert synced[:3] == [tmp_path / "a" / "b", tmp_path / "a", tmp_path]
    assert synced[-1].is_mount()
