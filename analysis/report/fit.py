"""Fits the data of a page into its limit: thinned by a fixed ladder, and the page says what is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from analysis.report.curves import SweepCurves
from analysis.report.detail import chosen
from analysis.report.embed import json_for_script
from analysis.report.film import film, has_film
from analysis.report.page import Page, render
from tfc_jax.errors import InputError
from tfc_jax.results import Results

FILMS = 0.2  # of the bytes left for data (ours)
TRIES = 6


@dataclass(frozen=True)
class Source:
    """A sweep whose curves a page shows; `groups`: its runs with recorded steps, by condition."""

    results: Results
    name: str
    description: str
    groups: dict[str, pd.DataFrame]


def fitted(page: Page, sources: Sequence[Source], limit: int) -> str:
    """Renders with as much data of `sources` as the limit leaves beside all the rest.

    Raises:
      InputError: the page is larger than `limit` bytes with the least of data.
    """
    page = replace(page, plots=bool(sources))
    budget: float = limit - len(render(page).encode())
    excess = 0
    for _ in range(TRIES):
        text = render(_with_data(page, sources, max(budget, 0)))
        excess = len(text.encode()) - limit
        if excess <= 0:
            return text
        budget -= 1.5 * excess
    raise InputError(
        f"The page is {excess / 1e6:.1f} MB larger than the {limit / 1e6:.1f} MB allowed, however "
        "little data it shows. Show fewer sweeps or figures."
    )


def _with_data(page: Page, sources: Sequence[Source], budget: float) -> Page:
    """Adds films first, in at most their share, then curves in what is left."""
    filmed = [source for source in sources if has_film(source.results)]
    share = FILMS * budget / max(len(filmed), 1)
    reels = [film(source.results, source.name, source.groups, share) for source in filmed]
    films = [reel for reel in reels if reel]
    left = budget - len(json_for_script(films).encode())
    sweeps = [SweepCurves(s.results, s.name, s.groups) for s in sources]
    details = chosen([sweep.extent for sweep in sweeps], left)
    curves: list[dict[str, Any]] = [
        {"description": source.description} | sweep.embedded(detail)
        for source, sweep, detail in zip(sources, sweeps, details, strict=True)
    ]
    return replace(page, curves=curves, films=films)
