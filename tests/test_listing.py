"""`tfc ls`: which columns it reads, what it keeps, how it prints many rows."""

import io
import json
import shutil
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.sweeps import make_sweep, train
from tfc_jax import console, runs_table, show
from tfc_jax.arrow_columns import columns_of
from tfc_jax.comparison import as_column
from tfc_jax.errors import InputError
from tfc_jax.expression import parse
from tfc_jax.keys import KEYS
from tfc_jax.layout import Folder
from tfc_jax.results import nullable, open_results
from tfc_jax.show import OUTCOME, frames, list_runs, rows_of
from tfc_jax.stored_columns import NEVER_NULL

WHERES = (
    None,
    "init_scale < 0.9",
    "learning_rate > 0.1 and status == 'done'",
    "first_bad_step == null and not bias",
    "n_train == 200 or final_loss < 0",
    "status in ['failed', 'x']",
    "'done' == status and prior_loss > 1",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 runs, two of which went bad."""
    folder = tmp_path_factory.mktemp("listing")
    grid = {"init_scale": [0.8, 1.0], "learning_rate": [0.05, 0.2, 1e30]}
    train(make_sweep(folder, grid=grid), folder / "out")
    return folder / "out"


@pytest.mark.parametrize("where", WHERES)
@pytest.mark.parametrize("limit", [None, 1])
def test_it_lists_what_the_whole_table_says(
    trained: Path, where: str | None, limit: int | None
) -> None:
    whole = open_results(trained).runs
    kept = whole[parse(where, set(whole.columns)).mask(whole)] if where else whole
    varying = [key for key in KEYS if whole[key].nunique(dropna=False) > 1]
    expected = kept[["run_id", *varying, *OUTCOME]].head(limit or len(kept))
    listed = pd.concat(frames(list_runs(open_results(trained), where, limit)))
    pd.testing.assert_frame_equal(listed, expected.reset_index(drop=True), check_dtype=False)
    assert varying == ["init_scale", "learning_rate"]


def test_only_columns_that_are_listed_filtered_or_checked_are_read(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, tmp_path / "out")
    Folder(tmp_path / "out").gathered.unlink()
    read: set[str] = set()
    original = pq.ParquetFile.read

    def noting(file: pq.ParquetFile, columns: Any = None, **options: Any) -> pa.Table:
        read.update(columns)
        return original(file, columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read", noting)
    monkeypatch.setattr(runs_table, "VERIFIED_WHOLE", 0)
    list_runs(open_results(tmp_path / "out"), "n_params > 5", None)
    assert read == {"run_id", "n_params", *KEYS, *OUTCOME, *NEVER_NULL}


def test_of_few_files_columns_that_are_not_asked_for_are_verified_too(
    trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "out")
    path = next(p for p in (tmp_path / "out" / "runs").glob("*.parquet") if p.stem != "empty")
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        place = file.metadata.row_group(0).column(names.index("wall_s")).data_page_offset
    raw = bytearray(path.read_bytes())
    raw[place + 30] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match="its footer and pages are not those that were written"):
        list_runs(open_results(tmp_path / "out"), None, None)


def test_a_filter_may_name_what_the_analysis_says(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "out")
    ids = open_results(trained).runs["run_id"].tolist()
    said = {"run_id": ids[:3], "phase": ["one", "two", None], "flag": [True, False, None]}
    said["status"] = ["x", "y", "z"]  # the runs table knows better
    pq.write_table(pa.table(said), Folder(tmp_path / "out").analysis)
    results = open_results(tmp_path / "out")
    for where, expected in (
        ("phase == 'two'", ids[1:2]),
        ("phase == null", ids[2:]),
        ("flag or phase == 'two'", ids[:2]),
        ("status == 'x'", []),
    ):
        assert list_runs(results, where, None)["run_id"].to_pylist() == expected
    assert "phase" not in list_runs(results, None, None).column_names


@pytest.mark.parametrize("where", ["ini_scale < 1", "status == done and depth > 1"])
def test_an_unknown_name_is_refused_with_all_that_are_known(trained: Path, where: str) -> None:
    with pytest.raises(InputError, match=r"unknown name.*Names: .*built_width.*wall_s"):
        list_runs(open_results(trained), where, None)


def test_columns_compare_as_those_of_data_frames() -> None:
    table = pa.table(
        {
            "whole": [1, 2, 3],
            "some": pa.array([1, None, 3], pa.int64()),
            "no": pa.nulls(3, pa.int64()),
            "float": pa.array([1.5, None, float("nan")], pa.float32()),
            "text": ["a", None, "a"],
            "large": pa.array(["a", "b", None], pa.large_string()),
            "coded": pa.array(["b", None, "a"]).dictionary_encode(),
            "truth": [True, None, False],
            "null": pa.nulls(3),
        }
    )
    table = pa.concat_tables([table, table.slice(0, 1)])  # of two chunks
    frame = table.to_pandas(types_mapper=nullable)
    for name, column in columns_of(table, table.column_names).items():
        expected = as_column(name, frame[name])
        assert (name, column.kind) == (name, expected.kind)
        assert column.null.tolist() == expected.null.tolist()
        kept = ~column.null
        assert np.asarray(column.values)[kept].tolist() == expected.values[kept].tolist()


def test_pieces_of_a_column_may_be_encoded_each_in_its_way() -> None:
    pieces = [["b", None, "a"], ["c", "a", "b"]]
    column = pa.chunked_array([pa.array(piece).dictionary_encode() for piece in pieces])
    texts = columns_of(pa.table({"text": column}), ["text"])["text"].values
    assert texts.tolist() == ["b", "", "a", "c", "a", "b"]


def listing(n: int) -> pa.Table:
    return pa.table(
        {
            "run_id": [f"{i:012x}" for i in range(n)],
            "bad": pa.array([None if i % 3 else i for i in range(n)], pa.int64()),
            "loss": pa.array([i / 3 for i in range(n)], pa.float32()),
            "text": ["\x1b[31m\x7f" + "x" * (i % 5) for i in range(n)],
        }
    )


def printed(listed: pa.Table) -> list[str]:
    out = io.StringIO()
    with redirect_stdout(out):
        console.print_long_table(listed.column_names, lambda: rows_of(listed), len(listed))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("piece", [2, 1000])
def test_a_long_table_is_printed_piece_by_piece_as_a_short_one_at_once(
    monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    listed = listing(11)
    at_once = [line.rstrip() for line in printed(listed)]
    monkeypatch.setattr(console, "LONGEST_FRAMED", 10)
    monkeypatch.setattr(show, "PIECE", piece)
    assert printed(listed) == at_once
    assert "\x1b" not in "".join(at_once)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_records_in_pieces_are_one_array(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    listed = listing(n)
    expected = json.loads(listed.to_pandas(types_mapper=nullable).to_json(orient="records"))
    monkeypatch.setattr(show, "PIECE", 2)
    out = io.StringIO()
    with redirect_stdout(out):
        console.echo_records(frame.to_json(orient="records") for frame in frames(listed))
    assert json.loads(out.getvalue()) == expected
    assert "\x7f" not in out.getvalue()
