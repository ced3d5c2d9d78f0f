"""Self-contained pages: the gallery of figures, and the page of one results folder."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from analysis import style
from analysis.conditions import describe, varied
from analysis.overview import draw_curves
from analysis.phases import SIMILARITY, middle_records, with_phases
from analysis.survival import Survival, kaplan_meier
from tfc_jax.errors import InputError
from tfc_jax.keys import KEYS
from tfc_jax.results import Results

_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    undefined=jinja2.StrictUndefined,
)


@dataclass(frozen=True)
class Picture:
    """A drawn figure and what its reader needs to know."""

    name: str
    title: str
    caption: tuple[str, ...]
    command: str
    facts: Mapping[str, str]
    png: bytes

    @property
    def image(self) -> str:
        """The PNG in base64."""
        return base64.b64encode(self.png).decode()


def gallery(figures: Sequence[Picture]) -> str:
    """Returns one HTML page that shows every figure with its caption and origin."""
    return _PAGES.get_template("gallery.html").render(title="Figures", figures=figures)


def provenance(results: Results) -> dict[str, str]:
    """Counts of runs by status, and what manifest.json says of versions, code and device."""
    counts = results.runs["status"].value_counts().sort_index()
    facts = {"runs": ", ".join(f"{count} {status}" for status, count in counts.items())}
    manifest = results.path / "manifest.json"
    if manifest.exists():
        content: dict[str, Any] = json.loads(manifest.read_text())
        for key in ("git", "versions", "platform", "machine"):
            if content.get(key):
                facts[key] = _flat(content[key])
    return facts


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)


def results_page(results: Results) -> str:
    """Returns one HTML page: runs by condition with phase lengths, and their curves.

    A condition is what differs between runs, except the seed. The analysis is made afresh, so the
    page is right while a sweep is still running.
    """
    runs = results.runs
    if runs.empty:
        raise InputError(f"{results.path}: no run has started yet. Train with `tfc run` first.")
    phases = with_phases(results, fresh=True)
    keys = varied(runs, [key for key in KEYS if key != "steps"])
    rows = [_row(name, group, phases) for name, group in _grouped(runs, keys).items()]
    pictures, notes = _pictures(results, phases, _grouped(phases, keys))
    return _PAGES.get_template("results.html").render(
        title=results.name,
        columns=list(rows[0]),
        rows=[list(row.values()) for row in rows],
        pictures=pictures,
        notes=notes,
        facts=provenance(results),
    )


def _grouped(runs: pd.DataFrame, keys: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Runs by condition, in the order of the keys' values."""
    if not keys:
        return {"all runs": runs}
    groups = runs.groupby(list(keys), dropna=False)
    return {describe(dict(zip(keys, at, strict=True))): group for at, group in groups}


def _row(name: str, group: pd.DataFrame, phases: pd.DataFrame) -> dict[str, str]:
    """One row of the table; a dash where a condition has no recorded steps yet."""
    status = group["status"].value_counts()
    row = {"condition": name, "runs": str(len(group))}
    row |= {word: str(status.get(word, 0)) for word in ("done", "diverged", "failed")}
    analysed = phases[phases["run_id"].isin(group["run_id"])]
    survival = kaplan_meier(analysed) if len(analysed) else None
    row["phase one, median"] = _length(survival)
    row["restricted mean"] = f"{survival.restricted_mean:.0f}" if survival else "-"
    row["not ended"] = str(int(analysed["censored"].sum()))
    for column in ("final_loss", "final_accuracy"):
        values = group[column].to_numpy(dtype=float, na_value=np.nan)
        known = values[np.isfinite(values)]
        row[f"{column}, median"] = f"{np.median(known):.3g}" if len(known) else "-"
    return row


def _length(survival: Survival | None) -> str:
    if survival is None:
        return "-"
    if not np.isfinite(survival.median):
        return f"> {survival.horizon:.0f}"
    high = f"{survival.high:.0f}" if np.isfinite(survival.high) else "∞"
    return f"{survival.median:.0f} ({survival.low:.0f} to {high})"


def _pictures(
    results: Results, phases: pd.DataFrame, groups: Mapping[str, pd.DataFrame]
) -> tuple[list[Picture], list[str]]:
    frames = {
        "loss": results.steps(columns=["loss"]),
        SIMILARITY: middle_records(results, phases),
    }
    titles = {"loss": "Training loss", SIMILARITY: "Similarity of features, middle layer"}
    limits = {"loss": (0.0, 1.3 * phases["prior_loss"].max())}
    pictures, notes = [], []
    for column, frame in frames.items():
        if frame is None or frame.empty:
            notes.append(f"{titles[column]}: {column} is not recorded in these results.")
            continue
        with style.theme():
            png = style.render(draw_curves(frame, column, groups, limits.get(column)), "png")
        pictures.append(Picture(column, titles[column], (), "", {}, png))
    return pictures, notes
