"""Writes the pages of the Python API from the docstrings.

Usage: python scripts/docs.py [FOLDER]     default: build/docs. Needs the extra `docs`.
"""

import importlib
import os
import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc
import pdoc.render

PACKAGES = ("tfc_jax", "analysis")
PUBLIC = rf"(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z]\w*)+"  # a name of ours without underscore
HOME = Path(__file__).parents[1] / "build" / "docs"


def show_all_modules(package: str) -> None:
    """Makes pdoc show all modules of a package that have no leading underscore.

    A package that says what `from it import *` gives (`__all__`) would show nothing else, so its
    modules are added there, and the names that it imports lazily are imported.
    """
    module = importlib.import_module(package)
    infos = [i for i in pkgutil.iter_modules(module.__path__) if not i.name.startswith("_")]
    exported = getattr(module, "__all__", None)
    if exported is not None:
        vars(module).update({name: getattr(module, name) for name in exported})
        vars(module)["__all__"] = list(dict.fromkeys([*exported, *(i.name for i in infos)]))
    for info in infos:
        if info.ispkg:
            show_all_modules(f"{package}.{info.name}")


def write(folder: Path) -> None:
    """Writes one page per module, an index and a search; what pdoc warns of is an error."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # pages need no accelerator
    for package in PACKAGES:
        show_all_modules(package)
    pdoc.render.configure(docformat="google", footer_text="tfc_jax: API from its docstrings")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module=r"pdoc\.")
        for foreign in (r".*'ArrayTree'", rf".* for (?!{PUBLIC}\. )"):
            # annotations of libraries, by names that only they know (the first is optax's)
            warnings.filterwarnings("ignore", message=f"Error parsing type annotation {foreign}")
        pdoc.pdoc(*PACKAGES, r"!.*\._", output_directory=folder)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HOME
    write(target)
    sys.stdout.write(f"{target / 'index.html'}\n")
