"""Tables and columns: names, types, units, meanings. One place for all of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column of one table, as Parquet metadata and `tfc show --columns` describe it."""

    name: str
    table: str
    unit: str
    meaning: str
    dtype: str = "float32"
