"""Rows that other machines have written are waited for, since NFS shows them late."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.executors.engines import Inline, OnInline
from tests.sweeps import CPU, make_sweep
from tfc_jax.errors import StorageError
from tfc_jax.executors import arrival
from tfc_jax.executors.local import Interrupt
from tfc_jax.launch import launch
from tfc_jax.layout import Folder
from tfc_jax.options import Options

PACK, OTHER = "0123456789ab", "0123456789ac"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "runs").mkdir()
    return Folder(tmp_path)


def test_rows_that_are_seen_late_are_waited_for(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def write(seconds: float) -> None:
        (folder.runs / f"{(PACK, OTHER)[len(waits)]}.parquet").touch()
        waits.append(seconds)

    monkeypatch.setattr(time, "sleep", write)
    arrival.await_rows(folder, [PACK, OTHER])
    assert len(waits) == 2


def test_each_look_follows_a_change_of_the_folder_and_leaves_nothing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over NFS, where a list is kept until the machine itself changes the folder."""
    listed: list[str] = []
    make, list_all = os.mkdir, os.listdir

    def make_and_see(path: Path, *mode: int) -> None:
        make(path, *mode)
        listed[:] = list_all(folder.runs)

    monkeypatch.setattr(arrival, "SECONDS", 0.0)
    monkeypatch.setattr(os, "mkdir", make_and_see)
    monkeypatch.setattr(os, "listdir", lambda path: listed)
    (folder.runs / f"{PACK}.parquet").touch()
    arrival.await_rows(folder, [PACK])
    assert list_all(folder.runs) == [f"{PACK}.parquet"]


def test_rows_that_never_come_end_the_launch_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "SECONDS", 0.0)
    engine = Inline(lambda order: json.dumps({"event": "finished"}))
    given = (make_sweep(tmp_path), Folder(tmp_path / "out"), Options(pack_width=3), CPU)
    with pytest.raises(StorageError, match=r"rows of 2 packs .* not seen here .* \(of NFS, with"):
        launch(*given, lambda event: None, Interrupt(), OnInline(engine))
