"""The report page in a real browser: Debian's chromium, headless.

Screenshots are kept in the folder that TFC_SCREENSHOTS names, else in build/screenshots.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from analysis.report import Picture, figures_page
from tfc_jax.results import Results, open_results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCREENSHOTS = Path(
    os.environ.get("TFC_SCREENSHOTS", Path(__file__).parents[2] / "build" / "screenshots")
)
HOSTILE = "<script>alert(1)</script>"
BREAKING = '</script><img src=x onerror="alert(2)">'
QUOTING = '"><img src=x onerror=alert(3)>'
LIMIT = 15_000_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None and "CI" not in os.environ,
        reason="no chromium: apt-get install chromium",
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "CI must test the page: .ci/run installs chromium"
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="module")
def page_file(
    tmp_path_factory: pytest.TempPathFactory, write_results: Any, plateau_of: Any
) -> Path:
    """A page of two sweeps, one with a class film; names and texts are hostile."""
    root = tmp_path_factory.mktemp("page")

    def curve(run: Any) -> Any:
        end = 40.0 * run["depth"] + 5 * run["seed"]
        return plateau_of(end, 600, run["seed"]), end

    depths = [{"depth": d, "seed": s} for d in (3, 5) for s in range(3)]
    write_results(root / "depth", depths, curve)
    norms = [{"norm": n, "seed": s} for n in ("none", HOSTILE) for s in range(2)]
    film = write_results(root / "film", norms, curve)
    write_classes(film)
    for name in ("depth", "film"):
        manifest = {"description": BREAKING, "git": QUOTING}
        (root / name / "manifest.json").write_text(json.dumps(manifest))
    sweeps = {"depth": open_results(root / "depth"), BREAKING: open_results(root / "film")}
    facts = {"sweep": BREAKING}
    picture = Picture("depth", f"Is this text? {HOSTILE}", (QUOTING,), ("tfc run x",), facts, PNG)
    path = root / "report.html"
    path.write_text(figures_page(f"Report {HOSTILE}", [picture], sweeps, claims()))
    return path


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360"
    "60606000000005000157a6f2e40000000049454e44ae426082"
)


def write_classes(results: Results) -> None:
    """Cosines of four classes that change from step to step, in the table `classes`."""
    rows = []
    for run_id, depth in zip(results.runs["run_id"], results.runs["depth"], strict=True):
        grid = pd.MultiIndex.from_product(
            [range(0, 600, 100), range(1, depth + 1), range(4), range(4)],
            names=["step", "layer", "class_a", "class_b"],
        ).to_frame(index=False)
        same = grid["class_a"] == grid["class_b"]
        cosine = np.where(same, 0.9, 0.8 - grid["step"] / 1000 - grid["layer"] / 100)
        rows.append(grid.assign(run_id=run_id, class_cos=cosine))
    path = results.path / "classes" / f"{'0' * 12}-000000000-000000600.parquet"
    path.parent.mkdir()
    pq.write_table(pa.Table.from_pandas(pd.concat(rows), preserve_index=False), path)


def claims() -> pd.DataFrame:
    """Twelve claims whose identifiers sort by number, not by letter."""
    words = ("SUPPORTED", "NOT SUPPORTED", "OPPOSITE", "INCONCLUSIVE")
    rows = [
        {
            "id": f"T{i}",
            "family": "T",
            "claim": f"claim {i} {HOSTILE}",
            "source": QUOTING,
            "sweep": "depth",
            "statistic": "ratio",
            "effect": [3.0, -20.0, 0.5, 100.0][i % 4] + i,
            "effect_unit": "times",
            "low": np.nan if i == 5 else 0.1,
            "high": 0.2,
            "p": 0.01,
            "p_holm": np.nan if i == 5 else 0.02 * i,
            "n": 16,
            "threshold": 1.1,
            "verdict": words[i % 4],
            "detail": BREAKING,
            "ours": True,
        }
        for i in range(1, 13)
    ]
    return pd.DataFrame(rows)


class Watched:
    """A page and everything that it complained about or asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("dialog", self._dialog)

    def _dialog(self, dialog: Any) -> None:
        self.said.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture
def opened(browser: Browser, page_file: Path, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """The page at the width that a test asks for; a quiet console is part of every test."""
    width = getattr(request, "param", 1280)
    context = browser.new_context(viewport={"width": width, "height": 900})
    context.set_default_timeout(120_000)  # ms: a guard, which a busy machine does not reach
    watched = Watched(context.new_page())
    watched.page.goto(page_file.as_uri())
    watched.page.wait_for_selector("#film-plot .heatmaplayer image, #film-plot .heatmaplayer path")
    yield watched
    assert watched.said == []
    assert watched.asked == [page_file.as_uri()]
    context.close()


def column(page: Page, table: str, at: int) -> list[str]:
    """Texts of a column, of the rows that are shown."""
    cells = page.locator(f"#{table}-table tbody tr:not([hidden]) td:nth-child({at})")
    return cells.all_inner_texts()


def drawn(page: Page, plot: str) -> list[Any]:
    """What a plot shows: name, x and y of each curve, or z of a map."""
    script = (
        "id => document.getElementById(id).data.map(t => ({name: t.name, y: t.y, z: t.z, x: t.x}))"
    )
    found: list[Any] = page.evaluate(script, plot)
    return found


def keep(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


@pytest.mark.parametrize("opened", [1280, 400], indirect=True)
def test_it_fits_the_window_and_asks_for_nothing(opened: Watched, page_file: Path) -> None:
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page_file.stat().st_size <= LIMIT
    assert page.locator("nav a").count() >= 6
    keep(page, f"report-{page.viewport_size['width'] if page.viewport_size else 0}")


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_it_round(opened: Watched) -> None:
    page = opened.page
    heading = page.locator("#claims-table th", has_text="effect")
    at = column(page, "claims", 5)
    heading.get_by_role("button").click()
    up = [float(text) for text in column(page, "claims", 5)]
    assert up == sorted(map(float, at))
    assert up != [float(text) for text in at]
    expect(heading).to_have_attribute("aria-sort", "ascending")
    heading.get_by_role("button").press("Enter")
    assert [float(text) for text in column(page, "claims", 5)] == up[::-1]
    expect(heading).to_have_attribute("aria-sort", "descending")
    keep(page, "table-sorted")


def test_what_is_no_number_comes_last_both_ways_and_names_sort_by_their_numbers(
    opened: Watched,
) -> None:
    page = opened.page
    for _ in range(2):
        page.locator("#claims-table th", has_text="p (Holm)").get_by_role("button").click()
        assert column(page, "claims", 9)[-1] == "-"
    page.locator("#claims-table th", has_text="claim").first.get_by_role("button").click()
    assert column(page, "claims", 1) == [f"T{i}" for i in range(1, 13)]
    expect(page.locator("#claims-table th[aria-sort]")).to_have_count(1)


def test_words_and_choices_hide_rows(opened: Watched) -> None:
    page = opened.page
    bar = page.locator(".controls", has=page.locator("select[name=verdict]"))
    bar.locator("input[name=filter]").fill("t1 ratio")
    assert column(page, "claims", 1) == ["T1", "T10", "T11", "T12"]
    bar.locator("select[name=verdict]").select_option(label="✓ SUPPORTED")
    assert column(page, "claims", 1) == ["T12"]
    expect(bar.locator("output")).to_have_text("1 of 12 rows")


def test_the_scrubber_moves_the_film(opened: Watched) -> None:
    page = opened.page
    before = drawn(page, "film-plot")[0]["z"]
    page.locator("input[name=film-step]").focus()
    page.keyboard.press("End")
    expect(page.locator("output.step")).to_have_text("step 500")
    after = drawn(page, "film-plot")[0]["z"]
    # between classes 0.8 - step / 1000 - layer / 100, within 0.9; the middle of five layers is 3
    assert (before[0][1], after[0][1]) == (0.77, 0.27)
    assert after[1][0] == after[0][1]
    assert after[2][2] == before[2][2] == 0.9
    page.locator("select[name=film-layer]").select_option("5")
    assert drawn(page, "film-plot")[0]["z"][0][1] == 0.25
    keep(page, "film-moved")


def test_the_film_plays_until_it_is_stopped(opened: Watched) -> None:
    page = opened.page
    play = page.get_by_role("button", name="play")
    play.click()
    expect(page.locator("output.step")).not_to_have_text("step 0")
    page.get_by_role("button", name="pause").click()
    expect(page.get_by_role("button", name="play")).to_be_visible()


def test_every_choice_of_curves_changes_the_plot(opened: Watched) -> None:
    page = opened.page
    seen = [drawn(page, "curves-plot")]

    def changed() -> list[Any]:
        seen.append(drawn(page, "curves-plot"))
        assert seen[-1] != seen[-2]
        return seen[-1]

    page.locator("select[name=metric]").select_option(label="feature_cos_between")
    changed()
    page.locator("select[name=layer]").select_option("1")
    changed()
    page.locator("select[name=layer]").select_option("every")
    assert [t["name"] for t in changed() if t["name"]] == ["layer 1", "layer 2", "layer 3"]
    page.locator("select[name=layer]").select_option("middle")
    changed()
    page.locator("select[name=runs]").select_option("single")
    assert len(changed()) == 6
    page.locator("select[name=runs]").select_option("seed 1")
    assert [t["name"] for t in changed()] == ["depth 3, seed 1", "depth 5, seed 1"]
    page.locator("input[name=condition-0]").uncheck()
    assert [t["name"] for t in changed()] == ["depth 5, seed 1"]
    keep(page, "curve-chosen")
    page.locator("#curves-app select[name=sweep]").select_option(label=BREAKING)
    changed()


def test_axes_turn_logarithmic_and_back(opened: Watched) -> None:
    page = opened.page
    axes = "['xaxis', 'yaxis'].map(a => document.getElementById('curves-plot').layout[a].type)"
    assert page.evaluate(axes) == ["log", "linear"]
    assert drawn(page, "curves-plot")[-1]["x"][0] == 1
    page.locator("input[name=log-x]").uncheck()
    page.locator("input[name=log-y]").check()
    assert page.evaluate(axes) == ["linear", "log"]
    assert drawn(page, "curves-plot")[-1]["x"][0] == 0


def test_hovering_shows_the_value(opened: Watched) -> None:
    page = opened.page
    plot = page.locator("#curves-plot")
    plot.scroll_into_view_if_needed()
    box = page.locator("#curves-plot .nsewdrag").first.bounding_box()
    assert box
    x, y = page.evaluate(
        "() => { const p = document.getElementById('curves-plot'), l = p._fullLayout;"
        " const t = p.data.at(-1); return [l.xaxis.d2p(t.x[5]), l.yaxis.d2p(t.y[5])] }"
    )
    page.mouse.move(box["x"] + x, box["y"] + y - 1)
    page.mouse.move(box["x"] + x, box["y"] + y)
    label = page.locator("#curves-plot .hoverlayer .hovertext").first
    expect(label).to_contain_text("step 5: 2.3")
    keep(page, "curve-hovered")


def test_hostile_names_are_shown_as_text(opened: Watched) -> None:
    page = opened.page
    expect(page.locator("h1")).to_have_text(f"Report {HOSTILE}")
    assert HOSTILE in column(page, "claims", 4)[0]
    assert BREAKING in page.locator("#curves-app select[name=sweep] option").all_inner_texts()
    page.locator("#curves-app select[name=sweep]").select_option(label=BREAKING)
    expect(page.locator("#curves-app .about").last).to_contain_text(BREAKING)
    assert any(HOSTILE in text for text in page.locator(".conditions label").all_inner_texts())
    assert page.locator("img:not([src^='data:'])").count() == 0
    expect(page.locator("#curves-plot .hoverlayer")).to_have_count(1)


def test_without_javascript_tables_and_figures_are_there(browser: Browser, page_file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator("#claims-table tbody tr").count() == 12
    assert page.locator("main img").count() == 1
    expect(page.get_by_text("Curves need JavaScript")).to_be_visible()
    context.close()
