"""The page of one results folder."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from plotly.offline import get_plotlyjs

from analysis.phases import write_analysis
from analysis.report import results_page
from analysis.report.page import hash_source
from tfc_jax.errors import InputError
from tfc_jax.results import Results


class Cells(HTMLParser):
    """Collects the rows of every table, by its id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "table":
            self._rows = self.tables.setdefault(dict(attrs)["id"], [])
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")
        self._inside = tag in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self._rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


def table(results: Results, key: str = "conditions") -> dict[str, dict[str, str]]:
    """Rows by their first cell: the condition, or the run."""
    head, *body = Cells(results_page(results)).tables[f"{key}-table"]
    return {row[0]: dict(zip(head, row, strict=True)) for row in body}


@pytest.fixture
def claim_rows() -> pd.DataFrame:
    """Four claims as the judgement of claims writes them."""
    return pd.DataFrame(
        [
            claim_row("T2", "SUPPORTED"),
            claim_row("T12", "NOT SUPPORTED", p_holm=float("nan")),
            claim_row("T13", "OPPOSITE", effect=-0.5, low=-0.7, high=-0.3),
            claim_row("R3", "INCONCLUSIVE", family="R", low=float("nan"), high=float("nan")),
        ]
    )


def claim_row(name: str, verdict: str, **other: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": name,
        "family": "T",
        "claim": "deeper networks stay longer",
        "source": "TFC",
        "sweep": "depth",
        "statistic": "ratio of medians",
        "effect": 2.5213,
        "effect_unit": "times",
        "low": 2.1,
        "high": 3.05,
        "p": 0.0004,
        "p_holm": 0.0012,
        "n": 16,
        "threshold": 1.1,
        "direction": "above",
        "rehearsal": False,
        "verdict": verdict,
        "detail": "medians 40 and 150",
        "ours": True,
    }
    return row | other


def test_conditions_are_what_differs_except_the_seed(figure_results: dict[str, Results]) -> None:
    assert list(table(figure_results["depth"])) == [f"depth {d}" for d in (3, 4, 5, 6, 7)]
    assert list(table(figure_results["two_phase"])) == ["all runs"]


def test_a_condition_that_never_ended_shows_the_budget_as_a_lower_bound(
    figure_results: dict[str, Results],
) -> None:
    rows = table(figure_results["depth"])
    assert rows["depth 7"]["phase one, median"] == "> 900"
    assert rows["depth 7"]["not ended"] == "5"
    assert rows["depth 7"]["restricted mean"] == "900"
    # the curve of depth 5 gains 1 % at step 180 + 2 seed, seeds 0..4; a curved drop seen through
    # a window of 50 steps crosses some steps early
    median = float(rows["depth 5"]["phase one, median"].split()[0])
    assert median == pytest.approx(184, abs=15)


def test_runs_are_counted_by_status(write_results: Any, plateau_of: Any, tmp_path: Path) -> None:
    statuses = ("done", "done", "diverged", "failed")
    configs = [{"seed": s, "status": status} for s, status in enumerate(statuses)]
    results = write_results(tmp_path, configs, lambda run: (plateau_of(100, 400), 100.0))
    row = table(results)["all runs"]
    assert [row[word] for word in ("runs", "done", "diverged", "failed")] == ["4", "2", "1", "1"]


def test_a_key_that_is_null_in_some_runs_makes_a_condition(
    write_results: Any, plateau_of: Any, tmp_path: Path
) -> None:
    configs = [{"n_train": 100}, {"n_train": None}]
    results = write_results(tmp_path, configs, lambda run: (plateau_of(100, 400), 100.0))
    assert list(table(results)) == ["n_train 100", "n_train null"]


def test_runs_that_were_trained_longer_are_no_condition_of_their_own(
    write_results: Any, plateau_of: Any, tmp_path: Path
) -> None:
    results = write_results(
        tmp_path,
        [{"seed": 0}, {"seed": 1}],
        lambda run: (plateau_of(100, 400 + 100 * run["seed"]), 100.0),
    )
    assert list(table(results)) == ["all runs"]


def test_the_page_does_not_trust_an_older_analysis(
    write_results: Any, plateau_of: Any, tmp_path: Path
) -> None:
    write_analysis(write_results(tmp_path, [{}], lambda run: (plateau_of(1e9, 400), 100.0)))
    results = write_results(tmp_path, [{}], lambda run: (plateau_of(100, 400), 100.0))
    assert table(results)["all runs"]["not ended"] == "0"


def test_a_page_says_when_similarity_was_not_recorded(
    write_results: Any, plateau_of: Any, tmp_path: Path
) -> None:
    results = write_results(tmp_path, [{}], lambda run: (plateau_of(100, 400), 100.0), layers=False)
    page = results_page(results)
    assert page.count("<img") == 1
    assert "feature_cos_between is not recorded" in page


def test_many_conditions_and_diverged_runs_draw_without_warnings(
    figure_results: dict[str, Results],
) -> None:
    rows = table(figure_results["phase_diagram"])
    assert len(rows) == 32
    assert "depth 4, learning_rate 0.001, init_scale 0.5" in rows or (
        "depth 4, init_scale 0.5, learning_rate 0.001" in rows
    )


def test_the_page_is_the_same_each_time(figure_results: dict[str, Results]) -> None:
    assert results_page(figure_results["depth"]) == results_page(figure_results["depth"])


def test_names_are_escaped(write_results: Any, plateau_of: Any, tmp_path: Path) -> None:
    configs = [{"norm": "<i>"}, {"norm": "none"}]
    results = write_results(tmp_path / "a&b", configs, lambda run: (plateau_of(100, 400), 100.0))
    page = results_page(results)
    assert "<i>" not in page.replace(get_plotlyjs(), "")
    assert "<title>a&amp;b</title>" in page
    assert "norm &lt;i&gt;" in page


def test_every_run_is_listed_with_the_end_of_its_phase_one_or_a_bound(
    write_results: Any, plateau_of: Any, tmp_path: Path
) -> None:
    ends = {0: 100.0, 1: 1e9, 2: 1e9}

    def curve(run: Any) -> Any:
        loss = plateau_of(ends[run["seed"]], 400)
        if run["seed"] == 2:
            loss[50:] = float("nan")
        return loss, 100.0

    rows = table(write_results(tmp_path, [{"seed": s} for s in ends], curve), "runs")
    said = [row["end of phase one, step"] for row in rows.values()]
    assert len(rows) == 3
    assert int(said[0]) == pytest.approx(100, abs=25)  # half the window of the smoothing
    assert said[1:] == ["> 400", "diverged at 50"]


def test_a_sweep_of_one_change_at_a_time_is_named_by_what_departs_from_plain(
    figure_results: dict[str, Results],
) -> None:
    page = results_page(figure_results["operations"])
    names = [row[0] for row in Cells(page).tables["conditions-table"][1:]]
    assert sorted(names) == sorted(
        [
            "plain",
            "norm batch",
            "momentum 0.9",
            "learning_rate 0.002, momentum 0.9",
            "init_scale 1.2",
            "weight_decay 0.003",
        ]
    )
    assert "Plain, of operations: norm none" in page


def test_verdicts_are_shown_in_words_with_effect_interval_and_p(
    figure_results: dict[str, Results], claim_rows: pd.DataFrame
) -> None:
    page = results_page(figure_results["depth"], claim_rows)
    head, first, second, *_ = Cells(page).tables["claims-table"]
    row = dict(zip(head, first, strict=True))
    assert row["verdict"] == "✓ SUPPORTED"
    assert (row["effect"], row["95 % interval"]) == ("2.52", "2.1 to 3.05")
    assert (row["claimed"], row["p (Holm)"]) == ("above 1.1", "0.0012")
    assert row["evidence"].startswith("ratio of medians. ")
    assert dict(zip(head, second, strict=True))["p (Holm)"] == "-"
    assert "1 SUPPORTED, 1 NOT SUPPORTED, 1 OPPOSITE, 1 INCONCLUSIVE" in page


def test_a_page_is_thinned_to_its_limit_and_says_what_it_leaves_out(
    figure_results: dict[str, Results],
) -> None:
    whole = results_page(figure_results["depth"])
    limit = len(whole.encode()) - 150_000
    page = results_page(figure_results["depth"], limit=limit)
    assert len(page.encode()) <= limit
    assert '"left_out":[]' not in page
    assert "layers of a network, evenly spaced" in page or "recorded steps of a curve" in page


def test_a_page_that_cannot_be_made_small_enough_is_refused(
    figure_results: dict[str, Results],
) -> None:
    with pytest.raises(InputError, match=r"MB larger than the 0\.1 MB allowed"):
        results_page(figure_results["depth"], limit=100_000)


def test_the_page_allows_no_request_and_names_each_of_its_scripts(
    figure_results: dict[str, Results],
) -> None:
    page = results_page(figure_results["depth"])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    rules = html.unescape(policy[1])
    assert rules.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline';")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(scripts) == 5
    assert all(hash_source(script) in rules for script in scripts)
    assert not re.search(r"""<[a-z]+[^>]*\b(?:src|href)=["'](?!data:|#)""", _outside_scripts(page))


def _outside_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.S)
