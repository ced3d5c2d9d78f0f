"""The verdicts on the page of one results folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from analysis.claim_file import read_claims
from analysis.own_claims import ALONE, NONE, own_claims
from analysis.profiles import PROFILES
from tfc_jax.cli import app
from tfc_jax.results import Results, open_results


@pytest.fixture
def two_phase(
    tmp_path: Path, write_results: Callable[..., Results], plateau_of: Callable[..., Any]
) -> Results:
    """Sixteen plateaus of the sweep about two phases, in a folder of another name."""

    def curve(run: Any) -> Any:
        return plateau_of(200, 500, run["seed"]), 200.0

    configs = [{"seed": seed} for seed in range(16)]
    write_results(tmp_path / "mine", configs, curve)
    return named(tmp_path / "mine", "two_phase")


def named(folder: Path, sweep: str) -> Results:
    (folder / "manifest.json").write_text(json.dumps({"name": sweep}))
    return open_results(folder)


def test_a_page_of_one_folder_shows_the_verdicts_on_its_sweep(two_phase: Results) -> None:
    answer = CliRunner().invoke(app, ["report", str(two_phase.path)])
    assert answer.exit_code == 0
    page = (two_phase.path / "report.html").read_text()
    assert 'id="claims-table"' in page
    assert ALONE in page
    assert sorted(path.name for path in two_phase.path.iterdir() if path.is_file()) == [
        "manifest.json",
        "report.html",
    ]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_the_claims_of_a_folder_are_those_of_its_sweep_alone(
    profile: Any, two_phase: Results
) -> None:
    results = named(two_phase.path, profile.prefix + "two_phase")
    frame, note = own_claims(results)
    own = [c.id for c in read_claims(profile=profile) if c.sweeps == ("two_phase",)]
    assert own
    assert note == ALONE
    assert frame is not None
    assert list(frame["id"]) == own
    assert set(frame["sweep_file"]) == {profile.sweep_file("two_phase")}


def test_a_sweep_without_claims_has_a_sentence_instead_of_verdicts(two_phase: Results) -> None:
    assert own_claims(named(two_phase.path, "quickstart")) == (None, NONE)
    CliRunner().invoke(app, ["report", str(two_phase.path)])
    page = (two_phase.path / "report.html").read_text()
    assert 'id="claims-table"' not in page
    assert NONE in page
