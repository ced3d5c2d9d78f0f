"""Claims are judged by the rule fixed in their file, corrected within their family."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.claim_file import FILES, Claim, read_claims
from analysis.claim_tables import LOOK
from analysis.claims import SEEDS, judge, main, markdown_table, write_claims
from analysis.profiles import PROFILES
from analysis.verdicts import NOT_JUDGED, VERDICTS
from tfc_jax.config import load_sweep
from tfc_jax.keys import KINDS
from tfc_jax.results import Results

IDS = {
    "T": [f"T{i}" for i in range(1, 30)],
    "V": [f"V{i}" for i in range(1, 8)],
    "R": [f"R{i}" for i in range(1, 9)],
}
ROOT = Path(__file__).parents[2]
ENTRY = """\
  - id: {id}
    claim: Features grow alike
    source: paper
    sweep: {sweep}
    cells: {{plain: "{cell}"}}
    evidence: similarity.rise
    arguments: {{column: feature_cos_between}}
    statistic: change of the cosine
    unit: cosine
    direction: above
    no_effect: 0
    threshold: 0.02
    why: because
"""
CURVE = Callable[..., Any]


def entry(name: str, cell: str = "depth == 5", sweep: str = "one") -> str:
    return ENTRY.format(id=name, cell=cell, sweep=sweep)


def claims_of(folder: Path, *entries: str) -> tuple[Claim, ...]:
    path = folder / "claims.yaml"
    path.write_text("claims:\n" + "".join(entries))
    return read_claims(path)


@pytest.fixture(scope="module")
def results(
    tmp_path_factory: pytest.TempPathFactory,
    write_results: Callable[..., Results],
    plateau_of: CURVE,
) -> dict[str, Results]:
    """16 plateaus of about 500 steps over which the between-class cosine rises by 0.1."""

    def curve(run: dict[str, Any]) -> tuple[np.ndarray, float]:
        end = 500 + 5 * (run["seed"] % 16)
        return plateau_of(end, 900, run["seed"]), end

    runs = [{"depth": 5, "seed": 2000 + seed} for seed in range(SEEDS)]
    runs += [{"depth": 7, "seed": seed} for seed in range(4)]
    path = tmp_path_factory.mktemp("claims") / "one"
    return {"one": write_results(path, runs, curve, every=25)}


def test_a_planted_rise_is_supported(tmp_path: Path, results: dict[str, Results]) -> None:
    row = judge(claims_of(tmp_path, entry("T4")), results).iloc[0]
    assert row["verdict"] == "SUPPORTED"
    assert 0.05 < row["low"] < row["effect"] < row["high"] < 0.12
    assert (row["n"], row["rehearsal"]) == (SEEDS, False)
    assert row["sweep_file"] == "sweeps/figures/one.yaml"
    assert row["cells"] == "plain: depth == 5"


def test_pilot_seeds_are_called_a_rehearsal(tmp_path: Path, results: dict[str, Results]) -> None:
    row = judge(claims_of(tmp_path, entry("T4", "depth == 7")), results).iloc[0]
    assert (row["n"], row["rehearsal"], row["verdict"]) == (4, True, "INCONCLUSIVE")


def test_p_is_corrected_within_the_family(tmp_path: Path, results: dict[str, Results]) -> None:
    frame = judge(claims_of(tmp_path, entry("T4"), entry("T5"), entry("V1")), results)
    assert np.allclose(frame["p_holm"] / frame["p"], [2, 2, 1])


def test_a_claim_without_a_sweep_is_not_judged_and_says_what_to_run(
    tmp_path: Path, results: dict[str, Results]
) -> None:
    frame = judge(claims_of(tmp_path, entry("T4"), entry("T5", sweep="two")), results)
    assert frame["verdict"].tolist() == ["SUPPORTED", NOT_JUDGED]
    assert frame["detail"][1] == "no results of two; run `tfc run sweeps/figures/two.yaml`"
    assert frame["p_holm"][0] == 2 * frame["p"][0]  # it counts in the family with p = 1
    assert np.isnan(frame["p_holm"][1])


def test_a_claim_without_runs_or_columns_is_not_judged(
    tmp_path: Path, results: dict[str, Results]
) -> None:
    other_column = entry("T5").replace("feature_cos_between", "erank")
    frame = judge(claims_of(tmp_path, entry("T4", "depth == 8"), other_column), results)
    assert frame["verdict"].tolist() == [NOT_JUDGED, NOT_JUDGED]
    assert "'plain' (depth == 8)" in frame["detail"][0]
    assert "erank" in frame["detail"][1]


def test_the_weakest_part_is_shown_and_all_are_listed(
    tmp_path: Path, results: dict[str, Results]
) -> None:
    parts = '    parts: {strong: {}, weak: {cells: {other: "depth == 7"}}}\n'
    row = judge(claims_of(tmp_path, entry("T4") + parts), results).iloc[0]
    assert (row["verdict"], row["n"]) == ("INCONCLUSIVE", 4)
    assert row["p"] == pytest.approx(0.125)  # the larger one: 2 / 2^4
    assert row["detail"].startswith("1 of 2 parts hold alone (strong: 0.")
    assert "Weakest, weak: " in row["detail"]


def test_cells_of_one_name_in_several_parts_are_all_listed(
    tmp_path: Path, results: dict[str, Results]
) -> None:
    parts = '    parts: {strong: {}, again: {}, weak: {cells: {plain: "depth == 7"}}}\n'
    row = judge(claims_of(tmp_path, entry("T4") + parts), results).iloc[0]
    assert row["cells"] == "plain: depth == 5; plain: depth == 7"


def test_the_file_of_verdicts_has_the_same_bytes_twice(
    tmp_path: Path, results: dict[str, Results]
) -> None:
    claims = claims_of(tmp_path, entry("T4"), entry("T5", sweep="two"))
    for name in ("a", "b"):
        write_claims(judge(claims, results), tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert pd.read_parquet(tmp_path / "a.parquet")["verdict"].tolist() == ["SUPPORTED", NOT_JUDGED]


def test_the_table_in_markdown_has_a_line_per_claim(
    tmp_path: Path, results: dict[str, Results]
) -> None:
    frame = judge(claims_of(tmp_path, entry("T4"), entry("T5", sweep="two")), results)
    head, rule, first, second = markdown_table(frame).splitlines()
    assert head.count("|") == rule.count("|") == first.count("|") == second.count("|")
    assert first.startswith("| T4 | Features grow alike | SUPPORTED | 0.")
    assert second == "| T5 | Features grow alike | NOT JUDGED | - | 0 |"


def test_every_verdict_has_a_look() -> None:
    assert LOOK.keys() == set(VERDICTS)


def test_the_command_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["--results", str(tmp_path), "--out", str(tmp_path / "figures")]) == 1
    printed = capsys.readouterr().out
    assert "T4 was not judged: no results of two_phase; run `tfc run" in printed
    frame = pd.read_parquet(tmp_path / "figures" / "claims.parquet")
    assert len(frame) == len(read_claims())
    assert set(frame["verdict"]) == {NOT_JUDGED}


# The project's own claims.


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_claim_of_a_family_is_in_its_file_once(file: Path) -> None:
    family = file.stem[-1].upper()
    assert [claim.id for claim in read_claims(file)] == IDS[family]


@pytest.mark.parametrize("profile", ["default", "paper"])
def test_the_table_shows_the_cells_and_parts_of_its_profile(tmp_path: Path, profile: str) -> None:
    given = ["--profile", profile, "--results", str(tmp_path), "--out", str(tmp_path)]
    assert main(given) == 1
    row = pd.read_parquet(tmp_path / "claims.parquet").set_index("id").loc["T8"]
    assert row["sweep_file"] == PROFILES[profile].sweep_file("robustness")
    in_default, in_paper = "checkerboard: dataset == ", "cifar10: dataset == "
    shown = {"default": in_default in row["cells"], "paper": in_paper in row["cells"]}
    assert shown == {"default": profile == "default", "paper": profile == "paper"}


@pytest.mark.slow
@pytest.mark.parametrize("end", [np.nan, 20.0], ids=["none ended", "all ended"])
@pytest.mark.parametrize("diverging", [False, True])
def test_any_small_result_can_be_judged(
    tmp_path: Path, write_results: Callable[..., Results], end: float, diverging: bool
) -> None:
    """Two seeds, 300 steps: too few for any verdict, and nothing fails."""

    def curve(run: dict[str, Any]) -> tuple[np.ndarray, float]:
        loss = np.full(300, 2.30) if np.isnan(end) else 2.3 - 0.005 * np.arange(300)
        if diverging:
            loss[150:] = np.nan
        return loss, 20.0

    results = {}
    for sweep in dict.fromkeys(s for claim in read_claims() for s in claim.sweeps):
        path = ROOT / PROFILES["default"].sweep_file(sweep)
        runs = load_sweep(path).runs
        lowest = min(run.seed for run in runs)
        chosen = [run for run in runs if run.seed < lowest + 2]
        configs = [{k: getattr(run, k) for k in KINDS if k != "steps"} for run in chosen]
        results[sweep] = write_results(tmp_path / sweep, configs, curve, every=20)
    frame = judge(read_claims(), results)
    assert set(frame["verdict"]) <= set(VERDICTS)
    assert set(frame["verdict"]) == {"INCONCLUSIVE", NOT_JUDGED}
    assert frame["rehearsal"].sum() > 10


def test_a_mistyped_folder_of_results_replaces_no_verdicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "claims.parquet"
    kept.write_text("judged before")
    assert main(["--results", str(tmp_path / "nowhere"), "--out", str(tmp_path)]) == 1
    assert kept.read_text() == "judged before"
    assert "NOT JUDGED" in capsys.readouterr().out
