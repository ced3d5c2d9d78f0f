"""Fits the data of a page into its limit: thinned by a fixed ladder, and the page says what is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from analysis.report.curves import SweepCurves
from analysis.report.detail import chosen
from analysis.report.embed import json_for_script
from analysis.report.film import Film, has_film
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
    films = [Film(s.results, s.name, s.groups) for s in sources if has_film(s.results)]
    sweeps = [SweepCurves(s.results, s.name, s.groups) for s in sources]
    descriptions = [source.description for source in sources]
    budget: float = limit - len(render(page).encode())
    excess = 0
    for _ in range(TRIES):
        curves, reels = _data(films, sweeps, descriptions, max(budget, 0))
        text = render(replace(page, curves=curves, films=reels))
        excess = len(text.encode()) - limit
        if excess <= 0:
            return text
        budget -= 1.5 * excess
    raise InputError(
        f"The page is {excess / 1e6:.1f} MB larger than the {limit / 1e6:.1f} MB allowed, however "
        "little data it shows. Show fewer sweeps or figures."
    )


def _data(
    films: Sequence[Film], sweeps: Sequence[SweepCurves], descriptions: Sequence[str], budget: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns curves and films: films in at most their share, curves in what they leave."""
    share = FILMS * budget / max(len(films), 1)
    reels = [reel for film in films if (reel := film.embedded(share))]
    left = budget - len(json_for_script(reels).encode())
    details = chosen([sweep.extent for sweep in sweeps], left)
    curves = [
        {"description": description} | sweep.embedded(detail)
        for description, sweep, detail in zip(descriptions, sweeps, details, strict=True)
    ]
    return curves, reels
