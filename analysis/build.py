"""Draws the figures whose data or code changed: `python -m analysis.build [NAME ...]`."""

import argparse
import hashlib
import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypedDict

import matplotlib

from analysis import style
from analysis.phases import write_analysis
from analysis.report import Picture, gallery, provenance
from tfc_jax.errors import InputError, nearest
from tfc_jax.files import sha256, write_whole
from tfc_jax.results import Results, open_results

CODE = Path(__file__).parent
KINDS = ("png", "pdf")
STATE = ".build.json"


class Drawn(TypedDict):
    """What a figure was drawn from."""

    fingerprint: str
    facts: dict[str, str]


State = dict[str, Drawn]


@dataclass(frozen=True)
class Outcome:
    """What became of one figure, in one line."""

    name: str
    line: str
    ok: bool


def figure_names() -> tuple[str, ...]:
    """Returns the figures there are: the public files of `analysis/figures`."""
    files = (CODE / "figures").glob("*.py")
    return tuple(sorted(f.stem for f in files if not f.stem.startswith("_")))


def figure_module(name: str) -> ModuleType:
    """Imports one figure file."""
    return importlib.import_module(f"analysis.figures.{name}")


def title_and_caption(module: ModuleType) -> tuple[str, tuple[str, ...]]:
    """Returns the first line of the docstring, and its other paragraphs each as one line."""
    title, *paragraphs = (module.__doc__ or "").strip().split("\n\n")
    return title.strip(), tuple(" ".join(p.split()) for p in paragraphs)


def sweep_file(sweep: str) -> str:
    """Returns where the YAML of a figure's sweep is, relative to the project."""
    return f"sweeps/figures/{sweep}.yaml"


def data_files(results: Path) -> list[Path]:
    """Returns the Parquet files of the result tables, without the analysis made from them."""
    files = results.glob("*/*.parquet")
    return sorted(f for f in files if not f.name.startswith("."))


def fingerprint(name: str, folders: Sequence[Path]) -> str:
    """Returns a hash of everything that a figure is made of: data, analysis code, matplotlib."""
    code = [*CODE.glob("*.py"), CODE / "figures" / f"{name}.py"]
    lines = [f"matplotlib {matplotlib.__version__}"]
    lines += [f"{file.name} {sha256(file)}" for file in sorted(code)]
    for folder in folders:
        lines += [f"{file.relative_to(folder)} {sha256(file)}" for file in data_files(folder)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def build(names: Sequence[str], root: Path, out: Path) -> list[Outcome]:
    """Draws what changed, then the gallery of all figures that are there.

    Args:
      names: figures; none means all.
      root: the folder with one results folder per sweep.
      out: where PNG, PDF, report.html and the record of what was drawn go.
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
    state = _read_state(out)
    outcomes = [_build_one(name, root, out, state) for name in names or known]
    write_whole(out / STATE, json.dumps(dict(sorted(state.items())), indent=1).encode())
    pictures = [_picture(name, out, state) for name in known if _drawn(name, out, state)]
    write_whole(out / "report.html", gallery(pictures).encode())
    return outcomes


def _read_state(out: Path) -> State:
    path = out / STATE
    state: State = json.loads(path.read_text()) if path.exists() else {}
    return state


def _build_one(name: str, root: Path, out: Path, state: State) -> Outcome:
    module = figure_module(name)
    folders = {sweep: root / sweep for sweep in module.SWEEPS}
    absent = [sweep for sweep, folder in folders.items() if not any(folder.glob("steps/*-*"))]
    if absent:
        commands = " and ".join(f"`tfc run {sweep_file(sweep)}`" for sweep in absent)
        missing = " and ".join(str(folders[sweep]) for sweep in absent)
        return Outcome(name, f"not drawn: no results in {missing}; run {commands} first", False)
    mark = fingerprint(name, list(folders.values()))
    if _drawn(name, out, state) and state[name]["fingerprint"] == mark:
        return Outcome(name, "unchanged", True)
    results = {sweep: _analysed(folder) for sweep, folder in folders.items()}
    _draw(module, name, results, out)
    facts = {sweep: provenance(results[sweep]) for sweep in results}
    state[name] = {"fingerprint": mark, "facts": _merged(facts)}
    return Outcome(name, f"drawn: {out / name}.png and .pdf{_unfinished(results)}", True)


def _analysed(folder: Path) -> Results:
    write_analysis(open_results(folder))
    return open_results(folder)


def _draw(module: ModuleType, name: str, results: dict[str, Results], out: Path) -> None:
    with style.theme():
        figure = module.draw(results)
        for kind in KINDS:
            write_whole(out / f"{name}.{kind}", style.render(figure, kind))


def _merged(facts: dict[str, dict[str, str]]) -> dict[str, str]:
    """Facts of several sweeps in one list; the sweep's name is added where there are several."""
    if len(facts) == 1:
        ((sweep, only),) = facts.items()
        return {"sweep": sweep_file(sweep), **only}
    return {f"{sweep}: {key}": value for sweep, own in facts.items() for key, value in own.items()}


def _unfinished(results: dict[str, Results]) -> str:
    """Says so when a figure shows results that are not complete."""
    status = [s for one in results.values() for s in one.runs["status"]]
    left = sum(s not in ("done", "diverged") for s in status)
    return f" (of unfinished results: {left} of {len(status)} runs)" if left else ""


def _drawn(name: str, out: Path, state: State) -> bool:
    return name in state and all((out / f"{name}.{kind}").exists() for kind in KINDS)


def _picture(name: str, out: Path, state: State) -> Picture:
    title, caption = title_and_caption(figure_module(name))
    png = (out / f"{name}.png").read_bytes()
    command = f"python -m analysis.build {name}"
    return Picture(name, title, caption, command, state[name]["facts"], png)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line per figure; 0 if all are there, 1 if a sweep is missing, 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m analysis.build", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures; default: all")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--out", type=Path, default=Path("figures"))
    given = parser.parse_args(arguments)
    try:
        outcomes = build(given.names, given.results, given.out)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    for outcome in outcomes:
        print(f"{outcome.name}: {outcome.line}")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
