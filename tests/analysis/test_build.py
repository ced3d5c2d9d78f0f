"""What is drawn, when, and what is said."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from analysis import build, style
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


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def run(root: Path, out: Path, *names: str) -> int:
    return build.main([*names, "--results", str(root), "--out", str(out)])


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


@pytest.mark.parametrize("file", ["phases.py", "figures/depth.py"])
def test_new_code_changes_the_fingerprint(
    file: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = build.fingerprint("depth", [root / "depth"])
    copy = tmp_path / "analysis"
    shutil.copytree(build.CODE, copy)
    monkeypatch.setattr(build, "CODE", copy)
    assert build.fingerprint("depth", [root / "depth"]) == before
    (copy / file).write_text("# another idea\n")
    assert build.fingerprint("depth", [root / "depth"]) != before


def test_the_code_of_another_figure_changes_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = build.fingerprint("depth", [root / "depth"])
    copy = tmp_path / "analysis"
    shutil.copytree(build.CODE, copy)
    monkeypatch.setattr(build, "CODE", copy)
    (copy / "figures" / "operations.py").write_text("# another idea\n")
    assert build.fingerprint("depth", [root / "depth"]) == before


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


def test_the_gallery_needs_no_other_file_and_escapes_what_it_shows(root: Path, out: Path) -> None:
    (root / "depth" / "manifest.json").write_text(
        '{"git": "<b>0123abc</b>", "versions": {"jax": "0.10.2", "numpy": "2.4"}}'
    )
    run(root, out, "depth")
    page = (out / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page
    assert "python -m analysis.build depth" in page
    assert "sweeps/figures/depth.yaml" in page
    assert "6 done" in page
    assert "jax 0.10.2, numpy 2.4" in page
    assert "&lt;b&gt;0123abc&lt;/b&gt;" in page
    assert build.title_and_caption(build.figure_module("depth"))[0] in page


def test_building_from_nothing_gives_the_same_gallery_again(root: Path, out: Path) -> None:
    run(root, out, "depth")
    page = (out / "report.html").read_bytes()
    run(root, out, "depth")
    assert (out / "report.html").read_bytes() == page
    shutil.rmtree(out)
    run(root, out, "depth")
    assert (out / "report.html").read_bytes() == page


def test_the_gallery_keeps_figures_that_were_drawn_before(
    out: Path, figure_results: dict[str, Results]
) -> None:
    root = figure_results["depth"].path.parent
    run(root, out, "depth")
    run(root, out, "operations")
    page = (out / "report.html").read_text()
    assert page.count("<img") == 2
    assert results_page(figure_results["operations"]).count("<img") == 2
