"""The copy of the runs table says what the files of the packs say, or is not used."""

import errno
import os
import shutil
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.sweeps import (
    PACK,
    RUNS,
    fake_plugins,
    make_store,
    make_sweep,
    train,
    train_fake_pack,
    write_sealed,
)
from tfc_jax import files, folder_tables, runs_table
from tfc_jax.errors import InputError
from tfc_jax.files import mark
from tfc_jax.folder_tables import Gathering, gather_runs
from tfc_jax.glance import RUN_COLUMNS, Glance
from tfc_jax.keys import Run
from tfc_jax.layout import EMPTY_PART, Folder
from tfc_jax.pack import pack_id
from tfc_jax.results import Results
from tfc_jax.runs_table import COPIED, LARGEST_ROWS, RunsTable, joined, rows_in
from tfc_jax.started import started_packs
from tfc_jax.tables import same_bits

PACKS = [RUNS, *(tuple(Run(seed=s, depth=d, steps=40) for s in range(3)) for d in (4, 5, 6))]
NAMES = sorted(f"{pack_id(run.run_id for run in runs)}.parquet" for runs in PACKS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four finished packs of three runs each."""
    out = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        fake_plugins(patch)
        for runs in PACKS:
            train_fake_pack(out, runs=runs)
    return out


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Those packs, and the copy of their rows."""
    fake_plugins(monkeypatch)
    shutil.copytree(trained, tmp_path / "out")
    gather_runs(Folder(tmp_path / "out"))
    return Folder(tmp_path / "out")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts by name the files that are read themselves, from now on."""
    names, original = Counter[str](), RunsTable.read_alone

    def counting(table: RunsTable, file: Path, *, whole: bool = False) -> pa.Table:
        names[file.name] += 1
        return original(table, file, whole=whole)

    monkeypatch.setattr(RunsTable, "read_alone", counting)
    return names


def from_files(folder: Folder) -> pd.DataFrame:
    """The runs table of a folder that has no copy."""
    folder.gathered.unlink(missing_ok=True)
    return Results(folder).runs


def with_a_wrong_page(path: Path) -> None:
    group = pq.ParquetFile(path).metadata.row_group(0)
    column = group.column(group.num_columns - 1)
    assert not column.has_dictionary_page
    raw = bytearray(path.read_bytes())
    raw[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(raw)


def test_no_file_is_read_where_the_copy_stands_for_all(folder: Folder, read: Counter[str]) -> None:
    frame, packs = Results(folder).runs, list(started_packs(folder))
    looked = Glance(folder).runs()
    assert not read
    pd.testing.assert_frame_equal(frame, from_files(folder))
    assert read.total() == len(PACKS) + 1  # and the empty one
    assert {pack.runs for pack in packs} == set(PACKS)
    assert packs == list(started_packs(folder))
    assert looked.equals(Glance(folder).runs())
    assert set(looked.column_names) == set(RUN_COLUMNS)


@pytest.mark.parametrize("place", range(len(PACKS)))
def test_rows_written_since_are_read_and_others_are_not(
    folder: Folder, read: Counter[str], place: int
) -> None:
    runs = next(r for r in PACKS if pack_id(run.run_id for run in r) in NAMES[place])
    make_store(folder, runs).write_runs("failed", 30, 1.0)
    frame = Results(folder).runs
    assert dict(read) == {NAMES[place]: 1}
    assert frame["status"].tolist().count("failed") == 3
    assert frame["steps_done"].tolist() == [30 if i // 3 == place else 40 for i in range(12)]
    pd.testing.assert_frame_equal(frame, from_files(folder))


def test_a_pack_whose_rows_are_lost_is_lost_in_the_copy_too(folder: Folder) -> None:
    (folder.runs / f"{PACK}.parquet").unlink()
    assert {pack.runs for pack in started_packs(folder)} == set(PACKS[1:])
    pd.testing.assert_frame_equal(Results(folder).runs, from_files(folder))


def test_a_damaged_file_is_noticed_though_there_is_a_copy_of_it(folder: Folder) -> None:
    with_a_wrong_page(folder.runs / f"{PACK}.parquet")
    with pytest.raises(InputError, match="its footer and pages are not those"):
        list(started_packs(folder))


def test_a_file_larger_than_any_of_ours_is_not_read_into_memory(folder: Folder) -> None:
    part = folder.runs / f"{PACK}.parquet"
    os.truncate(part, LARGEST_ROWS + 1)  # of holes: it takes no room on the disk
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"it has more than {LARGEST_ROWS} bytes"):
        list(started_packs(folder))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < LARGEST_ROWS / 4


def test_rows_of_several_programs_are_no_pack(folder: Folder) -> None:
    make_store(folder, (Run(seed=9, depth=3), Run(seed=9, depth=4))).write_runs("failed", 0, 0.0)
    with pytest.raises(InputError, match="its runs are of several programs"):
        list(started_packs(folder))


def test_planning_hashes_each_stored_run_once(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed, original = Counter[Run](), Run.run_id

    def counting(run: Run) -> str:
        hashed[run] += 1
        return original.__get__(run)

    monkeypatch.setattr(Run, "run_id", property(counting))
    list(started_packs(folder))
    assert dict(hashed) == dict.fromkeys((run for runs in PACKS for run in runs), 1)


def test_a_file_of_the_same_size_and_time_is_another_one(folder: Folder) -> None:
    part = folder.runs / f"{PACK}.parquet"
    before, stat = mark(part), part.stat()
    shutil.copy2(part, part.with_suffix(".new"))
    part.with_suffix(".new").replace(part)
    assert part.stat().st_mtime_ns == stat.st_mtime_ns
    assert mark(part) != before


def test_files_that_were_copied_one_by_one_are_read_themselves(
    folder: Folder, tmp_path: Path, read: Counter[str]
) -> None:
    shutil.copytree(folder.root, tmp_path / "elsewhere")
    elsewhere = Folder(tmp_path / "elsewhere")
    assert len(Results(elsewhere).runs) == 3 * len(PACKS)
    assert set(NAMES) < set(read)


def test_rows_of_before_a_key_was_added_have_its_default_in_the_copy_too(folder: Folder) -> None:
    part = folder.runs / f"{PACK}.parquet"
    pq.write_table(pq.read_table(part, partitioning=None).drop_columns(["norm"]), part)
    gather_runs(folder)
    assert {pack.runs for pack in started_packs(folder)} == set(PACKS)
    pd.testing.assert_frame_equal(Results(folder).runs, from_files(folder), check_like=True)


def test_the_copy_is_written_anew_only_if_rows_were(folder: Folder, read: Counter[str]) -> None:
    before = mark(folder.gathered)
    gather_runs(folder)
    assert mark(folder.gathered) == before
    make_store(folder).write_runs("failed", 40, 1.0)
    gather_runs(folder)
    assert mark(folder.gathered) != before
    assert dict(read) == {f"{PACK}.parquet": 1}
    read.clear()
    assert Results(folder).runs["status"].tolist().count("failed") == 3
    assert not read
    (folder.runs / f"{PACK}.parquet").unlink()
    before = mark(folder.gathered)
    gather_runs(folder)
    assert mark(folder.gathered) != before


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def with_a_row_too_few(path: Path) -> None:
    whole = pq.read_table(path)
    described = {COPIED: pq.read_metadata(path).metadata[COPIED]}
    write_sealed(whole.slice(1).replace_schema_metadata(described), path)


def of_another_writer(path: Path) -> None:
    pq.write_table(pa.table({"run_id": ["a"]}), path)


def with_another_name_of_a_column(path: Path) -> None:
    content = path.read_bytes()
    assert content.count(b"learning_rate") > 1
    path.write_bytes(content.replace(b"learning_rate", b"learning_ratd"))


def with_another_constant(path: Path) -> None:
    """Of a column of one value a footer tells the value, as the least and the greatest."""
    content, seed = path.read_bytes(), b"relu"
    assert seed in content
    path.write_bytes(content.replace(seed, b"gelu"))


@pytest.mark.parametrize(
    "damage",
    [
        cut_short,
        with_a_wrong_page,
        with_another_name_of_a_column,
        with_another_constant,
        with_a_row_too_few,
        of_another_writer,
    ],
)
def test_a_damaged_copy_is_not_used_and_the_remedy_is_told(
    folder: Folder, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(folder.gathered)
    frame = Results(folder).runs
    (told,) = caplog.messages  # once, not for each file
    assert "copy of the runs table cannot be read" in told
    assert "Delete it" in told
    pd.testing.assert_frame_equal(frame, from_files(folder))


def test_what_pandas_would_do_for_a_copy_is_not_done(folder: Folder, read: Counter[str]) -> None:
    """Metadata can make pandas build an index of a column."""
    rows = pq.read_table(folder.gathered)
    told = {"pandas": b'{"index_columns": ["run_id"], "columns": [], "column_indexes": []}'}
    write_sealed(rows.replace_schema_metadata(rows.schema.metadata | told), folder.gathered)
    frame = Results(folder).runs
    assert not read
    pd.testing.assert_frame_equal(frame, from_files(folder))


@pytest.mark.parametrize(
    "damage", [cut_short, with_a_wrong_page, with_another_name_of_a_column, of_another_writer]
)
def test_a_damaged_copy_is_written_anew(
    folder: Folder, damage: Callable[[Path], None], read: Counter[str]
) -> None:
    damage(folder.gathered)
    gather_runs(folder)
    read.clear()
    assert len(Results(folder).runs) == 3 * len(PACKS)
    assert not read


def test_a_launch_ends_well_though_the_copy_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    moved = files.move_in

    def full(staged: Path, place: Path) -> None:
        if place.name == ".runs.parquet":
            raise OSError(errno.ENOSPC, "No space left on device")
        moved(staged, place)

    monkeypatch.setattr(files, "move_in", full)
    train(make_sweep(tmp_path), tmp_path / "out")
    folder = Folder(tmp_path / "out")
    assert "No space left on device" in caplog.text
    assert not folder.gathered.exists()
    assert '"ended"' in folder.log.read_text().splitlines()[-1]
    assert set(Results(folder).runs["status"]) == {"done"}


def test_launches_that_add_or_start_over_keep_the_copy_true(tmp_path: Path) -> None:
    folder, aside = Folder(tmp_path / "out"), tmp_path / "aside"
    for seeds, fresh in ((1, False), (3, False), (2, True)):
        train(make_sweep(tmp_path, seeds=seeds), folder.root, fresh=fresh)
        table = RunsTable(folder)
        assert table.copies({file.name: mark(file) for file in table.files})
        frame = Results(folder).runs
        assert frame["seed"].nunique() == seeds
        folder.gathered.rename(aside)
        pd.testing.assert_frame_equal(frame, Results(folder).runs)
        aside.rename(folder.gathered)


def test_the_copy_is_kept_nearly_whole_while_a_launch_goes_on(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many packs, and at the start where a kill left many that it lacks."""
    monkeypatch.setattr(folder_tables, "MOST_LACKED", 2)

    def lacks() -> int:
        table = RunsTable(folder)
        places = table.places(table.marks())
        return sum(place is None for name, place in places.items() if name != EMPTY_PART)

    for runs in PACKS[:2]:
        make_store(folder, runs).write_runs("running", 0, 1.0)
    assert lacks() == 2
    gathering = Gathering(folder)
    assert lacks() == 0
    for i, runs in enumerate(PACKS):
        make_store(folder, runs).write_runs("done", 40, 1.0)
        gathering.note({"event": "step", "pack": NAMES[i]})
        assert lacks() == 1 + i % 2
        gathering.note({"event": "finished", "pack": NAMES[i]})
        assert lacks() == (1 + i) % 2


def test_a_launch_tells_what_gathers_of_every_pack_that_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_tables, "MOST_LACKED", 2)
    sweep, gathered = make_sweep(tmp_path), Counter[int]()
    original = folder_tables.gather_runs

    def counting(folder: Folder) -> None:
        original(folder)
        gathered[pq.read_metadata(folder.gathered).num_rows] += 1

    monkeypatch.setattr(folder_tables, "gather_runs", counting)
    train(sweep, tmp_path / "out", width=1)
    assert gathered == {2: 1, 4: 1, 6: 2}  # the last one as the launch ends


def test_columns_of_one_value_are_not_read_from_the_copy(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = joined(map(rows_in, RunsTable(folder).files))
    read, original = set[str](), pq.ParquetFile.read

    def noting(file: pq.ParquetFile, columns: list[str], **options: object) -> pa.Table:
        read.update(columns)
        return original(file, columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read", noting)
    assert same_bits(RunsTable(folder).read(), rows)
    assert {"run_id", "pack", "depth", "seed", "status", "init_scale", "final_loss"} <= read
    assert not read & {"dataset", "width", "bias", "n_train", "difficulty", "steps_done"}


def test_looking_again_sees_new_rows_and_uses_a_new_copy(
    folder: Folder, read: Counter[str]
) -> None:
    glance = Glance(folder)
    assert set(glance.runs()["status"].to_pylist()) == {"done", "diverged"}
    make_store(folder).write_runs("failed", 30, 1.0)
    for _ in range(2):
        assert glance.runs()["status"].to_pylist().count("failed") == 3
    assert dict(read) == {f"{PACK}.parquet": 1}
    other = next(r for r in PACKS if pack_id(run.run_id for run in r) == NAMES[0][:12])
    make_store(folder, other).write_runs("failed", 40, 1.0)
    gather_runs(folder)
    (folder.runs / NAMES[-1]).unlink()
    read.clear()
    assert len(glance.runs()) == 3 * (len(PACKS) - 1)
    assert not read
    folder.gathered.unlink()
    make_store(folder).write_runs("running", 30, 1.0)
    assert glance.runs()["status"].to_pylist().count("running") == 3
    assert len(glance.runs()) == 3 * (len(PACKS) - 1)


VALUES = {
    "whole": ([5, 5, 5, 5], True),
    "two values": ([5, 5, 5, 6], False),
    "two values in two groups": ([5, 5, 6, 6], False),
    "a null": ([5, None, 5, 5], False),
    "nulls in a group": ([5, 5, None, None], False),
    "nulls": (pa.nulls(4, pa.float64()), True),
    "texts": (["a"] * 4, True),
    "truth": ([False] * 4, True),
    "floats": ([0.5] * 4, False),
    "one float and NaN": ([0.5, float("nan"), 0.5, 0.5], False),
}


@pytest.mark.parametrize(("values", "is_sure"), VALUES.values(), ids=VALUES)
def test_a_value_is_the_only_one_where_the_statistics_are_sure(
    tmp_path: Path, values: object, is_sure: bool
) -> None:
    table, path = pa.table({"a": values, "b": [1, 2, 3, 4]}), tmp_path / "file.parquet"
    pq.write_table(table, path, row_group_size=2)
    with pq.ParquetFile(path) as file:
        sole = runs_table._sole_value(file, file.schema_arrow.field("a"))
        assert (sole is not None) == is_sure
        assert same_bits(runs_table._read_copy(file, ["b", "a"]), table.select(["b", "a"]))
    pq.write_table(table, path, write_statistics=["b"])
    with pq.ParquetFile(path) as file:
        assert runs_table._sole_value(file, file.schema_arrow.field("a")) is None
