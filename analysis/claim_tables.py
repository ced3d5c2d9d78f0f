"""The verdicts as a Parquet file, as a table in the terminal, and in Markdown."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.verdicts import INCONCLUSIVE, NOT_JUDGED, NOT_SUPPORTED, OPPOSITE, SUPPORTED
from tfc_jax.files import move_in, sync_file
from tfc_jax.tables import write_parquet
from tfc_jax.terminal import Terminal

# Shown alike: a negative or open result is as plain as a positive one.
LOOK = {
    SUPPORTED: "bold green",
    NOT_SUPPORTED: "bold yellow",
    OPPOSITE: "bold red",
    INCONCLUSIVE: "bold cyan",
    NOT_JUDGED: "bold magenta",
}


def number(value: float) -> str:
    """Three significant digits; a dash for NaN."""
    if np.isnan(value):
        return "-"
    if np.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.3g}"


def effect(row: pd.Series) -> str:
    """The effect with its interval and unit: "0.051 [0.042, 0.063] cosine"."""
    if np.isnan(row["effect"]):
        return "-"
    interval = f"[{number(row['low'])}, {number(row['high'])}]"
    return f"{number(row['effect'])} {interval} {row['effect_unit']}"


def write_claims(frame: pd.DataFrame, path: Path) -> None:
    """Writes the verdicts as Parquet, whole or not at all; the same bytes for the same frame."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    write_parquet(table, beside)
    sync_file(beside)
    move_in(beside, path)


def print_table(frame: pd.DataFrame, console: Console | None = None) -> None:
    """Prints one line per claim, what is missing, and how often each verdict came."""
    console = console or Terminal()
    table = Table(
        "id", "claim", "verdict", "effect [95 % interval]", "p (Holm)", "n", show_lines=True
    )
    for _, row in frame.iterrows():
        word = Text(row["verdict"], LOOK[row["verdict"]])
        claim = Text(row["claim"])
        table.add_row(
            *(Text(row["id"]), claim, word, Text(effect(row))),
            *(number(row["p_holm"]), str(row["n"])),
        )
    console.print(table)
    for _, row in frame[frame["verdict"] == NOT_JUDGED].iterrows():
        console.print(Text(f"{row['id']} was not judged: {row['detail']}"))
    counts = frame["verdict"].value_counts()
    console.print(", ".join(f"{counts[word]} {word}" for word in LOOK if word in counts))
    rehearsed = frame.loc[frame["rehearsal"], "id"]
    if len(rehearsed):
        console.print(
            f"{len(rehearsed)} of them are a rehearsal: fewer than 16 seeds in a cell, or seeds "
            "that pilots used."
        )


def markdown_table(frame: pd.DataFrame) -> str:
    """Returns id, claim, verdict, effect with interval, and n, as a table in Markdown."""
    lines = ["| | claim | verdict | effect [95 % interval] | n |", "|---|---|---|---|---|"]
    for _, row in frame.iterrows():
        cells = [row["id"], row["claim"], row["verdict"], effect(row), str(row["n"])]
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
