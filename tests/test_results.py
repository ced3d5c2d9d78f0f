"""The reader: which rows, which columns, joined with what, also while a sweep is writing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.sweeps import (
    PACK,
    RECORD,
    RUNS,
    fake_plugins,
    make_chunk,
    make_state,
    make_store,
    train_fake_pack,
    value,
)
from tfc_jax.errors import InputError
from tfc_jax.folder_tables import create
from tfc_jax.keys import Run
from tfc_jax.layout import Folder, part_name
from tfc_jax.results import Results, open_results
from tfc_jax.started import started_packs

FIRST, BAD, LAST = (run.run_id for run in RUNS)
OTHER = tuple(Run(seed=s, depth=3, learning_rate=0.5, n_train=100, steps=40) for s in range(3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished packs of three runs and 40 steps each; run 1 of each diverged."""
    out = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        fake_plugins(patch)
        train_fake_pack(out)
        train_fake_pack(out, runs=OTHER)
    return out


@pytest.fixture
def results(folder: Path) -> Results:
    return open_results(folder)


@pytest.fixture
def growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder of which 20 of 40 steps are committed."""
    fake_plugins(monkeypatch)
    folder = Folder(tmp_path / "growing")
    folder.root.mkdir()
    create(folder, RECORD)
    store = make_store(folder)
    store.recover()
    store.write_runs("running", 0, 0.0)
    store.add(make_chunk(0, 20))
    store.commit(make_state(20), 1.0, "running")
    return folder


def test_all_rows_and_columns_come_without_arguments(results: Results) -> None:
    assert len(results.runs) == 6
    assert len(results.steps()) == 6 * 40
    assert len(results.layers()) == 6 * 14 * 3
    assert len(results.probe()) == 6 * 5
    assert list(results.layers().columns) == ["run_id", "step", "layer", "cosine", "undefined"]


def test_columns_are_those_asked_for_after_the_keys(results: Results) -> None:
    frame = results.steps(columns=["accuracy"])
    assert list(frame.columns) == ["run_id", "step", "accuracy"]
    assert list(results.layers(columns=[]).columns) == ["run_id", "step", "layer"]


def test_run_keys_are_joined_to_every_row(results: Results) -> None:
    frame = results.layers(columns=["cosine"], config=["seed", "learning_rate", "status"])
    assert list(frame.columns)[4:] == ["seed", "learning_rate", "status"]
    assert len(frame) == 6 * 14 * 3
    expected = value(frame["seed"].astype(int), frame["step"], frame["layer"])
    np.testing.assert_array_equal(frame["cosine"], expected)


def test_a_text_for_columns_is_refused_with_the_remedy(results: Results) -> None:
    with pytest.raises(InputError, match=r"Give a list: \['loss'\]"):
        results.steps(columns="loss")


@pytest.mark.parametrize(
    ("where", "n_rows"),
    [
        ("seed == 2", 2 * 40),
        ("learning_rate == 0.5", 3 * 40),
        ("step < 10", 6 * 10),
        ("seed == 2 and step < 10", 2 * 10),
        ("seed == 2 or step < 10", 2 * 40 + 4 * 10),
        ("status == 'diverged'", 2 * 40),
        ("first_bad_step == null and step == 39", 4),
        ("n_train == null", 3 * 40),
        (f"run_id == '{LAST}'", 40),
        ("seed == 99", 0),
    ],
)
def test_where_reads_columns_of_the_table_and_of_runs(
    results: Results, where: str, n_rows: int
) -> None:
    frame = results.steps(where)
    assert len(frame) == n_rows
    assert list(frame.columns) == list(results.steps().columns)
    assert list(frame.index) == list(range(n_rows))


def test_a_name_of_the_table_goes_before_one_of_runs(results: Results) -> None:
    """`loss` is a key (cross_entropy, mse) and a column of steps."""
    assert len(results.steps("loss < 1000 and seed == 0")) == 2 * 10  # lane 0 has 100 x step
    assert len(results.steps("loss < 1000", columns=["accuracy"])) == 2 * 10
    assert set(results.layers(config=["loss"])["loss"]) == {"cross_entropy"}


def test_null_stays_null_and_nan_is_a_value(results: Results) -> None:
    frame = results.steps(f"run_id == '{BAD}'")
    assert frame["loss"].isna().tolist() == [step >= 25 for step in range(40)]
    assert frame["norm"].notna().tolist() == [step % 3 == 0 for step in range(40)]


def test_numbers_are_float32_and_counts_stay_whole(results: Results) -> None:
    assert results.layers()["cosine"].dtype == np.float32
    assert results.layers()["layer"].dtype == np.int32
    assert results.runs["first_bad_step"].dtype == pd.Int64Dtype()
    assert results.runs["n_train"].dtype == pd.Int64Dtype()


@pytest.mark.parametrize(
    ("ask", "parts"),
    [
        (lambda r: r.steps("sed == 0"), ["'sed'", "Did you mean 'seed'?"]),
        (lambda r: r.steps(columns=["los"]), ["no column 'los'", "'loss'?", "Available: run_id"]),
        (lambda r: r.layers(config=["dept"]), ["no column 'dept'", "Did you mean 'depth'?"]),
        (lambda r: r.table("layer"), ["no table 'layer'", "Did you mean 'layers'?", "Tables here"]),
        (lambda r: r.params("0" * 12), [f"no run '{'0' * 12}'", "tfc ls"]),
        (lambda r: r.params(FIRST[:-1] + "x"), [f"Did you mean '{FIRST}'?"]),
        (lambda r: r.run(""), ["no run ''"]),
        (lambda r: r.steps("loss <"), ["loss <"]),
    ],
)
def test_unknown_names_are_refused_with_the_nearest_one(
    results: Results, ask: Callable[[Results], object], parts: list[str]
) -> None:
    with pytest.raises(InputError) as error:
        ask(results)
    for part in parts:
        assert part in str(error.value)


def test_a_run_is_named_by_the_first_digits_that_no_other_one_has(results: Results) -> None:
    ids = results.runs["run_id"].tolist()
    for run_id in ids:
        assert results.run(run_id[:8])["run_id"] == run_id
    assert results.params(FIRST[:8]).keys() == results.params(FIRST).keys()
    results.runs["run_id"] = [f"ab{i:010d}" for i in range(len(ids))]
    assert results.run("ab0000000001")["run_id"] == "ab0000000001"
    with pytest.raises(InputError, match=r"6 runs begin with 'ab0': ab0.* and 1 more\. Give"):
        results.run("ab0")


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no results here"):
            open_results(path)


def test_a_runs_table_without_a_file_is_no_run_and_says_so(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.runs.mkdir()
    assert not folder.has_runs
    assert list(started_packs(folder)) == []
    with pytest.raises(InputError, match="has no file"):
        _ = open_results(tmp_path).runs


def test_params_are_those_of_the_run(results: Results) -> None:
    for lane, run_id in enumerate((FIRST, BAD, LAST)):
        kernel = results.params(run_id)["layers/0/kernel"]
        np.testing.assert_array_equal(kernel, make_state(40)["params/layers/0/kernel"][lane])


def test_params_of_an_unfinished_run_are_refused(growing: Folder) -> None:
    with pytest.raises(InputError, match=r"status is running.*tfc run"):
        open_results(growing.root).params(FIRST)


def test_params_of_fewer_steps_do_not_pass_for_those_of_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_plugins(monkeypatch)
    train_fake_pack(tmp_path)
    store = make_store(Folder(tmp_path))
    store.recover()
    store.write_runs("running", 40, 1.0)  # a launch with more steps has begun
    with pytest.raises(InputError, match="status is running"):
        open_results(tmp_path).params(FIRST)


def test_a_folder_is_read_while_it_is_written(growing: Folder) -> None:
    before = open_results(growing.root)
    assert set(before.runs["status"]) == {"running"}
    assert len(before.steps()) == 3 * 20
    store = make_store(growing)
    store.recover()
    store.add(make_chunk(20, 40))
    (growing.staging / "steps-unfinished.parquet").write_bytes(b"PAR1 half")
    store.commit(make_state(40), 2.0, "done")
    assert len(before.steps()) == 3 * 40
    assert set(open_results(growing.root).runs["status"]) == {"done", "diverged"}


def test_a_folder_is_read_before_its_first_run_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_plugins(monkeypatch)
    create(Folder(tmp_path), RECORD)
    found = open_results(tmp_path)
    assert len(found.runs) == len(found.steps("seed == 0")) == len(found.layers()) == 0
    assert "cosine" in found.layers().columns


def test_the_analysis_is_joined_and_cannot_change_what_was_stored(growing: Folder) -> None:
    rows = {"run_id": [BAD, FIRST], "phase1_end": [7.0, None], "status": ["no", "no"]}
    pd.DataFrame(rows).to_parquet(growing.analysis)
    runs = open_results(growing.root).runs.set_index("run_id")
    assert runs.loc[BAD, "phase1_end"] == 7
    assert runs["phase1_end"].isna().tolist() == [True, False, True]
    assert set(runs["status"]) == {"running"}


def test_a_damaged_part_is_noticed_when_it_is_read(growing: Folder) -> None:
    part = growing.parts_of("steps", PACK)[0]
    column = pq.ParquetFile(part).metadata.row_group(0).column(2)
    raw = bytearray(part.read_bytes())
    raw[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    part.write_bytes(raw)
    with pytest.raises(InputError, match="CRC"):
        open_results(growing.root).steps()


def test_only_the_packs_of_the_wanted_runs_are_opened(growing: Folder) -> None:
    (growing.table("steps") / part_name("f" * 12, 0, 10)).write_bytes(b"of no stored run")
    assert len(open_results(growing.root).steps()) == 3 * 20


def without_key(folder: Folder, key: str) -> None:
    """Makes the runs table as it was before a key was added to the project."""
    for part in folder.runs.glob("*.parquet"):
        pq.write_table(pq.read_table(part, partitioning=None).drop_columns([key]), part)


def test_rows_written_before_a_key_was_added_have_its_default(growing: Folder) -> None:
    without_key(growing, "norm")
    without_key(growing, "label_noise")
    train_fake_pack(growing.root, runs=OTHER)
    runs = open_results(growing.root).runs
    assert runs["norm"].tolist() == ["none"] * 6
    assert runs["label_noise"].tolist() == [0.0] * 6
    assert {pack.runs for pack in started_packs(growing)} == {RUNS, OTHER}


def test_has_says_whether_a_column_was_recorded(results: Results) -> None:
    assert results.has("layers", "cosine")
    assert not results.has("layers", "loss")
    assert not results.has("probe_layers", "cosine")


def test_the_name_is_that_of_the_folder(growing: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(growing.root)
    assert open_results(".").name == "growing"
