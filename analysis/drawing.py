"""Draws one figure, and says what it was made of."""

import hashlib
import importlib
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import tfc_jax
from analysis import style
from tfc_jax.files import sha256, write_whole
from tfc_jax.results import Results

CODE = Path(__file__).parent
KINDS = ("png", "pdf")
PACKAGE = Path(tfc_jax.__file__).parent
READERS = ("results", "schema", "keys", "expression", "tables")  # how tables become numbers
LIBRARIES = (
    "matplotlib", "numpy", "pandas", "pyarrow", "scipy", "lifelines", "ruptures"
)  # fmt: skip
APART = ("figures", "report")  # folders that no figure's picture depends on as a whole


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


def data_files(results: Path) -> list[Path]:
    """Returns the Parquet files of the result tables, without the analysis made from them."""
    files = results.glob("*/*.parquet")
    return sorted(f for f in files if not f.name.startswith("."))


def data_lines(folder: Path) -> list[str]:
    """Returns name and hash of each data file of a results folder."""
    return [f"{file.relative_to(folder)} {sha256(file)}" for file in data_files(folder)]


def shared_code() -> list[Path]:
    """Returns the files of `analysis` that any figure or verdict may depend on."""
    files = [f for f in CODE.rglob("*.py") if f.relative_to(CODE).parts[0] not in APART]
    claims = [f for f in CODE.rglob("*.yaml") if f.relative_to(CODE).parts[0] not in APART]
    return sorted([*files, *claims, *(CODE / "figures").glob("_*.py")])


def package_code() -> list[Path]:
    """Returns the files of `tfc_jax` on which numbers of the analysis depend."""
    readers = [PACKAGE / f"{name}.py" for name in READERS]
    return [*readers, *sorted((PACKAGE / "theory").glob("*.py"))]


def fingerprint(code: Iterable[Path], data: Iterable[str]) -> str:
    """Returns a hash of everything that a figure is made of: data, code, libraries."""
    lines = [f"{name} {version(name)}" for name in LIBRARIES]
    lines += [f"{file.relative_to(PACKAGE)} {sha256(file)}" for file in package_code()]
    lines += [f"{file.relative_to(CODE)} {sha256(file)}" for file in code]
    return hashlib.sha256("\n".join([*lines, *data]).encode()).hexdigest()


def figure_code(name: str) -> list[Path]:
    """Returns the files whose change may change a figure."""
    return [*shared_code(), CODE / "figures" / f"{name}.py"]


def draw(name: str, results: dict[str, Results], out: Path) -> None:
    """Writes a figure as PNG and PDF, each in one move."""
    with style.theme():
        figure = figure_module(name).draw(results)
        for kind in KINDS:
            write_whole(out / f"{name}.{kind}", style.render(figure, kind))


def unfinished(results: Sequence[Results]) -> str:
    """Says so when a figure shows results that are not complete."""
    status = [s for one in results for s in one.runs["status"]]
    left = sum(s not in ("done", "diverged") for s in status)
    return f" (of unfinished results: {left} of {len(status)} runs)" if left else ""
