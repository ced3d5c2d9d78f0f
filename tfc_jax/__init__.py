"""Trains hundreds of small networks as one compiled program and records what happens inside them.

`load_sweep(path)`, `run(sweep, out=...)`, `open_results(path)`; the command line is `tfc`.
"""

from typing import Any

__all__ = ["load_sweep", "open_results", "run"]

_HOMES = {"load_sweep": "config", "open_results": "results", "run": "api"}


def __getattr__(name: str) -> Any:
    """Imports on first use, so that `import tfc_jax` and `tfc --help` are quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tfc_jax' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"tfc_jax.{_HOMES[name]}"), name)
