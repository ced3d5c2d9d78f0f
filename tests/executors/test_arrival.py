"""Rows that other machines have written are waited for, since NFS shows them late."""

import errno
import json
import os
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.executors.engines import Inline, OnInline, as_a_worker, lost
from tests.sweeps import CPU, make_sweep
from tfc_jax import files, folder_tables
from tfc_jax.errors import InputError, StorageError
from tfc_jax.executors import arrival, remote
from tfc_jax.executors.local import Interrupt
from tfc_jax.launch import launch
from tfc_jax.layout import Folder, is_probe
from tfc_jax.options import Options
from tfc_jax.runs_table import rows_in
from tfc_jax.stored_files import StoredFiles

PACK, OTHER = "0123456789ab", "0123456789ac"
STEPS = 60
FINISHED = json.dumps({"event": "finished"})


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "runs").mkdir()
    return Folder(tmp_path)


def write(folder: Folder, pack: str, status: str = "done", steps: int = STEPS) -> None:
    """Rows of two runs; as one that diverged may be beside one that is done."""
    rows = [
        {"run_id": f"{pack}{n}", "pack": pack, "status": status, "steps_done": steps}
        for n in range(2)
    ]
    if status == "done":
        rows[0]["status"] = "diverged"
    pq.write_table(pa.Table.from_pylist(rows), folder.runs / f"{pack}.parquet")


def await_both(folder: Folder, interrupt: Interrupt | None = None) -> None:
    arrival.await_rows(folder, {PACK: STEPS, OTHER: STEPS}, interrupt or Interrupt())


def test_rows_that_are_seen_late_are_waited_for(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        write(folder, (PACK, OTHER)[len(waits)])
        waits.append(seconds)

    monkeypatch.setattr(time, "sleep", wait)
    await_both(folder)
    assert len(waits) == 2


@pytest.mark.parametrize("former", [("running", 0), ("failed", 20), ("done", STEPS - 20)])
def test_rows_of_an_earlier_time_under_the_same_name_are_waited_for(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, former: tuple[str, int]
) -> None:
    """A worker writes them when it begins, and a launch of fewer steps when it ends."""
    write(folder, PACK)
    write(folder, OTHER, *former)
    waits, looks, read = list[float](), Counter[str](), rows_in

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            write(folder, OTHER)

    def look(file: Path, columns: tuple[str, ...]) -> pa.Table:
        looks[file.stem] += 1
        return read(file, columns)

    monkeypatch.setattr(time, "sleep", wait)
    monkeypatch.setattr(arrival, "rows_in", look)
    await_both(folder)
    assert looks == {PACK: 1, OTHER: 4}


def test_a_file_that_is_listed_and_gone_is_waited_for(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS says it of one that was replaced."""
    write(folder, PACK)
    write(folder, OTHER)
    errors: list[OSError] = [OSError(errno.ESTALE, "Stale file handle")]
    read = rows_in

    def look(file: Path, columns: tuple[str, ...]) -> pa.Table:
        if errors:
            raise errors.pop()
        return read(file, columns)

    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(arrival, "rows_in", look)
    await_both(folder)
    assert len(waits) == 1


def test_damaged_rows_are_told_at_once(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.runs / f"{PACK}.parquet").write_bytes(b"no rows")
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits"))
    with pytest.raises(InputError, match=rf"{PACK}\.parquet"):
        await_both(folder)


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
    write(folder, PACK)
    arrival.await_rows(folder, {PACK: STEPS}, Interrupt())
    assert list_all(folder.runs) == [f"{PACK}.parquet"]


def test_a_stop_ends_the_wait(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt, waits = Interrupt(), list[float]()

    def stop(seconds: float) -> None:
        waits.append(seconds)
        interrupt.level = 1

    monkeypatch.setattr(time, "sleep", stop)
    await_both(folder, interrupt)
    assert len(waits) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_nothing_more_is_no_error_where_all_rows_are_seen(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refused: list[Path] = []

    def refuse(path: Path) -> None:
        refused.append(path)
        raise OSError(number, os.strerror(number))

    write(folder, PACK)
    write(folder, OTHER)
    monkeypatch.setattr(files, "make_new_folder", refuse)
    await_both(folder)
    assert len(refused) == 1


def test_what_a_kill_in_the_middle_of_a_look_left_is_no_damage_and_is_cleared_away(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, PACK)
    with monkeypatch.context() as patch:
        patch.setattr(files, "remove", kill)
        with pytest.raises(KeyboardInterrupt):
            arrival.await_rows(folder, {PACK: STEPS}, Interrupt())
    assert [path.name for path in folder.runs.iterdir() if is_probe(path.name)]
    stored = StoredFiles.of(folder)
    assert (stored.strays, stored.packs) == ([], [PACK])
    folder_tables.clear_traces(folder, settled=())
    assert [path.name for path in folder.runs.iterdir()] == [f"{PACK}.parquet"]


def kill(path: Path) -> None:
    raise KeyboardInterrupt


def test_rows_that_never_come_end_the_launch_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "SECONDS", 0.0)
    engine = Inline(lambda order: FINISHED)
    given = (make_sweep(tmp_path), Folder(tmp_path / "out"), Options(pack_width=3), CPU)
    with pytest.raises(StorageError, match=r"rows of 2 packs .* not seen here .* \(of NFS, with"):
        launch(*given, lambda event: None, Interrupt(), OnInline(engine))


def test_a_launch_that_is_stopped_while_it_waits_ends_without_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt, waits = Interrupt(), list[float]()

    def stop(seconds: float) -> None:
        if seconds == arrival.LOOK_SECONDS:  # others sleep too
            waits.append(seconds)
            interrupt.level = 1

    monkeypatch.setattr(time, "sleep", stop)
    engine = Inline(lambda order: FINISHED)
    given = (make_sweep(tmp_path), Folder(tmp_path / "out"), Options(pack_width=3), CPU)
    launch(*given, lambda event: None, interrupt, OnInline(engine))
    assert len(waits) == 1


def test_of_packs_that_have_failed_nothing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[str] = []

    def one_of_two(order: str) -> str:
        orders.append(order)
        return remote.train(order) if len(orders) == 1 else lost(order)

    monkeypatch.setattr(arrival, "SECONDS", 0.0)
    given = (make_sweep(tmp_path), Folder(tmp_path / "out"), Options(pack_width=3), CPU)
    with as_a_worker():
        engine = OnInline(Inline(one_of_two))
        counts = launch(*given, lambda event: None, Interrupt(), engine)
    assert counts == {"done": 3, "failed": 3}
