"""The claims on variability and rank: all of them, and each with the runs that it needs."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.claim_file import Claim, read_claims
from tfc_jax import expression
from tfc_jax.config import load_sweep

FOLDER = Path(analysis.__file__).parent
SWEEPS = FOLDER.parent / "sweeps" / "figures"
CLAIMS = read_claims([FOLDER / "claims_v.yaml", FOLDER / "claims_r.yaml"])
FIRST_SEED = 2000  # pilots used those below


def planned(sweep: str) -> pd.DataFrame:
    return pd.DataFrame([asdict(run) for run in load_sweep(SWEEPS / f"{sweep}.yaml").runs])


def test_every_line_of_both_papers_is_a_claim() -> None:
    expected = [f"V{i}" for i in range(1, 8)] + [f"R{i}" for i in range(1, 9)]
    assert [claim.id for claim in CLAIMS] == expected


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_cell_has_16_seeds_that_no_pilot_used(claim: Claim) -> None:
    runs = {sweep: planned(sweep) for sweep in claim.sweeps}
    for name, part in claim.parts.items():
        table = runs[part.sweep]
        for cell, where in part.cells.items():
            mask = expression.parse(where, list(table.columns)).mask(table)
            seeds = table["seed"][mask]
            assert seeds.nunique() >= 16, (name, cell)
            assert seeds.min() >= FIRST_SEED


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_single_cells_hold_one_condition_but_for_their_depths(claim: Claim) -> None:
    """Where a claim speaks of one condition, a stray run of another would be averaged in."""
    free = {"seed", "depth"}
    for part in claim.parts.values():
        table = planned(part.sweep)
        for cell, where in part.cells.items():
            if cell == "all":
                continue
            mask = expression.parse(where, list(table.columns)).mask(table)
            counts = table[mask].drop(columns=list(free)).nunique(dropna=False)
            assert counts[counts > 1].empty, (cell, counts[counts > 1])


def test_trainability_is_judged_by_20_seeds() -> None:
    assert planned("variability")["seed"].nunique() >= 20
