"""Reads a results folder into pandas. Needs no JAX, and nothing but Parquet files."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfc_jax import expression
from tfc_jax.errors import InputError, nearest
from tfc_jax.keys import KEYS
from tfc_jax.layout import Folder
from tfc_jax.schema import KEY_COLUMNS

ROW_KEYS = tuple(dict.fromkeys(c.name for keys in KEY_COLUMNS.values() for c in keys))


def open_results(path: str | Path) -> "Results":
    """Opens `results/<name>` for reading, also while a sweep is writing to it.

    Raises:
      InputError: there are no results at `path`.
    """
    folder = Folder(Path(path))
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
          InputError: the table has no file.
        """
        files = sorted(self._folder.runs.glob("*.parquet"))
        if not files:
            raise InputError(
                f"{self.path}: the runs table has no file. Train with `tfc run` again."
            )
        table = _completed(self._load(files, None))
        frame = table.to_pandas(types_mapper=_nullable)
        if self._folder.analysis.exists():
            analysis = pd.read_parquet(self._folder.analysis)
            clashing = frame.columns.intersection(analysis.columns).drop("run_id")
            frame = frame.merge(analysis.drop(columns=clashing), on="run_id", how="left")
        return frame

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

        Raises:
          InputError: no such run, or it has not finished.
        """
        run = self.run(run_id)
        path = self._folder.params / f"{run['pack']}.npz"
        if run["status"] not in ("done", "diverged") or not path.exists():
            raise InputError(
                f"{run_id}: its status is {run['status']}, and final weights are stored when a "
                f"pack is done. Finish it with `tfc run`."
            )
        with np.load(path, allow_pickle=False) as weights:
            return {name: weights[name][int(run["lane"])] for name in weights.files}

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
        schema = self._columns(name)
        keys = [c for c in ROW_KEYS if c in schema]
        wanted = keys + [c for c in (columns if columns is not None else schema) if c not in keys]
        condition = self._condition(where, {*schema, *self.runs.columns})
        used = condition.names if condition else frozenset()
        self._check(wanted, schema)
        self._check(config, list(self.runs.columns))
        by_run_alone = condition is not None and used.isdisjoint({*schema} - {"run_id"})
        runs = self.runs[condition.mask(self.runs)] if condition and by_run_alone else self.runs
        load = [*wanted, *(c for c in schema if c in used and c not in wanted)]
        ids = pa.array(sorted(runs["run_id"]), pa.string())
        table = self._load(self._parts(name, runs), load)
        frame = table.filter(pc.is_in(table["run_id"], ids)).to_pandas(types_mapper=_nullable)
        joined = [c for c in self.runs.columns if c in {*config, *used} and c not in load]
        if joined:
            frame = frame.merge(self.runs[["run_id", *joined]], on="run_id", how="left")
        if condition and not by_run_alone:
            frame = frame[condition.mask(frame)].reset_index(drop=True)
        return frame[[*wanted, *(c for c in config if c not in wanted)]]

    def _condition(self, where: str | None, names: set[str]) -> expression.Expression | None:
        return expression.parse(where, names) if where else None

    def arrow(self, table: str, run_id: str) -> pa.Table:
        """Returns the rows of one run, in step order, as stored: null is not NaN here."""
        run = self.runs[self.runs["run_id"] == run_id]
        rows = self._load(self._parts(table, run), None)
        mine = rows.filter(pc.equal(rows["run_id"], run_id))
        return mine.sort_by([(key, "ascending") for key in ROW_KEYS if key in mine.schema.names])

    def has(self, table: str, column: str) -> bool:
        """Whether the sweep records this column."""
        files = sorted(self._folder.table(table).glob("*.parquet"))
        return bool(files) and column in pq.read_schema(files[0]).names

    def _columns(self, name: str) -> list[str]:
        files = sorted(self._folder.table(name).glob("*.parquet"))
        if not files:
            tables = sorted(p.name for p in self.path.iterdir() if any(p.glob("*.parquet")))
            raise InputError(
                f"{self.path}: there is no table '{name}'.{nearest(name, tables)} "
                f"Tables here: {', '.join(tables)}."
            )
        return list(pq.read_schema(files[0]).names)

    def _check(self, columns: Sequence[str], available: Sequence[str]) -> None:
        unknown = [c for c in columns if c not in available]
        if unknown:
            raise InputError(
                f"{self.path}: there is no column '{unknown[0]}'."
                f"{nearest(unknown[0], available)} Available: {', '.join(available)}."
            )

    def _parts(self, table: str, runs: pd.DataFrame) -> list[Path]:
        """Data files of the packs that hold these runs; the empty part if there are none."""
        packs = set(runs["pack"])
        files = sorted(self._folder.table(table).glob("*.parquet"))
        return [f for f in files if f.name.split("-")[0] in packs] or files[:1]

    def _load(self, files: Sequence[Path], columns: list[str] | None) -> pa.Table:
        tables = [
            pq.read_table(f, columns=columns, partitioning=None, page_checksum_verification=True)
            for f in files
        ]
        return pa.concat_tables(tables, promote_options="default")

    def run(self, run_id: str) -> pd.Series:
        """Returns the row of one run.

        Raises:
          InputError: no such run.
        """
        rows = self.runs[self.runs["run_id"] == run_id]
        if rows.empty:
            hint = nearest(run_id, self.runs["run_id"])
            raise InputError(
                f"{self.path}: no run '{run_id}'.{hint} `tfc ls {self.path}` lists them."
            )
        return rows.iloc[0]


def _completed(runs: pa.Table) -> pa.Table:
    """Gives keys that are younger than some rows, or than all, their default there."""
    for name, key in KEYS.items():
        if name not in runs.column_names:
            runs = runs.append_column(name, pa.array([key.default] * runs.num_rows))
        elif key.default is not None:
            filled = pc.fill_null(runs[name], key.default)
            runs = runs.set_column(runs.column_names.index(name), name, filled)
    return runs


def _nullable(kind: pa.DataType) -> pd.api.extensions.ExtensionDtype | None:
    """Whole numbers stay whole where some are null."""
    return pd.Int64Dtype() if kind == pa.int64() else None
