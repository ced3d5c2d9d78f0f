"""From trained sweeps to figures, verdicts and page, all of it, twice."""

import io
import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis.build import build
from analysis.profiles import PROFILES
from tfc_jax.results import Results

FIGURES, CLAIMS, PAGE_BYTES = 20, 44, 15_000_000


def built(root: Path, out: Path) -> dict[str, bytes]:
    """Every file of a build of the smoke profile, which a second build leaves alone."""
    outcomes = build([], root, out, PROFILES["smoke"])
    assert all(outcome.ok for outcome in outcomes), outcomes
    assert all(outcome.line.startswith(("drawn", "judged")) for outcome in outcomes)
    page = (out / "report.html").stat()
    again = build([], root, out, PROFILES["smoke"])
    assert all(outcome.line.startswith("unchanged") for outcome in again)
    assert (out / "report.html").stat().st_mtime_ns == page.st_mtime_ns
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.slow
def test_a_build_from_nothing_gives_the_same_bytes_twice(
    tmp_path: Path, smoke_results: dict[str, Results]
) -> None:
    root, out = smoke_results["two_phase"].path.parent, tmp_path / "figures"
    first = built(root, out)
    shutil.rmtree(out)
    second = built(root, out)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    for kind in ("png", "pdf"):
        assert sum(name.endswith(f".{kind}") for name in first) == FIGURES
    assert pd.read_parquet(io.BytesIO(first["claims.parquet"]))["id"].nunique() == CLAIMS
    page = first["report.html"]
    assert len(page) <= PAGE_BYTES
    assert page.count(b"<img") == FIGURES
