"""What is drawn, when, and what is said."""

import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import build, drawing, style
from analysis.claim_file import read_claims
from analysis.profiles import PROFILES
from analysis.report import results_page
from tfc_jax.errors import InputError
from tfc_jax.results import Results, open_results


@pytest.fixture
def root(tmp_path: Path, write_results: Any, plateau_of: Any) -> Path:
    """A results root with the sweep of one figure."""
    configs = [{"depth": d, "seed": s} for d in (3, 5) for s in range(3)]
    write_results(
        tmp_path / "results" / "depth", configs, lambda run: (plateau_of(200, 500), 200.0)
    )
    return tmp_path / "results"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "figures"


@pytest.fixture(autouse=True)
def verdicts(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Lists the sweeps by which claims were judged, instead of judging them."""
    judged: list[list[str]] = []

    def judge(claims: object, results: dict[str, Results], profile: object) -> pd.DataFrame:
        judged.append(list(results))
        return pd.DataFrame({"verdict": pd.Series(dtype=str)})

    monkeypatch.setattr(build, "judge", judge)
    monkeypatch.setattr(build, "claim_sweeps", lambda _: [])
    return judged


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was said of figures."""
    said = capsys.readouterr().out.splitlines()
    return [line for line in said if not line.startswith("claims: ")]


def run(root: Path, out: Path, *names: str) -> int:
    return build.main([*names, "--results", str(root), "--out", str(out)])


def fingerprint(folder: Path) -> str:
    return drawing.fingerprint(drawing.figure_code("depth"), drawing.data_lines(folder))


def test_a_figure_is_drawn_as_png_and_pdf_with_its_analysis_stored(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, out, "depth") == 0
    assert lines(capsys) == [f"depth: drawn: {out}/depth.png and .pdf"]
    assert (out / "depth.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "depth.pdf").read_bytes().startswith(b"%PDF")
    assert (root / "depth" / "analysis.parquet").exists()


def test_a_figure_is_left_alone_while_nothing_changed(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(root, out, "depth")
    monkeypatch.setattr(style, "render", lambda *_: pytest.fail("drawn again"))
    assert run(root, out, "depth") == 0
    assert lines(capsys)[-1] == "depth: unchanged"


def test_new_data_are_drawn_and_analysed_again(
    root: Path, out: Path, write_results: Any, plateau_of: Any
) -> None:
    run(root, out, "depth")
    before = (out / "depth.png").read_bytes()
    configs = [{"depth": d, "seed": s} for d in (3, 5) for s in range(3)]
    write_results(root / "depth", configs, lambda run: (plateau_of(1e9, 500), 200.0))
    run(root, out, "depth")
    assert (out / "depth.png").read_bytes() != before
    assert open_results(root / "depth").runs["censored"].all()


@pytest.mark.parametrize("file", ["phases.py", "figures/depth.py", "evidence/__init__.py"])
def test_new_code_changes_the_fingerprint(
    file: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(root / "depth")
    copy = tmp_path / "analysis"
    shutil.copytree(drawing.CODE, copy)
    monkeypatch.setattr(drawing, "CODE", copy)
    assert fingerprint(root / "depth") == before
    (copy / file).write_text("# another idea\n")
    assert fingerprint(root / "depth") != before


@pytest.mark.parametrize("file", ["theory/cosines.py", "results.py"])
def test_new_code_of_theory_or_of_the_reader_changes_the_fingerprint(
    file: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(root / "depth")
    copy = tmp_path / "tfc_jax"
    shutil.copytree(drawing.PACKAGE, copy)
    monkeypatch.setattr(drawing, "PACKAGE", copy)
    assert fingerprint(root / "depth") == before
    (copy / file).write_text("# another idea\n")
    assert fingerprint(root / "depth") != before


@pytest.mark.parametrize("library", ["numpy", "scipy", "lifelines", "pandas", "ruptures"])
def test_another_version_of_a_library_changes_the_fingerprint(
    library: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(root / "depth")
    installed = metadata.version
    monkeypatch.setattr("analysis.drawing.version", lambda n: "0" if n == library else installed(n))
    assert fingerprint(root / "depth") != before


@pytest.mark.parametrize("file", ["figures/operations.py", "report/pages.py"])
def test_the_code_of_another_figure_or_of_the_page_changes_nothing(
    file: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(root / "depth")
    copy = tmp_path / "analysis"
    shutil.copytree(drawing.CODE, copy)
    monkeypatch.setattr(drawing, "CODE", copy)
    (copy / file).write_text("# another idea\n")
    assert fingerprint(root / "depth") == before


def test_a_figure_that_was_deleted_is_drawn_again(root: Path, out: Path) -> None:
    run(root, out, "depth")
    (out / "depth.pdf").unlink()
    run(root, out, "depth")
    assert (out / "depth.pdf").exists()


def test_a_missing_sweep_is_named_with_its_command_and_the_others_are_drawn(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, out) == 1
    said = {line.split(":")[0]: line for line in lines(capsys)}
    assert said["two_phase"] == (
        f"two_phase: not drawn: no results in {root}/two_phase; "
        "run `tfc run sweeps/figures/two_phase.yaml` first"
    )
    assert "drawn" in said["depth"]
    assert (out / "depth.png").exists()


def test_unfinished_results_are_drawn_and_said_to_be_unfinished(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str], write_results: Any, plateau_of: Any
) -> None:
    configs = [
        {"depth": 3, "seed": s, "status": status}
        for s, status in enumerate(("done", "running", "diverged"))
    ]
    write_results(root / "depth", configs, lambda run: (plateau_of(200, 500), 200.0))
    run(root, out, "depth")
    assert lines(capsys)[-1].endswith("(of unfinished results: 1 of 3 runs)")


def test_an_unknown_figure_is_refused_with_the_nearest_name(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, out, "dept") == 2
    assert "Did you mean 'depth'?" in capsys.readouterr().err
    with pytest.raises(InputError, match="no figure 'dept'"):
        build.build(["dept"], root, out)


def test_the_page_names_the_origin_of_a_figure_and_escapes_what_it_shows(
    root: Path, out: Path
) -> None:
    (root / "depth" / "manifest.json").write_text(
        '{"git": "<b>0123abc</b>", "versions": {"jax": "0.10.2", "numpy": "2.4"}}'
    )
    run(root, out, "depth")
    page = (out / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "<code>tfc run sweeps/figures/depth.yaml</code>" in page
    assert "<code>python -m analysis.build depth</code>" in page
    assert "6 done" in page
    assert "jax 0.10.2, numpy 2.4" in page
    assert "&lt;b&gt;0123abc&lt;/b&gt;" in page
    assert drawing.title_and_caption(drawing.figure_module("depth"))[0] in page
    assert "Not drawn yet: " in page


def test_the_page_depends_on_the_results_and_not_on_when_a_figure_was_drawn(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = root / "depth" / "manifest.json"
    manifest.write_text('{"git": "commit-a"}')
    run(root, out, "depth")
    manifest.write_text('{"git": "commit-b", "earlier": [{"git": "commit-0"}]}')
    run(root, out, "depth")
    assert lines(capsys)[-1] == "depth: unchanged"
    page = (out / "report.html").read_bytes()
    assert b"commit-a" not in page
    assert page.count(b"commit-b") == 2  # of the figure, and of the sweep
    assert page.count(b"git commit-0") == 2
    shutil.rmtree(out)
    run(root, out, "depth")
    assert (out / "report.html").read_bytes() == page


def test_a_figure_of_other_results_is_not_shown_beside_their_facts(
    root: Path, out: Path, write_results: Any, plateau_of: Any
) -> None:
    def write(end: float) -> None:
        write_results(root / "two_phase", [{}], lambda run: (plateau_of(end, 300), end))

    write(100)
    build.build(["depth", "two_phase"], root, out, processes=1)
    assert (out / "report.html").read_text().count("<img") == 2
    write(150)
    run(root, out, "depth")
    page = (out / "report.html").read_text()
    assert page.count("<img") == 1
    assert "so not shown: python -m analysis.build two_phase." in page


def test_figures_stay_on_record_if_the_verdicts_fail(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(build, "judge", fail)
        with pytest.raises(ZeroDivisionError):
            run(root, out, "depth")
    assert run(root, out, "depth") == 0
    assert lines(capsys)[-1] == "depth: unchanged"


def test_a_second_build_writes_nothing(root: Path, out: Path) -> None:
    def written() -> dict[str, int]:
        files = [*out.iterdir(), root / "depth" / "analysis.parquet"]
        return {file.name: file.stat().st_mtime_ns for file in files if file.name != ".build.json"}

    run(root, out, "depth")
    before = written()
    run(root, out, "depth")
    assert written() == before


def test_building_from_nothing_gives_the_same_files_again(root: Path, out: Path) -> None:
    run(root, out, "depth")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {"depth.png", "depth.pdf", "claims.parquet", "report.html"} < before.keys()
    shutil.rmtree(out)
    run(root, out, "depth")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_page_and_verdicts_are_made_again_only_when_something_changed(
    root: Path, out: Path, verdicts: list[list[str]], write_results: Any, plateau_of: Any
) -> None:
    pages: list[str] = []

    def page(*given: Any) -> str:
        pages.append("written")
        return "<!doctype html>"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "figures_page", page)
        run(root, out, "depth")
        run(root, out, "depth")
        assert (len(pages), verdicts) == (1, [["depth"]])
        (out / "report.html").unlink()
        (out / "claims.parquet").unlink()
        run(root, out, "depth")
        assert (len(pages), len(verdicts)) == (2, 2)
        configs = [{"depth": 4, "seed": s} for s in range(3)]
        write_results(root / "depth", configs, lambda run: (plateau_of(100, 500), 100.0))
        run(root, out, "depth")
    assert (len(pages), len(verdicts)) == (3, 3)


def test_a_profile_has_its_own_sweeps_results_and_folder(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (root / "depth").rename(root / "smoke_depth")
    assert build.main(["depth", "--profile", "smoke"]) == 0
    page = (tmp_path / "figures" / "smoke" / "report.html").read_text()
    assert "sweeps/smoke/depth.yaml" in page
    assert "python -m analysis.build depth --profile smoke" in page
    assert "<title>tfc_jax: figures and verdicts, smoke profile</title>" in page
    assert build.main(["depth", "--profile", "paper"]) == 1
    assert "run `tfc run sweeps/paper/depth.yaml` first" in lines(capsys)[-1]
    assert PROFILES["default"].out == Path("figures")


def test_two_processes_draw_the_same_files_as_one(
    tmp_path: Path, figure_results: dict[str, Results]
) -> None:
    root = figure_results["depth"].path.parent
    names = ["depth", "operations"]
    for processes in (1, 2):
        build.build(names, root, tmp_path / str(processes), processes=processes)
    for name in names:
        one, two = ((tmp_path / n / f"{name}.png").read_bytes() for n in "12")
        assert one == two


def test_claims_are_those_of_the_profile(
    root: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = []

    def judge(claims: object, *_: object) -> pd.DataFrame:
        judged.append(claims)
        return pd.DataFrame({"verdict": pd.Series(dtype=str)})

    monkeypatch.setattr(build, "judge", judge)
    build.build(["depth"], root, out, PROFILES["paper"])
    assert judged == [read_claims(profile=PROFILES["paper"])]


def test_claims_without_results_are_missing_only_from_a_whole_build(
    root: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "judge", lambda *_: pd.DataFrame({"verdict": ["NOT JUDGED"]}))
    monkeypatch.setattr(build, "claim_sweeps", lambda _: ["nowhere"])
    monkeypatch.setattr(build, "figures_page", lambda *_: "")
    claims = build.build(["depth"], root, out)[-1]
    assert (claims.line, claims.ok) == ("judged: 1 NOT JUDGED", True)
    monkeypatch.setattr(build, "figure_names", lambda: ("depth",))
    assert [o.ok for o in build.build([], root, out)] == [True, False]


def test_the_page_keeps_figures_that_were_drawn_before(
    out: Path, figure_results: dict[str, Results]
) -> None:
    root = figure_results["depth"].path.parent
    run(root, out, "depth")
    run(root, out, "operations")
    page = (out / "report.html").read_text()
    assert page.count("<img") == 2
    assert results_page(figure_results["operations"]).count("<img") == 2


def test_a_build_without_any_results_leaves_verdicts_and_page_alone(
    root: Path, out: Path, tmp_path: Path
) -> None:
    run(root, out, "depth")
    made = {file: (out / file).read_bytes() for file in ("claims.parquet", "report.html")}
    assert run(tmp_path / "mistyped", out, "depth") == 1
    assert {file: (out / file).read_bytes() for file in made} == made
