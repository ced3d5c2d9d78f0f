"""Plug-ins are files: what a folder holds is what a sweep may name."""

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType

_ROOT = Path(__file__).parent


@cache
def names(package: str) -> tuple[str, ...]:
    """Returns the public modules of `tfc_jax/<package>`, sorted, without importing any."""
    files = (_ROOT / package).glob("*.py")
    return tuple(sorted(f.stem for f in files if not f.stem.startswith("_")))


def module(package: str, name: str) -> ModuleType:
    """Imports `tfc_jax.<package>.<name>`."""
    return importlib.import_module(f"tfc_jax.{package}.{name}")
