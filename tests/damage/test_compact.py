"""Merging the parts of packs changes no row, whatever comes in between or afterwards."""

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.damage.conftest import RECORD
from tests.sweeps import content, make_sweep, train
from tfc_jax import checkpoint, files, fsck, merged, show
from tfc_jax.cli import app
from tfc_jax.compact import compact
from tfc_jax.config import Sweep
from tfc_jax.errors import InputError
from tfc_jax.layout import EMPTY_PART, Folder, pack_of
from tfc_jax.lock import sole_writer
from tfc_jax.results import Results, open_results
from tfc_jax.schema import RESULT_TABLES
from tfc_jax.show import describe_columns
from tfc_jax.stage import Fenced, Stage
from tfc_jax.status import read_status
from tfc_jax.stored_files import StoredFiles

CHANGES = (
    *("new_file", "make_new_folder", "link", "exchange", "remove"),
    *("move_in", "sync_folder"),
)


class Killed(BaseException):
    """Nobody catches it."""


def names(folder: Folder) -> set[str]:
    return {f"{t}/{p.name}" for t in RESULT_TABLES for p in folder.table(t).glob("*-*.parquet")}


def of_pack(folder: Folder) -> str:
    return min(filter(None, map(pack_of, folder.runs.iterdir())))


def merge(folder: Folder) -> tuple[int, int]:
    return compact(folder, pytest.fail)


def check(folder: Folder, trained: Path) -> None:
    assert content(folder.root) == content(trained)
    assert fsck.check(folder).findings == ()


def test_there_are_fewer_files_and_the_same_rows(
    folder: Folder, sweep: Sweep, trained: Path
) -> None:
    before = names(folder)
    assert merge(folder) == (len(before), len(names(folder)))
    # Of each table the part that the older checkpoint does not name, and all others in one.
    assert len(names(folder)) == 2 * 2 * len({name.split("/")[0] for name in before})
    check(folder, trained)
    assert train(sweep, folder.root) == {"done": 6}
    check(folder, trained)
    assert merge(folder) == (len(names(folder)), len(names(folder)))


def test_rows_stay_in_groups_that_readers_leave_out(folder: Folder) -> None:
    pack = of_pack(folder)
    groups = len(folder.parts_of("steps", pack))
    merge(folder)
    (whole, _) = folder.parts_of("steps", pack)
    assert pq.read_metadata(whole).num_row_groups == groups - 1


def test_more_steps_go_on_from_merged_parts(folder: Folder, sweep: Sweep, tmp_path: Path) -> None:
    merge(folder)
    longer = make_sweep(tmp_path, base={"steps": 100}, record=RECORD)
    assert train(longer, folder.root, commit_seconds=0) == {"done": 6}
    merge(folder)
    assert train(longer, tmp_path / "whole") == {"done": 6}
    check(folder, tmp_path / "whole")
    assert len(folder.parts_of("steps", of_pack(folder))) == 2


@pytest.mark.parametrize("lost", [1, 2])
def test_rows_that_lose_their_checkpoints_are_computed_again_and_compared(
    folder: Folder, sweep: Sweep, trained: Path, lost: int
) -> None:
    merge(folder)
    pack = of_pack(folder)
    for path in folder.checkpoints_of(pack)[:lost]:
        path.unlink()
    for path in (folder.runs / f"{pack}.parquet", folder.weights_of(pack)):
        path.unlink()
    assert train(sweep, folder.root, commit_seconds=0) == {"done": 6}
    check(folder, trained)


def test_damage_of_a_merged_file_is_found(folder: Folder, sweep: Sweep) -> None:
    merge(folder)
    part = folder.parts_of("layers", of_pack(folder))[0]
    raw = bytearray(part.read_bytes())
    raw[len(raw) // 2] ^= 1
    part.write_bytes(raw)
    (found,) = fsck.check(folder).damage
    assert str(found).startswith(f"{part} is not the file that was committed")
    with pytest.raises(InputError, match="damaged, so nothing is added"):
        train(sweep, folder.root)
    part.unlink()
    lost = fsck.check(folder).damage  # what it stood for
    assert len(lost) == 2
    assert all(str(one).endswith(" is missing") for one in lost)


@pytest.mark.parametrize("text", ["{", "[]", '{"steps/x": 1}', '{"../x": {}}'])
def test_a_damaged_record_of_what_is_merged_is_told(
    folder: Folder, sweep: Sweep, text: str
) -> None:
    merge(folder)
    path = folder.merged(of_pack(folder))
    path.write_text(text)
    (found,) = fsck.check(folder).damage
    assert found.path == path
    with pytest.raises(InputError, match=path.name):
        train(sweep, folder.root)


def test_where_the_record_of_what_is_merged_is_damaged_nothing_more_is(folder: Folder) -> None:
    before, path = names(folder), folder.merged(of_pack(folder))
    path.write_text("{")
    with pytest.raises(InputError, match=path.name):
        merge(folder)
    assert names(folder) == before


def test_damage_gets_no_new_hash(folder: Folder) -> None:
    part = folder.parts_of("steps", of_pack(folder))[0]
    part.write_bytes(part.read_bytes()[:-1])
    before = names(folder)
    with pytest.raises(InputError, match="is not the file that was committed, so no more is comp"):
        merge(folder)
    assert names(folder) == before


def test_a_pack_without_an_intact_checkpoint_is_left_as_it_is(folder: Folder) -> None:
    pack = of_pack(folder)
    newest = folder.checkpoints_of(pack)[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    before = [path.name for path in folder.parts_of("steps", pack)]
    told: list[str] = []
    compact(folder, told.append)
    assert [path.name for path in folder.parts_of("steps", pack)] == before
    (line,) = told
    assert line.startswith(f"pack {pack} is left as it is: a checkpoint of it is damaged")


def test_results_that_are_in_use_or_mixed_are_refused(folder: Folder) -> None:
    with sole_writer(folder), pytest.raises(InputError, match="another `tfc run` or"):
        merge(folder)
    (folder.table("steps") / "mine.csv").touch()
    with pytest.raises(InputError, match=r"mine\.csv is no part of this table"):
        merge(folder)


def test_it_can_wait_until_a_launch_has_ended(folder: Folder, trained: Path) -> None:
    before, told = len(names(folder)), list[str]()
    with ThreadPoolExecutor() as pool:
        with sole_writer(folder):
            merging = pool.submit(compact, folder, told.append, waits=True)
            with pytest.raises(TimeoutError):
                merging.result(timeout=0.3)
            assert len(names(folder)) == before
        assert merging.result(timeout=60) == (before, len(names(folder)))
    (line,) = told
    assert line.startswith(f"{folder.root}: waiting for process {os.getpid()} on ")
    check(folder, trained)


@contextmanager
def waiting_command(folder: Folder) -> Iterator[subprocess.Popen[str]]:
    """`tfc compact --wait`, which has said for whom it waits."""
    command = [sys.executable, "-m", "tfc_jax", "compact", str(folder.root), "--wait"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, stdout=pipe, stderr=pipe) as process:
        try:
            assert process.stderr
            told = process.stderr.readline()
            assert told.startswith(f"{folder.root}: waiting for process {os.getpid()} on "), told
            yield process
        finally:
            process.kill()


def test_the_command_says_for_whom_it_waits(folder: Folder, trained: Path) -> None:
    before = len(names(folder))
    with ExitStack() as stack:
        with sole_writer(folder):
            process = stack.enter_context(waiting_command(folder))
        printed, errors = process.communicate(timeout=60)
    now = len(names(folder))
    assert now < before
    assert printed == f"{folder.root}: {before} data files before, {now} now\n"
    assert (process.returncode, errors) == (0, "")
    check(folder, trained)


def test_ctrl_c_ends_a_command_that_waits(folder: Folder) -> None:
    before = names(folder)
    with sole_writer(folder), waiting_command(folder) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "\nStopped.\n")
    assert names(folder) == before


def test_the_help_says_that_a_launch_is_in_the_way() -> None:
    answer = CliRunner().invoke(app, ["compact", "--help"])
    assert "Refused while a launch is at work." in " ".join(answer.stdout.split())


def test_a_copy_that_lacks_empty_folders_is_compacted(folder: Folder, trained: Path) -> None:
    folder.staging.rmdir()
    before, now = merge(folder)
    assert now < before
    check(folder, trained)


def test_checkpoints_are_not_read_where_nothing_is_to_be_merged(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, now = merge(folder)
    monkeypatch.setattr(checkpoint, "load", lambda path: pytest.fail("it is read"))
    assert before > now
    assert merge(folder) == (now, now)


def test_a_writer_that_no_lock_holds_back_adds_nothing_afterwards(
    folder: Folder, sweep: Sweep, trained: Path, tmp_path: Path
) -> None:
    """An element of SLURM goes on for a while after its launcher was killed."""
    pack = of_pack(folder)
    late = folder.parts_of("steps", pack)[-1]
    writer = Stage.take(folder, pack)
    writer.take_in(late, f"steps-{late.name}")  # it has not published it yet, nor said so
    (folder.runs / f"{pack}.parquet").unlink()
    told: list[str] = []
    compact(folder, told.append)
    assert told == [f"pack {pack} is left as it is: `tfc run` has to go on with it first."]
    with pytest.raises(Fenced):
        writer.link(f"steps-{late.name}", late)
    assert train(sweep, folder.root) == {"done": 6}
    check(folder, trained)


NEW = "0123456789ab"  # a pack of which nothing is stored yet


def begin_at(
    folder: Folder, patch: pytest.MonkeyPatch, place: Any, name: str, times: int = 1
) -> list[Stage]:
    """Writers take a new pack, one after each of the first calls of a function."""
    call, writers = getattr(place, name), list[Stage]()

    def then_begin(*arguments: Any) -> Any:
        found = call(*arguments)
        if len(writers) < times:
            writers.append(Stage.take(folder, NEW))
        return found

    patch.setattr(place, name, then_begin)
    return writers


def test_a_writer_that_begins_while_files_are_listed_adds_nothing(
    folder: Folder, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = begin_at(folder, monkeypatch, StoredFiles, "of")
    before, now = merge(folder)
    assert now < before
    with pytest.raises(Fenced), writers[0].new_file("steps-part"):
        pass
    assert content(folder.root) == content(trained)


@pytest.mark.parametrize(("place", "name", "times"), [(StoredFiles, "of", 9), (merged, "write", 1)])
def test_writers_that_go_on_beginning_are_told_of_and_no_row_is_lost(
    folder: Folder,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: Any,
    name: str,
    times: int,
) -> None:
    with monkeypatch.context() as patch:
        begin_at(folder, patch, place, name, times)
        with pytest.raises(InputError, match=r"still beginning packs here.*compact` again"):
            merge(folder)
    assert content(folder.root) == content(trained)
    before, now = merge(folder)
    assert now < before
    assert content(folder.root) == content(trained)


def test_a_pack_that_is_taken_over_at_the_same_moment_is_told_of(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fence(*_: object) -> Stage:
        raise Fenced("another process has taken it over")

    Stage.take(folder, NEW)
    monkeypatch.setattr(Stage, "take", fence)
    with pytest.raises(InputError, match=r"still beginning packs here.*compact` again"):
        merge(folder)


def test_a_part_that_comes_at_the_moment_of_the_exchange_keeps_its_place(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange, late = files.exchange, folder.table("steps") / f"{NEW}-000000000-000000020.parquet"

    def come(one: Path, other: Path) -> None:
        if other == folder.table("steps"):
            late.write_bytes(b"rows")
        exchange(one, other)

    monkeypatch.setattr(files, "exchange", come)
    merge(folder)
    assert late.read_bytes() == b"rows"


def test_a_file_system_that_cannot_exchange_folders_keeps_what_there_is(
    folder: Folder, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(one: Path, other: Path) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    before = names(folder)
    monkeypatch.setattr(files, "exchange", refuse)
    with pytest.raises(InputError, match=r"cannot exchange two folders.*nothing is compacted"):
        merge(folder)
    assert names(folder) == before
    assert not list(folder.staging.iterdir())
    check(folder, trained)


def test_a_disk_without_room_is_refused(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(InputError, match="Make room, then compact again"):
        merge(folder)


def counting(patch: pytest.MonkeyPatch, last: int) -> list[str]:
    """Lets the process end before change number `last` of the disk; returns all changes so far."""
    done: list[str] = []

    def watched(name: str, change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if len(done) == last:
                raise Killed
            done.append(name)
            return change(*arguments)

        return call

    for name in CHANGES:
        patch.setattr(files, name, watched(name, getattr(files, name)))
    return done


def test_killed_before_any_change_no_row_is_lost_or_doubled(
    trained: Path, tmp_path: Path, sweep: Sweep
) -> None:
    for number in itertools.count():
        folder = Folder(tmp_path / str(number))
        shutil.copytree(trained, folder.root)
        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            done = counting(patch, last=number)
            merge(folder)
        assert content(folder.root) == content(trained), number
        assert fsck.check(folder).damage == [], number
        if number % 2:
            merge(folder)
        else:
            assert train(sweep, folder.root) == {"done": 6}
        check(folder, trained)
        assert not list(folder.staging.iterdir())
        shutil.rmtree(folder.root)
        if len(done) < number:  # it came to its end
            break
    assert number > 70
    assert set(CHANGES) == set(done)


@pytest.fixture
def between(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Merges all after a table was listed and before a file of it is opened."""
    listed, parts = list[str](), Results._parts

    def list_and_merge(results: Results, *arguments: Any) -> list[Path]:
        found = parts(results, *arguments)
        if not listed:
            merge(folder)
        listed.append(arguments[0])
        return found

    monkeypatch.setattr(Results, "_parts", list_and_merge)
    return listed


def test_a_reader_that_has_listed_the_parts_lists_again(
    folder: Folder, trained: Path, between: list[str]
) -> None:
    frame = open_results(folder.root).layers()
    assert between == ["layers", "layers"]
    wanted = open_results(trained).layers()
    assert frame.equals(wanted[frame.columns])
    assert read_status(folder).counts["done"] == 6


def test_the_columns_of_a_table_are_described_while_it_is_merged(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, describe = list(describe_columns(open_results(folder.root))), show._described
    first, described = folder.parts_of("layers", of_pack(folder))[0], list[Path]()

    def merge_first(part: Path) -> list[tuple[str, ...]]:
        if part == first:
            merge(folder)
            described.append(part)
        return describe(part)

    monkeypatch.setattr(show, "_described", merge_first)
    assert list(describe_columns(open_results(folder.root))) == wanted
    assert described == [first]


def test_other_readers_find_all_rows_or_a_name_that_is_gone(folder: Folder, trained: Path) -> None:
    steps, count = str(folder.table("steps") / "*.parquet"), len(open_results(trained).steps())
    exchange, seen = files.exchange, list[int]()

    def reading(one: Path, other: Path) -> None:
        seen.append(len(duckdb.read_parquet(steps).fetchall()))
        exchange(one, other)
        seen.append(len(duckdb.read_parquet(steps).fetchall()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "exchange", reading)
        before = list(folder.table("steps").glob("*-*.parquet"))
        merge(folder)
    assert set(seen) == {count}
    now = {path.name for path in folder.table("steps").glob("*-*.parquet")}
    assert len({path.name for path in before} & now) == 2  # no merged file has the name of a part
    assert (folder.table("steps") / EMPTY_PART).exists()


def test_records_name_what_is_there_and_what_it_stands_for(folder: Folder) -> None:
    pack = of_pack(folder)
    before = {name for name in names(folder) if pack in name}
    merge(folder)
    record = merged.read(folder, pack)
    assert set(record) < names(folder)
    assert all(set(one.parts(name)) <= before for name, one in record.items())
