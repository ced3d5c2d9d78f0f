"""The cells of the project's own claims have the runs that they need, in every judged profile."""

from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from analysis.claim_file import read_claims
from analysis.claims import FIRST_SEED, SEEDS
from analysis.profiles import PROFILES
from tfc_jax.config import load_sweep
from tfc_jax.expression import parse
from tfc_jax.keys import KINDS

ROOT = Path(__file__).parents[2]
JUDGED_PROFILES = pytest.mark.parametrize("profile", ["default", "paper"])


@cache
def planned(profile: str, sweep: str) -> pd.DataFrame:
    runs = load_sweep(ROOT / PROFILES[profile].sweep_file(sweep)).runs
    return pd.DataFrame([{key: getattr(run, key) for key in KINDS} for run in runs])


@cache
def planned_cells(profile: str) -> dict[tuple[str, str, str], pd.DataFrame]:
    """The runs of every cell, by claim, part and cell."""
    found = {}
    for claim in read_claims(profile=PROFILES[profile]):
        for name, part in claim.parts.items():
            runs = planned(profile, part.sweep)
            for cell, text in part.cells.items():
                found[claim.id, name, cell] = runs[parse(text, KINDS).mask(runs)]
    return found


def mixed(runs: pd.DataFrame) -> set[str]:
    """Keys, other than the seed, in which the runs of a cell differ."""
    counts = runs.drop(columns="seed").nunique(dropna=False)
    return set(counts.index[counts > 1])


@JUDGED_PROFILES
def test_every_cell_has_16_seeds_that_no_pilot_used(profile: str) -> None:
    seeds = {cell: runs["seed"] for cell, runs in planned_cells(profile).items()}
    assert [cell for cell, of_cell in seeds.items() if of_cell.nunique() < SEEDS] == []
    assert [cell for cell, of_cell in seeds.items() if of_cell.min() < FIRST_SEED] == []


@JUDGED_PROFILES
def test_every_seed_of_a_cell_has_as_many_runs(profile: str) -> None:
    counts = {c: runs["seed"].value_counts() for c, runs in planned_cells(profile).items()}
    assert [cell for cell, of_cell in counts.items() if of_cell.nunique() != 1] == []


def test_no_cell_of_the_paper_profile_mixes_what_the_default_one_keeps_apart() -> None:
    """A part of the paper profile alone has one condition, so one run per seed."""
    default, paper = planned_cells("default"), planned_cells("paper")
    allowed = {cell: mixed(default[cell]) if cell in default else set() for cell in paper}
    stray = {cell: mixed(runs) - allowed[cell] for cell, runs in paper.items()}
    assert {cell: keys for cell, keys in stray.items() if keys} == {}


def test_smoke_reads_the_claims_of_the_default_profile() -> None:
    assert read_claims(profile=PROFILES["smoke"]) == read_claims()
