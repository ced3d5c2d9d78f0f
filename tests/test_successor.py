"""A file that replaces another keeps its pages for readers that know only the former footer."""

import io
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfc_jax import successor
from tfc_jax.seal import is_sealed
from tfc_jax.successor import succeeding


def rows(number: int) -> pa.Table:
    """Rows of changing size: some have nulls, some have long texts."""
    return pa.table(
        {
            "run_id": [f"run {i}" for i in range(5)],
            "status": ["running" * (number % 4)] * 5,
            "step": [number] * 5,
            "loss": pa.array([None if number % 3 else i / 7 for i in range(5)], pa.float32()),
        }
    )


def first(table: pa.Table) -> bytes:
    return succeeding(b"", table, "none")


def pages_by(footer_of: bytes, content: bytes) -> pa.Table:
    """Reads a file with the footer of another."""
    known = pq.read_metadata(io.BytesIO(footer_of))
    with pq.ParquetFile(io.BytesIO(content), metadata=known, page_checksum_verification=True) as f:
        return f.read()


def test_either_footer_finds_its_own_rows_however_often_a_file_is_replaced() -> None:
    former = first(rows(0))
    for number in range(1, 40):
        now = succeeding(former, rows(number), "none")
        assert pages_by(former, now).equals(rows(number - 1))
        assert pages_by(now, now).equals(rows(number))
        assert now.startswith(b"PAR1")
        assert len(now) == len(former)
        former = now


def test_a_file_grows_for_pages_that_have_no_room_and_keeps_the_former_ones() -> None:
    former, many = first(rows(0)), rows(1)
    longer = many.set_column(1, "status", pa.array(["x" * 4000 + str(i) for i in range(5)]))
    now = succeeding(former, longer, "none")
    assert len(now) > len(former)
    assert pages_by(former, now).equals(rows(0))
    assert pages_by(now, now).equals(longer)
    again = succeeding(now, longer, "none")
    assert pages_by(now, again).equals(longer)


def test_a_file_that_is_replaced_otherwise_has_no_pages_for_the_former_footer() -> None:
    longer = rows(1).append_column("more", rows(1)["run_id"])
    with pytest.raises((OSError, pa.ArrowInvalid)):
        pages_by(first(rows(0)), first(longer.select(["more", "loss", "step"])))


def odd(name: str) -> bytes:
    whole = first(rows(0))
    return {
        "nothing": b"",
        "no Parquet": b"PAR1 something else PAR1",
        "cut": whole[: len(whole) // 2],
        "no rows": empty(),
        "much larger": whole + bytes(10**6) + whole,
        "larger than it can be": succeeding(b"", many(rows(0)), "none"),
    }[name]


def many(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table] * 2000)


def empty() -> bytes:
    file = io.BytesIO()
    pq.write_table(rows(0).schema.empty_table(), file)
    return file.getvalue()


@pytest.mark.parametrize(
    "name", ["nothing", "no Parquet", "cut", "no rows", "much larger", "larger than it can be"]
)
def test_of_a_former_file_that_nobody_writes_here_nothing_is_kept(name: str) -> None:
    assert succeeding(odd(name), rows(1), "none") == first(rows(1))


@pytest.mark.parametrize("replacements", [0, 1, 2])
def test_a_bit_that_flips_in_the_footer_or_the_pages_breaks_the_seal(replacements: int) -> None:
    """Page checksums alone would not notice a column that has another name."""
    content = first(rows(0))
    for number in range(replacements):
        content = succeeding(content, rows(number + 1), "none")
    assert is_sealed(content) is True
    kept = broken = 0
    for at in range(len(content)):
        flipped = content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]
        if is_sealed(flipped) is True:
            assert pages_by(flipped, flipped).equals(rows(replacements))  # spare room
            kept += 1
        else:
            broken += 1
    assert broken > 500
    assert kept > 1000  # where a second set of pages has its place


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 100, bytes(100)])
def test_other_files_have_no_seal(content: bytes) -> None:
    assert is_sealed(content) is None


@pytest.mark.parametrize("pages", [successor._Pages(0, b"x"), successor._Pages(9, b"")])
def test_of_a_footer_that_names_no_place_for_pages_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch, pages: successor._Pages
) -> None:
    """Anybody may have written the results that a launch goes on with."""
    hostile, found = first(rows(0)), successor._pages
    monkeypatch.setattr(successor, "_pages", lambda f: pages if f == hostile else found(f))
    assert succeeding(hostile, rows(1), "none") == first(rows(1))


def test_other_readers_find_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(succeeding(succeeding(first(rows(0)), rows(1), "none"), rows(2), "none"))
    assert pl.read_parquet(path)["step"].to_list() == [2] * 5
    with duckdb.connect() as connection:
        assert connection.sql(f"from '{path}'").df()["step"].tolist() == [2] * 5
