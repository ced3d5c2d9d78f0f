"""Readers of others, and ours, while a writer commits: no error, and whole groups only."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset
import pytest

from tests.faults.tally import Tally, Tries
from tests.sweeps import RECORD, RUNS, fake_plugins, train_fake_pack
from tfc_jax.keys import Run
from tfc_jax.results import open_results

STEPS, GROUP = 40, 10  # of a pack, and of a commit
ROUNDS = 10  # in which every reader reads every table once, in each folder
N_LAYERS = RUNS[0].depth
MEASURED = {stop: len(RECORD.measured_steps(0, stop)) for stop in range(0, STEPS + 1, GROUP)}
# Rows that a run has after each whole commit: every other number is half a group, or one twice.
WHOLE = {
    "steps": set(range(0, STEPS + 1, GROUP)),
    "layers": {n * N_LAYERS for n in MEASURED.values()},
    "runs": {0, 1},
}
Read = Callable[[Path, str], pd.DataFrame]


def write(out: str, packs: Any, end: Any) -> None:
    """Commits pack after pack, group after group, until it is told to end."""
    patch = pytest.MonkeyPatch()
    fake_plugins(patch)
    while not end.is_set():
        seed = 3 * packs.value
        runs = tuple(Run(seed=seed + lane, depth=N_LAYERS, steps=STEPS) for lane in range(3))
        train_fake_pack(Path(out), STEPS, GROUP, runs)
        packs.value += 1


def by_pandas(out: Path, table: str) -> pd.DataFrame:
    return pd.read_parquet(out / table)


def by_pyarrow(out: Path, table: str) -> pd.DataFrame:
    return pyarrow.dataset.dataset(out / table).to_table().to_pandas()


def by_duckdb(out: Path, table: str) -> pd.DataFrame:
    with duckdb.connect(config={"threads": 1}) as connection:
        return connection.sql(f"from '{out}/{table}/*.parquet'").df()


def by_polars(out: Path, table: str) -> pd.DataFrame:
    return pl.scan_parquet(out / table / "*.parquet").collect().to_pandas()


def by_us(out: Path, table: str) -> pd.DataFrame:
    results = open_results(out)
    return results.runs if table == "runs" else results.table(table)


READERS: dict[str, Read] = {
    "pandas": by_pandas, "pyarrow": by_pyarrow, "duckdb": by_duckdb, "polars": by_polars,
    "tfc_jax": by_us,
}  # fmt: skip
PAIRS = list(product(READERS, WHOLE))


@contextmanager
def written(out: Path) -> Iterator[None]:
    """Makes a results folder that another process writes to all the time."""
    train_fake_pack(out, STEPS, GROUP)
    spawn = multiprocessing.get_context("spawn")
    packs, end = spawn.Value("i", 1), spawn.Event()
    writer = spawn.Process(target=write, args=(str(out), packs, end))
    writer.start()
    while packs.value < 2:  # it has begun
        assert writer.is_alive()
    yield
    last = packs.value
    assert last > 2, "nothing was written meanwhile"
    end.set()
    writer.join(60)
    assert writer.exitcode == 0


def test_readers_during_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally, tries: Tries
) -> None:
    """Folder after folder, since a large one takes long to read."""
    fake_plugins(monkeypatch)
    faults: list[str] = []
    folders = tries(1, 50)
    for number in range(folders):
        out = tmp_path / str(number)
        with written(out):
            for _, (name, table) in product(range(ROUNDS), PAIRS):
                faults += judged(f"{name} of {table}", READERS[name], out, table, tally)
    assert not faults
    assert not tally.bad
    assert tally.tried == folders * ROUNDS * len(PAIRS)


def judged(what: str, read: Read, out: Path, table: str, tally: Tally) -> list[str]:
    """Reads once; returns what was wrong, and counts it."""
    tally.tried += 1
    try:
        rows = read(out, table)
    except Exception as error:  # every error of a reader counts
        tally.tracebacks += 1
        return [f"{what}: {type(error).__name__}: {error}"[:300]]
    keys = [key for key in ("run_id", "step", "layer") if key in rows.columns]
    if rows.duplicated(keys).any():
        tally.doubled += 1
        return [f"{what}: rows twice"]
    strange = set(rows.groupby("run_id").size()) - WHOLE[table]
    if strange:
        tally.wrong += 1
        return [f"{what}: {strange} rows of a run"]
    if rows["run_id"].nunique() % len(RUNS):
        tally.lost += 1
        return [f"{what}: a part of a pack"]
    return []


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (pd.DataFrame({"run_id": ["a"] * 7 + ["b"] * 10 + ["c"] * 10}), "wrong"),
        (pd.DataFrame({"run_id": ["a"] * 10 + ["b"] * 10}), "lost"),
        (pd.DataFrame({"run_id": ["a"] * 10, "step": [0] * 10}), "doubled"),
        (None, "tracebacks"),
    ],
)
def test_a_reader_that_sees_half_of_a_commit_is_noticed(rows: Any, kind: str) -> None:
    if rows is not None and "step" not in rows:
        rows["step"] = rows.groupby("run_id").cumcount()
    tally = Tally("")
    assert judged("x", lambda out, table: rows.copy(), Path(), "steps", tally)
    assert getattr(tally, kind) == 1
