"""How a page comes to fit into its limit."""

from typing import Any

import pytest

from analysis.phases import with_phases
from analysis.report import fit
from analysis.report.conditions import grouped, name_runs
from analysis.report.fit import Source, fitted
from analysis.report.page import Page, render
from tfc_jax.results import Results

LIMIT = 50_000_000  # everything fits


def test_tables_are_read_once_however_often_a_page_is_rendered(
    figure_results: dict[str, Results], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = figure_results["depth"]
    groups = grouped(with_phases(results), name_runs(results.runs)[0])
    reads: list[str] = []
    read = Results.table

    def counted(self: Results, name: str, *given: Any, **named: Any) -> Any:
        reads.append(name)
        return read(self, name, *given, **named)

    monkeypatch.setattr(Results, "table", counted)
    page = fitted(Page("x"), [Source(results, "depth", "", groups)], LIMIT)
    once, pages = len(reads), []

    def render_too_long_twice(content: Page) -> str:
        pages.append(content)
        return render(content) + (" " * LIMIT if len(pages) in (2, 3) else "")

    monkeypatch.setattr(fit, "render", render_too_long_twice)
    assert fitted(Page("x"), [Source(results, "depth", "", groups)], LIMIT) == page
    assert len(pages) == 4
    assert len(reads) == 2 * once
