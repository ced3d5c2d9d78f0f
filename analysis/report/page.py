"""One HTML page from its blocks: everything it needs is inside it, and nothing else is allowed.

The content security policy forbids all requests, and runs only the scripts whose hashes it names.
"""

import base64
import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

from analysis.report.curves import NOTE
from analysis.report.embed import json_for_script
from analysis.report.tables import Table

HERE = Path(__file__).parent
LIMIT = 15_000_000
SCRIPTS = ("controls.js", "tables.js", "curves.js", "film.js")
_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


@dataclass(frozen=True)
class Picture:
    """A drawn figure and what its reader needs to know."""

    name: str
    title: str
    caption: tuple[str, ...]
    commands: tuple[str, ...]
    facts: Mapping[str, str]
    png: bytes

    @property
    def image(self) -> str:
        """The PNG in base64."""
        return base64.b64encode(self.png).decode()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the PNG's header."""
        width, height = struct.unpack(">II", self.png[16:24])
        return width, height


@dataclass(frozen=True)
class Page:
    """What a page shows, top to bottom; what is empty is left out.

    Attributes:
      plain: what the condition called plain is, by sweep.
      curves, films: by sweep, as `curves.js` and `film.js` read them.
      notes: what was left out of the page, and what is not recorded.
      facts: by sweep, where its numbers come from.
      plots: carry the library that draws curves and films.
    """

    title: str
    intro: str = ""
    claims: Table | None = None
    verdicts: str = ""
    pictures: Sequence[Picture] = ()
    conditions: Table | None = None
    plain: Sequence[str] = ()
    runs: Table | None = None
    curves: Sequence[Mapping[str, Any]] = ()
    films: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    plots: bool = False


def hash_source(script: str) -> str:
    """Returns how a content security policy names a script that may run."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def scripts(page: Page) -> list[str]:
    """The page's scripts; plotly only where something is plotted."""
    own = [(HERE / "static" / name).read_text() for name in SCRIPTS]
    return [get_plotlyjs(), *own] if page.plots else own


def policy(sources: Sequence[str]) -> str:
    """No request at all; images and styles inside the page; these scripts and no other."""
    hashes = " ".join(map(hash_source, sources))
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src {hashes}; base-uri 'none'; form-action 'none'"
    )


def render(page: Page) -> str:
    """Returns the page as HTML; the same bytes for the same content."""
    sources = scripts(page)
    return _PAGES.get_template("page.html").render(
        page=page,
        style=(HERE / "static" / "page.css").read_text(),
        scripts=sources,
        policy=policy(sources),
        curves_json=json_for_script(list(page.curves)),
        films_json=json_for_script(list(page.films)),
        curves_note=NOTE,
    )
