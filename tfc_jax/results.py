"""Reads a results folder into pandas. Needs no JAX, and nothing but Parquet files."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfc_jax import expression
from tfc_jax.archives import read_arrays
from tfc_jax.comparison import Mask, as_column
from tfc_jax.contents import check_contents
from tfc_jax.errors import InputError, nearest
from tfc_jax.keys import KEYS
from tfc_jax.layout import Folder
from tfc_jax.objects.place import place_named
from tfc_jax.objects.reading import bring_documents, bring_tables, bring_weights
from tfc_jax.rows import Rows
from tfc_jax.runs_table import RunsTable
from tfc_jax.schema import ROW_KEYS
from tfc_jax.stored_columns import NEVER_NULL, check_columns, double_run
from tfc_jax.untrusted import DamagedFile, reading

TEXT = pd.StringDtype("pyarrow", na_value=np.nan)
MOST_LISTED = 3  # times that a table is listed, of which a file is gone when it is opened
SHOWN = 5  # runs of which a message says the ids

_Read = TypeVar("_Read")


def open_results(path: str | Path) -> "Results":
    """Opens `results/<name>` or `s3://bucket/prefix` for reading, also while a sweep writes to it.

    Of results in an object store, what is asked for is copied to this machine first.

    Raises:
      InputError: there are no results at `path`, or a link or a pipe is among them.
    """
    place = place_named(path)
    folder = Folder(place.seen if place else Path(path))
    bring_documents(folder.root)
    check_contents(folder.root)
    if not folder.runs.is_dir():
        raise InputError(
            f"{path}: there are no results here (no runs/ folder). Give the folder that "
            f"`tfc run` wrote, such as results/quickstart."
        )
    return Results(folder)


class Results:
    """The tables of one results folder, as data frames.

    `where` is an expression over the columns of the table and of `runs`, such as
    `"depth == 9 and step < 100"`; of a name in both, the table's own counts. `columns` are the
    value columns to load (default all), `config` the columns of `runs` to join to every row.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    @property
    def path(self) -> Path:
        """The results folder."""
        return self._folder.root

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.resolve().name

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per started run: keys, outcome, final values, and the analysis if there is one.

        Read once; open the results again to see newer rows.

        Raises:
          InputError: the table has no file, or one of its files or the analysis is damaged.
        """
        self._check_runs()
        table = _completed(RunsTable(self._folder).read(), list(KEYS))
        frame = table.to_pandas(types_mapper=nullable)
        analysis = stored_analysis(self._folder)
        if analysis is None:
            return frame
        clashing = frame.columns.intersection(analysis.columns).drop("run_id")
        return frame.merge(analysis.drop(columns=clashing), on="run_id", how="left")

    def runs_table(self, columns: Collection[str] | None = None) -> pa.Table:
        """Returns `runs` as an Arrow table; raises what that does.

        Args:
          columns: those to read, besides what every reader checks; one that is not there is left
            out. None reads all, and finds damage wherever it is in the files.
        """
        self._check_runs()
        asked = None if columns is None else {*columns, *NEVER_NULL}
        read = RunsTable(self._folder, asked).read()
        table = _completed(read, [key for key in KEYS if columns is None or key in columns])
        analysis = analysis_table(self._folder, columns)
        if analysis is not None:
            ids = [of["run_id"].cast(pa.string()) for of in (table, analysis)]
            row = pc.index_in(ids[0], value_set=ids[1].combine_chunks())
            for name in set(analysis.column_names).difference(table.column_names):
                table = table.append_column(name, analysis[name].take(row))
        return table.select([n for n in table.column_names if columns is None or n in columns])

    def steps(
        self,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        config: Sequence[str] = (),
    ) -> pd.DataFrame:
        """Rows (run_id, step): loss, accuracy and run-level metrics of every step."""
        return self.table("steps", where, columns, config)

    def layers(
        self,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        config: Sequence[str] = (),
    ) -> pd.DataFrame:
        """Rows (run_id, step, layer) of the measured steps; layer 1..L, L holds the logits."""
        return self.table("layers", where, columns, config)

    def probe(
        self,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        config: Sequence[str] = (),
    ) -> pd.DataFrame:
        """Rows (run_id, step): metrics on fixed training and test samples."""
        return self.table("probe", where, columns, config)

    def params(self, run_id: str) -> dict[str, np.ndarray]:
        """Returns the final weights of a finished run by name, e.g. `layers/0/kernel` (in, out).

        Args:
          run_id: as `run` takes it.
        Raises:
          InputError: no such run, it has not finished, or its weights cannot be read.
        """
        run = self.run(run_id)
        path = self._folder.weights_of(run["pack"])
        bring_weights(self.path, run["pack"])
        if run["status"] not in ("done", "diverged") or not path.exists():
            raise InputError(
                f"{run_id}: its status is {run['status']}, and final weights are stored when a "
                f"pack is done. Finish it with `tfc run`."
            )
        lane = int(run["lane"])
        try:
            weights = read_arrays(path)
            return {name: array[lane] for name, array in weights.items()}
        except (ValueError, IndexError) as error:
            what = f"these are not the final weights of a pack ({error})"
            raise DamagedFile(path, self.path, what) from error

    def table(
        self,
        name: str,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        config: Sequence[str] = (),
    ) -> pd.DataFrame:
        """Returns rows of any table: steps, layers, probe, ...

        Raises:
          InputError: an unknown table, column or name in `where`.
        """
        return listed_again(lambda: self._table(name, where, columns, config))

    def _table(
        self,
        name: str,
        where: str | None,
        columns: Sequence[str] | None,
        config: Sequence[str],
    ) -> pd.DataFrame:
        schema = self._columns(name)
        keys = [c for c in ROW_KEYS if c in schema]
        asked = schema if columns is None else columns
        self._check(asked, schema)
        self._check(config, list(self.runs.columns))
        wanted = keys + [c for c in asked if c not in keys]
        rows = self._rows(where, wanted, schema)
        table = rows.read(self._parts(name, rows.wanted))
        frame = table.drop_columns(["run_id"]).to_pandas(types_mapper=nullable)
        frame.insert(0, "run_id", _texts(table["run_id"]))
        joined = [column for column in dict.fromkeys(config) if column not in wanted]
        run_N = _indices(table["run_id"]) if joined else None
        for column in joined:
            frame[column] = self.runs[column].array.take(run_N)
        return frame

    def _rows(self, where: str | None, columns: list[str], schema: Sequence[str]) -> Rows:
        """Conditions that name runs alone choose runs; the others are for every row."""
        condition = expression.parse(where, {*schema, *self.runs.columns}) if where else None
        parts = condition.conjuncts if condition else ()
        of_rows = {*schema} - {"run_id"}
        wanted_R = np.ones(len(self.runs), bool)
        for part in parts:
            if part.names.isdisjoint(of_rows):
                wanted_R &= part.mask(self.runs)
        conditions = [part for part in parts if not part.names.isdisjoint(of_rows)]
        joined = {name for part in conditions for name in part.names} - of_rows
        of_runs = {name: as_column(name, self.runs[name]) for name in joined}
        return Rows(self.runs["run_id"].tolist(), wanted_R, columns, conditions, of_runs)

    def arrow(self, table: str, run_id: str) -> pa.Table:
        """Returns the rows of the run of this id, in step order, as stored: null is not NaN."""
        return listed_again(lambda: self._arrow(table, run_id))

    def _arrow(self, table: str, run_id: str) -> pa.Table:
        wanted_R = (self.runs["run_id"] == run_id).to_numpy(dtype=bool)
        rows = Rows(self.runs["run_id"].tolist(), wanted_R, self._columns(table))
        mine = rows.read(self._parts(table, wanted_R))
        keys = [(key, "ascending") for key in ROW_KEYS[1:] if key in mine.column_names]
        texts = mine["run_id"].cast(pa.large_string()).cast(pa.string())
        return mine.set_column(0, "run_id", texts).sort_by(keys)

    def has(self, table: str, column: str) -> bool:
        """Whether the sweep records this column."""
        return listed_again(lambda: column in self._first_names(table))

    def _first_names(self, table: str) -> list[str]:
        files = sorted(self._folder.table(table).glob("*.parquet"))
        return self._names(files[0]) if files else []

    def _check_runs(self) -> None:
        if not self._folder.has_runs:
            raise InputError(
                f"{self.path}: the runs table has no file. Train with `tfc run` again."
            )

    def _columns(self, name: str) -> list[str]:
        files = sorted(self._folder.table(name).glob("*.parquet"))
        if not files:
            tables = sorted(p.name for p in self.path.iterdir() if any(p.glob("*.parquet")))
            raise InputError(
                f"{self.path}: there is no table '{name}'.{nearest(name, tables)} "
                f"Tables here: {', '.join(tables)}."
            )
        return self._names(files[0])

    def _names(self, part: Path) -> list[str]:
        with reading(self.path, part):
            return list(pq.read_schema(part).names)

    def _check(self, columns: Sequence[str], available: Sequence[str]) -> None:
        if isinstance(columns, str):
            raise InputError(f"the text {columns!r} came for columns. Give a list: [{columns!r}].")
        unknown = [c for c in columns if c not in available]
        if unknown:
            raise InputError(
                f"{self.path}: there is no column '{unknown[0]}'."
                f"{nearest(unknown[0], available)} Available: {', '.join(available)}."
            )

    def _parts(self, table: str, wanted_R: Mask) -> list[Path]:
        """Data files of the packs that hold these runs; the empty part if there are none."""
        packs = set(self.runs["pack"][wanted_R])
        bring_tables(self.path, [table], packs)
        files = sorted(self._folder.table(table).glob("*.parquet"))
        return [f for f in files if f.name.split("-")[0] in packs] or files[:1]

    def run(self, run_id: str) -> pd.Series:
        """Returns the row of one run.

        Args:
          run_id: the id, or the beginning of it that no other run shares.
        Raises:
          InputError: no such run, or several.
        """
        ids = self.runs["run_id"]
        rows = self.runs[ids == run_id]
        if rows.empty and run_id:
            rows = self.runs[ids.str.startswith(run_id)]
        if rows.empty:
            hint = nearest(run_id, ids)
            raise InputError(
                f"{self.path}: no run '{run_id}'.{hint} `tfc ls {self.path}` lists them."
            )
        if len(rows) > 1:
            raise InputError(f"{self.path}: {_several(run_id, rows['run_id'].tolist())}")
        return rows.iloc[0]


def listed_again(read: Callable[[], _Read]) -> _Read:
    """Reads a table; again if a file is gone that was listed: `tfc compact` has merged it."""
    for _ in range(MOST_LISTED - 1):
        with suppress(FileNotFoundError):
            return read()
    return read()


def _several(start: str, ids: Sequence[str]) -> str:
    more = f" and {len(ids) - SHOWN:,} more" if len(ids) > SHOWN else ""
    shown = ", ".join(ids[:SHOWN])
    return f"{len(ids):,} runs begin with '{start}': {shown}{more}. Give more digits."


def stored_analysis(folder: Folder) -> pd.DataFrame | None:
    """Returns what the analysis says of each run, which is read with the runs; None without one.

    Raises:
      InputError: it cannot be read, or says several things of a run.
    """
    table = analysis_table(folder)
    kinds = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}  # both may be null
    return None if table is None else table.to_pandas(types_mapper=kinds.get)


def analysis_table(folder: Folder, columns: Collection[str] | None = None) -> pa.Table | None:
    """Returns what `stored_analysis` does; of the columns, `run_id` and those that are named."""
    path = folder.analysis
    if not path.exists():
        return None
    with reading(folder.root, path), pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        check_columns(file.schema_arrow, path, needed=["run_id"], of_runs=True)
        kept = [name for name in names if columns is None or name in {"run_id", *columns}]
        table = file.read(kept, use_threads=False)
    double = double_run(table)
    if double:
        raise DamagedFile(path, folder.root, double)
    return table.replace_schema_metadata(None)


def _completed(runs: pa.Table, keys: Sequence[str]) -> pa.Table:
    """Gives keys that are younger than some rows, or than all, their default there."""
    for name, key in ((name, KEYS[name]) for name in keys):
        if name not in runs.column_names:
            runs = runs.append_column(name, pa.repeat(pa.scalar(key.default), runs.num_rows))
        elif key.default is not None:
            filled = pc.fill_null(runs[name], key.default)
            runs = runs.set_column(runs.column_names.index(name), name, filled)
    return runs


def _indices(runs: pa.ChunkedArray) -> np.ndarray:
    return np.concatenate([chunk.indices.to_numpy() for chunk in runs.chunks])


def _texts(runs: pa.ChunkedArray) -> pd.api.extensions.ExtensionArray:
    """Ids as pandas 3 keeps every text: in one Arrow array, 20 bytes each instead of 70."""
    return TEXT.__from_arrow__(runs.cast(pa.large_string()))


def nullable(kind: pa.DataType) -> pd.api.extensions.ExtensionDtype | None:
    """Whole numbers stay whole where some are null."""
    return pd.Int64Dtype() if kind == pa.int64() else None
