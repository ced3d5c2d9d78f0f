"""The file of verdicts: when claims are judged, and what a build says of them."""

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pandas as pd

from tfc_jax.results import Results

NAME = "claims.parquet"


def _claims() -> ModuleType | None:
    known = importlib.util.find_spec("analysis.claims")
    return importlib.import_module("analysis.claims") if known else None


def claim_sweeps() -> list[str]:
    """Returns the sweeps that claims are about, in their order."""
    module = _claims()
    claims = module.read_claims() if module else ()
    return list(dict.fromkeys(sweep for claim in claims for sweep in claim.sweeps))


def write_verdicts(results: Mapping[str, Results], profile: str, path: Path) -> None:
    """Judges every claim by these results and writes one row each to `path`."""
    module = _claims()
    if module is None:
        pd.DataFrame({"verdict": pd.Series(dtype=str)}).to_parquet(path)
        return
    module.write_claims(module.judge(module.read_claims(), results, profile), path)
