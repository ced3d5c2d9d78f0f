"""The two pages: of one results folder, and of all figures."""

from collections.abc import Mapping, Sequence

import pandas as pd

from analysis import style
from analysis.overview import draw_curves
from analysis.phases import SIMILARITY, middle_records, with_phases
from analysis.report.conditions import conditions_table, grouped, name_runs
from analysis.report.fit import Source, fitted
from analysis.report.page import LIMIT, Page, Picture
from analysis.report.provenance import description, provenance
from analysis.report.tables import claims_table, runs_table, verdict_counts
from tfc_jax.errors import InputError
from tfc_jax.results import Results


def results_page(
    results: Results,
    claims: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
    *,
    limit: int = LIMIT,
) -> str:
    """Returns one HTML page: conditions with phase lengths, curves, class film, runs.

    The analysis is made afresh, so the page is right while a sweep is still running.

    Args:
      claims: verdicts, if there are any that use these results.
      notes: what a reader must know of them.
      limit: bytes of the page.
    """
    if results.runs.empty:
        raise InputError(f"{results.path}: no run has started yet. Train with `tfc run` first.")
    phases = {results.name: with_phases(results, fresh=True)}
    pictures, absent = overview(results, phases[results.name])
    sweeps, said = {results.name: results}, [*notes, *absent]
    return _page(results.name, description(results), claims, pictures, sweeps, phases, said, limit)


def figures_page(
    title: str,
    pictures: Sequence[Picture],
    sweeps: Mapping[str, Results],
    claims: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
    *,
    limit: int = LIMIT,
) -> str:
    """Returns one HTML page: verdicts, every figure with its origin, and the sweeps behind them.

    Args:
      sweeps: analysed results, by the name that figures and claims know them by.
      notes: what is missing.
      limit: bytes of the page.
    """
    phases = {name: with_phases(results) for name, results in sweeps.items()}
    intro = f"{len(pictures)} figures from {len(sweeps)} sweeps."
    return _page(title, intro, claims, pictures, sweeps, phases, notes, limit)


def _page(
    title: str,
    intro: str,
    claims: pd.DataFrame | None,
    pictures: Sequence[Picture],
    sweeps: Mapping[str, Results],
    phases: dict[str, pd.DataFrame],
    notes: Sequence[str],
    limit: int,
) -> str:
    names, plain = {}, []
    for sweep, results in sweeps.items():
        names[sweep], meaning = name_runs(results.runs)
        plain += [f"Plain, of {sweep}: {meaning}."] if meaning else []
    all_runs = {sweep: grouped(one.runs, names[sweep]) for sweep, one in sweeps.items()}
    listed, unlisted = runs_table(phases, names)
    judged = claims is not None and len(claims) > 0
    page = Page(
        title=title,
        intro=intro,
        claims=claims_table(claims) if judged else None,
        verdicts=verdict_counts(claims) if judged else "",
        pictures=pictures,
        conditions=conditions_table(all_runs, phases) if sweeps else None,
        plain=plain,
        runs=listed if listed.rows else None,
        notes=[*notes, *unlisted],
        facts={sweep: provenance(results) for sweep, results in sweeps.items()},
    )
    sources = [
        Source(results, sweep, description(results), grouped(phases[sweep], names[sweep]))
        for sweep, results in sweeps.items()
        if len(phases[sweep])
    ]
    return fitted(page, sources, limit)


def overview(results: Results, phases: pd.DataFrame) -> tuple[list[Picture], list[str]]:
    """Draws loss and similarity of any sweep, and says which of them is not recorded."""
    groups = grouped(phases, name_runs(results.runs)[0])
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
        pictures.append(Picture(column, titles[column], (), (), {}, png))
    return pictures, notes
