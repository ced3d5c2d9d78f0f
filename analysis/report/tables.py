"""Tables of a page: what a cell shows, and what it is sorted by."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.verdicts import VERDICTS

RUNS = 4000
SYMBOLS = dict(zip(VERDICTS, "✓○✗?-", strict=True))


@dataclass(frozen=True)
class Column:
    """One column: how it sorts, and whether the reader may choose one of its values.

    Attributes:
      numeric: sorted by number; cells that are no number come last.
      choice: a list of its values filters the table.
      wide: holds sentences, which may break into lines.
    """

    name: str
    numeric: bool = False
    choice: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Cell:
    """What is shown; `order` sorts it where the text itself would not; `look` is a CSS class."""

    text: str
    order: float | None = None
    look: str = ""

    @property
    def key(self) -> str | None:
        """The number it is sorted by; None where that is the text itself."""
        if self.order is None or self.text == f"{self.order:g}":
            return None
        return f"{self.order:.10g}"


@dataclass(frozen=True)
class Table:
    """A table that sorts and filters; `label` says what it holds, `key` is its anchor."""

    key: str
    label: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def number(value: Any, digits: int = 3) -> Cell:
    """A number to so many digits, sorted by all of them; a dash where there is none."""
    if pd.isna(value):
        return Cell("-")
    if isinstance(value, int | np.integer):
        return Cell(str(value), float(value))
    return Cell(f"{value:.{digits}g}", float(value) if math.isfinite(value) else None)


def claims_table(claims: pd.DataFrame) -> Table:
    """One row per claim of `claims.parquet`, in its order."""
    columns = (
        Column("claim"),
        Column("family", choice=True),
        Column("verdict", choice=True),
        Column("what is claimed", wide=True),
        Column("effect", numeric=True),
        Column("95 % interval", numeric=True),
        Column("unit"),
        Column("claimed", numeric=True),
        Column("p (Holm)", numeric=True),
        Column("n", numeric=True),
        Column("sweep", choice=True),
        Column("seeds", choice=True),
        Column("evidence", wide=True),
        Column("source"),
    )
    rows = [_claim(row) for row in claims.to_dict("records")]
    return Table("claims", "Verdict on each claim", columns, rows)


def _claim(row: dict[str, Any]) -> list[Cell]:
    verdict = str(row["verdict"])
    symbol, look = SYMBOLS.get(verdict, "?"), verdict.lower().replace(" ", "-")
    both = not (pd.isna(row["low"]) or pd.isna(row["high"]))
    interval = f"{row['low']:.3g} to {row['high']:.3g}" if both else "-"
    ours = f" (ours: {row['ours']})" if _text(row["ours"]) else ""
    return [
        Cell(str(row["id"])),
        Cell(str(row["family"])),
        Cell(f"{symbol} {verdict}", look=f"verdict {look}"),
        Cell(_text(row["claim"]) + ours),
        number(row["effect"]),
        Cell(interval, float(row["low"]) if both else None),
        Cell(_text(row["effect_unit"])),
        _claimed(row),
        number(row["p_holm"], 2),
        number(row["n"]),
        Cell(_text(row["sweep"])),
        Cell("rehearsal" if row.get("rehearsal") else "as planned"),
        Cell(". ".join(t for t in (_text(row["statistic"]), _text(row["detail"])) if t)),
        Cell(_text(row["source"])),
    ]


def _claimed(row: dict[str, Any]) -> Cell:
    """Direction and threshold: "above 1.5"."""
    threshold = number(row["threshold"])
    return Cell(f"{_text(row.get('direction'))} {threshold.text}".strip(), threshold.order)


def _text(value: Any) -> str:
    return "" if value is None or value is pd.NA or value != value else str(value)


def verdict_counts(claims: pd.DataFrame) -> str:
    """Returns "12 SUPPORTED, 3 INCONCLUSIVE", in the order of SYMBOLS."""
    counts = claims["verdict"].value_counts()
    return ", ".join(f"{counts[word]} {word}" for word in SYMBOLS if word in counts)


def several(rows_by_sweep: Mapping[str, Sequence[Sequence[Cell]]]) -> list[Sequence[Cell]]:
    """All rows in one list, each with its sweep in front if there are several."""
    if len(rows_by_sweep) == 1:
        return list(*rows_by_sweep.values())
    return [[Cell(sweep), *row] for sweep, rows in rows_by_sweep.items() for row in rows]


def sweep_column(sweeps: Collection[str]) -> tuple[Column, ...]:
    """The column that `several` puts in front."""
    return (Column("sweep", choice=True),) if len(sweeps) > 1 else ()


def runs_table(
    phases: Mapping[str, pd.DataFrame], names: Mapping[str, pd.Series], most: int = RUNS
) -> tuple[Table, list[str]]:
    """One row per analysed run of each sweep, and what was left out of more than `most`.

    Args:
      phases: by sweep, runs with the columns of `phases.COLUMNS`.
      names: by sweep, the condition of each run_id.
    """
    total = sum(map(len, phases.values()))
    share = min(1.0, most / max(total, 1))
    rows, notes = {}, []
    for sweep, runs in phases.items():
        shown = runs.assign(condition=runs["run_id"].map(names[sweep]))
        kept = max(1, int(share * len(runs)))
        if kept < len(runs):
            shown = shown.sort_values("seed", kind="stable").head(kept).sort_index()
            notes.append(f"{sweep}: {kept} of {len(runs)} runs are listed, the lowest seeds.")
        rows[sweep] = [_run(row) for row in shown.to_dict("records")]
    columns = (
        *sweep_column(phases),
        Column("run"),
        Column("condition", wide=True),
        Column("seed", numeric=True),
        Column("status", choice=True),
        Column("end of phase one, step", numeric=True),
        Column("steps", numeric=True),
        Column("final loss", numeric=True),
        Column("final accuracy", numeric=True),
    )
    return Table("runs", "One row per run", columns, several(rows)), notes


def _run(row: dict[str, Any]) -> list[Cell]:
    return [
        Cell(str(row["run_id"]), look="code"),
        Cell(row["condition"]),
        number(row["seed"]),
        Cell(str(row["status"])),
        _end(row),
        number(row["steps_done"] if "steps_done" in row else row["steps"]),
        _final(row, "final_loss"),
        _final(row, "final_accuracy"),
    ]


def _final(row: dict[str, Any], column: str) -> Cell:
    """In brackets where the run diverged: the last value may be finite, but sorts after all."""
    cell = number(row[column])
    return Cell(f"({cell.text})") if row["status"] == "diverged" else cell


def _end(row: dict[str, Any]) -> Cell:
    """The step; a censored run sorts after all steps of its length, a diverged one last."""
    if not pd.isna(row["phase1_end"]):
        return number(int(row["phase1_end"]))
    if not pd.isna(row["diverged_at"]):
        return Cell(f"diverged at {int(row['diverged_at'])}")
    return Cell(f"> {int(row['horizon'])}", float(row["horizon"]) + 0.5)
