"""The pages of the API: they build without a warning and hold what a user may call."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tfc_jax
from analysis.drawing import figure_names
from tests.sweeps import ROOT
from tfc_jax import registry


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of pages."""
    folder = tmp_path_factory.mktemp("docs")
    answer = subprocess.run(
        [sys.executable, ROOT / "scripts" / "docs.py", folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    return folder


def plugins() -> list[str]:
    """Every metric, probe, architecture and figure by the path of its module."""
    packages = ("metrics", "probes", "models")
    names = [f"tfc_jax/{package}/{n}" for package in packages for n in registry.names(package)]
    return [*names, *(f"analysis/figures/{name}" for name in figure_names())]


@pytest.mark.slow
def test_the_pages_hold_everything_that_a_user_calls_or_adds(pages: Path) -> None:
    front = (pages / "tfc_jax.html").read_text()
    for name in tfc_jax.__all__:
        assert f'id="{name}"' in front, name
    for plugin in plugins():
        assert (pages / f"{plugin}.html").exists(), plugin
    survival = (pages / "analysis" / "survival.html").read_text()
    assert 'id="kaplan_meier"' in survival
    assert "load_sweep" in (pages / "search.js").read_text()


@pytest.mark.slow
def test_docstrings_are_shown_by_their_sections(pages: Path) -> None:
    page = (pages / "tfc_jax" / "results.html").read_text()
    assert '<h6 id="raises">Raises:</h6>' in page
    assert "InputError" in page
    assert not (pages / "tfc_jax" / "models" / "_layers.html").exists()
