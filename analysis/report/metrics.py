"""The value columns of a results folder, in the order in which a page gives them up."""

from dataclasses import dataclass

import pyarrow.parquet as pq

from analysis.report.provenance import manifest
from tfc_jax.results import Results
from tfc_jax.schema import KEY_COLUMNS
from tfc_jax.untrusted import reading

TABLES = ("steps", "layers", "probe", "probe_layers")
# These come first, so that they are the last to be left out.
MAIN = (
    "loss",
    "feature_cos_between",
    "grad_cos_between",
    "grad_cos_within",
    "test_accuracy",
    "delta_norm",
    "common_strength_dw",
    "common_alignment",
    "weight_grad_cos",
    "cancellation",
    "accuracy",
    "feature_cos",
    "feature_cos_within",
    "dead_units",
    "eps_rank_abs_1em4",
    "erank",
    "nc1",
    "active_fraction",
    "common_strength_w",
    "test_loss",
)


@dataclass(frozen=True)
class Metric:
    """One value column of a results folder."""

    name: str
    table: str
    unit: str
    meaning: str

    @property
    def layered(self) -> bool:
        """Whether it has one value per layer."""
        return self.table in ("layers", "probe_layers")


def recorded(results: Results) -> tuple[Metric, ...]:
    """Returns the value columns that a sweep records, the main ones first."""
    described = {
        (table, column["name"]): (column.get("unit", ""), column.get("meaning", ""))
        for table, columns in manifest(results).get("schema", {}).items()
        for column in columns
    }
    found = [
        Metric(name, table, *described.get((table, name), ("", "")))
        for table in TABLES
        for name in value_columns(results, table)
    ]
    place = {name: i for i, name in enumerate(MAIN)}
    return tuple(sorted(found, key=lambda m: place.get(m.name, len(MAIN))))


def value_columns(results: Results, table: str) -> list[str]:
    """Returns the value columns of a table; none where it is not recorded."""
    files = sorted(results.path.glob(f"{table}/*.parquet"))
    names: list[str] = []
    for part in files[:1]:
        with reading(results.path, part):
            names = pq.read_schema(part).names
    keys = {key.name for key in KEY_COLUMNS[table]}
    return [name for name in names if name not in keys]
