"""Draws the figures and judges the claims whose data or code changed, and writes report.html.

`python -m analysis.build [NAME ...] [--profile default|paper|smoke]`.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import TypedDict

import pandas as pd

from analysis import drawing
from analysis.claims import CLAIMS, claim_sweeps, judge, read_claims, write_claims
from analysis.drawing import KINDS, figure_module, figure_names, title_and_caption
from analysis.profiles import PROFILES, Profile
from analysis.report import Picture, figures_page, provenance
from analysis.report.tables import verdict_counts
from analysis.sweeps import Sweeps
from tfc_jax.console import echo
from tfc_jax.errors import InputError, nearest
from tfc_jax.files import sha256, write_whole
from tfc_jax.results import Results, open_results

STATE = ".build.json"
PAGE = "report.html"
PROCESSES = 2


class State(TypedDict):
    """Fingerprints of what the files of an output folder were made from."""

    figures: dict[str, str]
    claims: str
    page: str


@dataclass(frozen=True)
class Outcome:
    """What became of one figure, or of the claims, in one line."""

    name: str
    line: str
    ok: bool


class Builder:
    """Brings one output folder up to date with one profile's results."""

    def __init__(self, root: Path, out: Path, profile: Profile, processes: int) -> None:
        self._out = out
        self._profile = profile
        self._processes = processes
        self._sweeps = Sweeps(root, profile)
        self._state = _read_state(out)
        self._claims = read_claims(profile=profile)

    @cached_property
    def _all_sweeps(self) -> list[str]:
        """The sweeps of all figures and claims that have results, in this order."""
        wanted = [sweep for name in figure_names() for sweep in figure_module(name).SWEEPS]
        wanted += claim_sweeps(self._claims)
        return [sweep for sweep in dict.fromkeys(wanted) if self._sweeps.there(sweep)]

    def figures(self, names: Sequence[str]) -> list[Outcome]:
        """Draws those of the named figures that changed."""
        outcomes: dict[str, Outcome] = {}
        changed: list[str] = []
        for name in names:
            sweeps = figure_module(name).SWEEPS
            if absent := [sweep for sweep in sweeps if not self._sweeps.there(sweep)]:
                outcomes[name] = self._missing(name, absent)
                continue
            if self._is_current(name):
                outcomes[name] = Outcome(name, "unchanged", True)
                continue
            changed.append(name)
        for name in self._draw(changed):
            self._state["figures"][name] = self._mark(name)
            self.save()
            results = self._sweeps.results(figure_module(name).SWEEPS)
            line = f"drawn: {self._out / name}.png and .pdf"
            line += drawing.unfinished(list(results.values()))
            outcomes[name] = Outcome(name, line, True)
        return [outcomes[name] for name in names]

    def _draw(self, names: Sequence[str]) -> Iterator[str]:
        """Yields each figure when it is drawn."""
        results = {name: self._sweeps.results(figure_module(name).SWEEPS) for name in names}
        if min(len(names), self._processes) < 2:
            for name in names:
                drawing.draw(name, results[name], self._out)
                yield name
            return
        with ProcessPoolExecutor(self._processes, mp_context=get_context("spawn")) as pool:
            folders = [{s: one.path for s, one in results[name].items()} for name in names]
            drawn = pool.map(_draw_from, names, folders, [self._out] * len(names))
            yield from (name for name, _ in zip(names, drawn, strict=True))

    def _mark(self, name: str) -> str:
        """What a figure is made of now."""
        data = self._sweeps.data(figure_module(name).SWEEPS)
        return drawing.fingerprint(drawing.figure_code(name), data)

    def _is_current(self, name: str) -> bool:
        """Whether the figure is there, drawn from the results and by the code of now."""
        there = all(map(self._sweeps.there, figure_module(name).SWEEPS))
        return there and self._drawn(name) and self._state["figures"][name] == self._mark(name)

    def _missing(self, name: str, absent: Sequence[str]) -> Outcome:
        files = [self._profile.sweep_file(sweep) for sweep in absent]
        commands = " and ".join(f"`tfc run {file}`" for file in files)
        missing = " and ".join(str(self._sweeps.folder(sweep)) for sweep in absent)
        return Outcome(name, f"not drawn: no results in {missing}; run {commands} first", False)

    def _facts(self, results: dict[str, Results]) -> dict[str, str]:
        """Facts of several sweeps in one list; the sweep's name is added if there are several."""
        facts = {
            sweep: {"sweep": self._profile.sweep_file(sweep), **provenance(one)}
            for sweep, one in results.items()
        }
        if len(facts) == 1:
            return next(iter(facts.values()))
        return {f"{sweep}: {k}": value for sweep, own in facts.items() for k, value in own.items()}

    def _drawn(self, name: str) -> bool:
        files = [self._out / f"{name}.{kind}" for kind in KINDS]
        return name in self._state["figures"] and all(file.exists() for file in files)

    def claims(self) -> Outcome:
        """Judges all claims if anything that they rest on changed, and writes their table.

        Without any results what was judged before stays.
        """
        if self._stays(CLAIMS):
            return Outcome(
                "claims", "not judged: there are no results; earlier verdicts stay", False
            )
        mark = drawing.fingerprint(drawing.shared_code(), self._sweeps.data(self._all_sweeps))
        path = self._out / CLAIMS
        changed = not path.exists() or self._state["claims"] != mark
        if changed:
            results = self._sweeps.results(self._all_sweeps)
            write_claims(judge(self._claims, results, self._profile), path)
            self._state["claims"] = mark
        claims = pd.read_parquet(path)
        line = f"{'judged' if changed else 'unchanged'}: {verdict_counts(claims) or 'none'}"
        complete = all(map(self._sweeps.there, claim_sweeps(self._claims)))
        return Outcome("claims", line, complete)

    def _stays(self, file: str) -> bool:
        """Whether a file is there and no results are, by which it could be made anew."""
        return not self._all_sweeps and (self._out / file).exists()

    def page(self) -> None:
        """Writes report.html, without figures that are out of date, if anything on it changed."""
        if self._stays(PAGE):
            return
        shown = [name for name in figure_names() if self._is_current(name)]
        mark = self._page_mark(shown)
        path = self._out / PAGE
        if path.exists() and self._state["page"] == mark:
            return
        claims = pd.read_parquet(self._out / CLAIMS)
        text = figures_page(
            f"tfc_jax: figures and verdicts, {self._profile.name} profile",
            [self._picture(name) for name in shown],
            self._sweeps.results(self._all_sweeps),
            claims,
            self._left_out(shown),
        )
        write_whole(path, text.encode())
        self._state["page"] = mark

    def _left_out(self, shown: Sequence[str]) -> list[str]:
        """Sentences on the figures that the page does not show."""
        missing = [name for name in figure_names() if name not in shown]
        old = [name for name in missing if self._drawn(name)]
        new = [name for name in missing if name not in old]
        notes = [f"Not drawn yet: {', '.join(new)}."] if new else []
        if old:
            command = f"python -m analysis.build {' '.join(old)}{self._profile.option}"
            notes.append(f"Drawn from other results or by other code, so not shown: {command}.")
        return notes

    def _page_mark(self, shown: Sequence[str]) -> str:
        folder = drawing.CODE / "report"
        files = [f for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts]
        lines = [f"{name} {version(name)}" for name in ("plotly", "jinja2")]
        lines += [*self._left_out(shown), self._state["claims"]]
        for sweep in self._all_sweeps:
            manifest = self._sweeps.folder(sweep) / "manifest.json"
            lines += [sha256(manifest)] if manifest.exists() else []
        for name in shown:  # the PNG may come from another version of a library
            lines += [name, self._state["figures"][name], sha256(self._out / f"{name}.png")]
        code = [*drawing.shared_code(), *sorted(files)]
        return drawing.fingerprint(code, [*lines, *self._sweeps.data(self._all_sweeps)])

    def _picture(self, name: str) -> Picture:
        title, caption = title_and_caption(figure_module(name))
        commands = [f"tfc run {self._profile.sweep_file(s)}" for s in figure_module(name).SWEEPS]
        commands += [f"python -m analysis.build {name}{self._profile.option}"]
        facts = self._facts(self._sweeps.results(figure_module(name).SWEEPS))
        png = (self._out / f"{name}.png").read_bytes()
        return Picture(name, title, caption, tuple(commands), facts, png)

    def save(self) -> None:
        """Writes down what everything was made from."""
        text = json.dumps(self._state, indent=1, sort_keys=True)
        write_whole(self._out / STATE, text.encode())


def _draw_from(name: str, folders: dict[str, Path], out: Path) -> None:
    drawing.draw(name, {sweep: open_results(path) for sweep, path in folders.items()}, out)


def _read_state(out: Path) -> State:
    path = out / STATE
    found = json.loads(path.read_text()) if path.exists() else {}
    return {
        "figures": found.get("figures", {}),
        "claims": found.get("claims", ""),
        "page": found.get("page", ""),
    }


def build(
    names: Sequence[str],
    root: Path,
    out: Path,
    profile: Profile = PROFILES["default"],
    processes: int = PROCESSES,
) -> list[Outcome]:
    """Draws what changed, judges the claims, then writes the page of all that is there.

    Args:
      names: figures; none means all, and then claims without results count as missing.
      root: the folder with one results folder per sweep.
      out: where PNG, PDF, claims.parquet, report.html and the record of it all go.
    Raises:
      InputError: a name is not that of a figure.
    """
    known = figure_names()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"There is no figure '{unknown[0]}'.{nearest(unknown[0], known)} "
            f"Figures: {', '.join(known)}."
        )
    out.mkdir(parents=True, exist_ok=True)
    builder = Builder(root, out, profile, processes)
    outcomes = builder.figures(names or known)
    claims = builder.claims()
    builder.save()
    builder.page()
    builder.save()
    return [*outcomes, Outcome(claims.name, claims.line, claims.ok or bool(names))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line per figure; 0 if all are there, 1 if a sweep is missing, 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m analysis.build", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures; default: all")
    parser.add_argument("--profile", choices=PROFILES, default="default", help="set of sweeps")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--out", type=Path, help="default: figures, figures/paper, ...")
    given = parser.parse_args(arguments)
    profile = PROFILES[given.profile]
    try:
        outcomes = build(given.names, given.results, given.out or profile.out, profile)
    except InputError as error:
        echo(str(error), err=True)
        return 2
    for outcome in outcomes:
        echo(f"{outcome.name}: {outcome.line}")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
