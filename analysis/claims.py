"""Verdicts on the claims: `python -m analysis.claims [--results results] [--out figures]`."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.claim_file import Claim, Part, read_claims
from analysis.claim_tables import markdown_table, print_table, write_claims
from analysis.evidence import Cells, Evidence
from analysis.phases import with_phases
from analysis.profiles import PROFILES, Profile
from analysis.stats import holm
from analysis.sweeps import Sweeps
from analysis.verdicts import NOT_JUDGED, Rule, verdict_of_all, weakest
from tfc_jax.console import echo
from tfc_jax.errors import InputError
from tfc_jax.expression import parse
from tfc_jax.keys import KINDS
from tfc_jax.results import Results

__all__ = ["CLAIMS", "claim_sweeps", "judge", "markdown_table", "read_claims", "write_claims"]

CLAIMS = "claims.parquet"
SEEDS, FIRST_SEED = 16, 2000  # per cell; below 2000 are the seeds of pilots and trials


@dataclass(frozen=True)
class _Judged:
    """A claim with the evidence for its parts, or with the reason why there is none."""

    claim: Claim
    evidence: Mapping[str, Evidence]
    missing: str
    rehearsal: bool

    @property
    def parts(self) -> list[tuple[Rule, Evidence]]:
        return [(self.claim.parts[name].rule, found) for name, found in self.evidence.items()]

    @property
    def has_test(self) -> bool:
        """Whether any part has a p, once there are results; counts have none."""
        return any(not part.rule.count for part in self.claim.parts.values())

    @property
    def p(self) -> float:
        """The largest p of the parts; counts have none."""
        values = [found.p for rule, found in self.parts if not rule.count]
        return float(np.max(values)) if values and not self.missing else float("nan")


def claim_sweeps(claims: Sequence[Claim]) -> list[str]:
    """Returns the sweeps that claims are about, each once, in their order."""
    return list(dict.fromkeys(sweep for claim in claims for sweep in claim.sweeps))


def judge(
    claims: Sequence[Claim],
    results: Mapping[str, Results],
    profile: Profile = PROFILES["default"],
    *,
    fresh: bool = False,
) -> pd.DataFrame:
    """Judges every claim, as read for the profile; one row each, in order.

    p is the largest of a claim's parts (no correction between them is due, since all must hold),
    p_holm Holm's within the family, over the claims of that family that have a test, also those
    that could not be judged: fewer results make no p smaller. A claim without results is NOT JUDGED
    and says what to run.

    Args:
      fresh: analyse now, also where an analysis is stored.
    Returns:
      Columns id, family, claim, source, sweep, sweep_file, cells, statistic, effect, effect_unit,
      low, high, p, p_holm, n, direction, no_effect, threshold, verdict, rehearsal, detail, why,
      ours. Of a claim with parts, the numbers are those of its weakest part. `rehearsal`: fewer
      than 16 seeds in a cell, or seeds that pilots used.
    """
    runs = {sweep: with_phases(one, fresh=fresh) for sweep, one in results.items()}
    judged = [_judged(claim, results, runs, profile) for claim in claims]
    families = np.array([claim.family for claim in claims])
    p_holm = np.full(len(judged), np.nan)
    for family in np.unique(families):
        of_family = np.flatnonzero(families == family)
        tests = sum(judged[i].has_test for i in of_family)
        p_holm[of_family] = holm([judged[i].p for i in of_family], tests)
    rows = [_row(one, float(p), profile) for one, p in zip(judged, p_holm, strict=True)]
    return pd.DataFrame(rows)


def _judged(
    claim: Claim,
    results: Mapping[str, Results],
    runs: Mapping[str, pd.DataFrame],
    profile: Profile,
) -> _Judged:
    absent = [sweep for sweep in claim.sweeps if sweep not in results]
    if absent:
        commands = " and ".join(f"`tfc run {profile.sweep_file(sweep)}`" for sweep in absent)
        return _Judged(claim, {}, f"no results of {' and '.join(absent)}; run {commands}", False)
    evidence, rehearsal = {}, False
    for name, part in claim.parts.items():
        try:
            cells = _cells(part, results[part.sweep], runs[part.sweep])
            evidence[name] = part.judge(cells)
        except InputError as error:
            return _Judged(claim, {}, f"{name}: {error}" if name else str(error), False)
        rehearsal |= any(_is_rehearsal(frame) for frame in cells.runs.values())
    return _Judged(claim, evidence, "", rehearsal)


def _cells(part: Part, results: Results, runs: pd.DataFrame) -> Cells:
    frames = {}
    for name, text in part.cells.items():
        chosen = runs[parse(text, KINDS).mask(runs)].reset_index(drop=True)
        if chosen.empty:
            raise InputError(
                f"{results.path}: no run with recorded steps fits the cell '{name}' ({text}). "
                "Train the sweep that the claim names."
            )
        frames[name] = chosen
    return Cells(results, frames)


def _is_rehearsal(runs: pd.DataFrame) -> bool:
    return bool(runs["seed"].nunique() < SEEDS or (runs["seed"] < FIRST_SEED).any())


def _row(judged: _Judged, p_holm: float, profile: Profile) -> dict[str, Any]:
    claim = judged.claim
    if judged.missing:
        p_holm = np.nan
        name = next(iter(claim.parts))
        found = Evidence(np.nan, np.nan, np.nan, np.nan, 0, judged.missing)
        word, detail = NOT_JUDGED, judged.missing
    else:
        name = list(claim.parts)[weakest(judged.parts)]
        found = judged.evidence[name]
        word, detail = verdict_of_all(judged.parts, p_holm), _detail(judged, name)
    part = claim.parts[name]
    return {
        "id": claim.id,
        "family": claim.family,
        "claim": claim.claim,
        "source": claim.source,
        "sweep": ", ".join(claim.sweeps),
        "sweep_file": ", ".join(profile.sweep_file(sweep) for sweep in claim.sweeps),
        "cells": _cells_in_words(claim),
        "statistic": part.statistic,
        "effect": float(found.effect),
        "effect_unit": part.unit,
        "low": float(found.low),
        "high": float(found.high),
        "p": judged.p,
        "p_holm": p_holm,
        "n": int(found.n),
        "direction": part.rule.direction,
        "no_effect": float("nan") if part.rule.no_effect is None else part.rule.no_effect,
        "threshold": part.rule.threshold,
        "verdict": word,
        "rehearsal": judged.rehearsal,
        "detail": detail,
        "why": claim.why,
        "ours": claim.ours,
    }


def _cells_in_words(claim: Claim) -> str:
    """Every cell once; parts may give one name to different runs."""
    every = [cell for part in claim.parts.values() for cell in part.cells.items()]
    return "; ".join(f"{name}: {text}" for name, text in dict.fromkeys(every))


def _detail(judged: _Judged, weakest_name: str) -> str:
    """Of several parts: how many hold, each with its numbers, and the sentence of the weakest."""
    if len(judged.evidence) == 1:
        (only,) = judged.evidence.values()
        return only.detail
    pairs = zip(judged.evidence.items(), judged.parts, strict=True)
    words = {name: verdict_of_all([part], found.p) for (name, found), part in pairs}
    held = sum(word == "SUPPORTED" for word in words.values())
    each = "; ".join(
        f"{name}: {found.effect:.3g} [{found.low:.3g}, {found.high:.3g}] {words[name].lower()}"
        for name, found in judged.evidence.items()
    )
    last = judged.evidence[weakest_name].detail
    return f"{held} of {len(words)} parts hold alone ({each}). Weakest, {weakest_name}: {last}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints and writes the table; 0, or 1 if results of a sweep are missing, 2 on bad input.

    Without any results a table that is there stays.
    """
    parser = argparse.ArgumentParser(prog="python -m analysis.claims", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--out", type=Path, help="default: figures, figures/paper, ...")
    parser.add_argument("--profile", choices=PROFILES, default="default")
    given = parser.parse_args(arguments)
    profile = PROFILES[given.profile]
    sweeps = Sweeps(given.results, profile)
    try:
        claims = read_claims(profile=profile)
        there = [sweep for sweep in claim_sweeps(claims) if sweeps.there(sweep)]
        frame = judge(claims, sweeps.results(there), profile)
    except InputError as error:
        echo(str(error), err=True)
        return 2
    out = given.out or profile.out
    out.mkdir(parents=True, exist_ok=True)
    if there or not (out / CLAIMS).exists():  # a mistyped --results must not replace verdicts
        write_claims(frame, out / CLAIMS)
    print_table(frame)
    return 0 if set(claim_sweeps(claims)) == set(there) else 1


if __name__ == "__main__":
    sys.exit(main())
