"""Which files a results folder has, by pack; each of its folders is looked through once."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tfc_jax.layout import Folder, pack_of, steps_of
from tfc_jax.schema import RESULT_TABLES


@dataclass(frozen=True)
class StoredFiles:
    """The files of one folder, by pack.

    Attributes:
      checkpoints: newest first.
      parts: data files of all tables but `runs`, in order.
      rows, weights: packs of which there are rows of the runs table, or final weights.
    """

    checkpoints: Mapping[str, Sequence[Path]]
    parts: Mapping[str, Sequence[Path]]
    rows: frozenset[str]
    weights: frozenset[str]

    @classmethod
    def of(cls, folder: Folder) -> "StoredFiles":
        tables = [path for table in RESULT_TABLES for path in folder.table(table).glob("*.parquet")]
        return cls(
            _by_pack(sorted(folder.checkpoints.glob("*.npz"), reverse=True)),
            _by_pack(sorted(filter(steps_of, tables))),
            frozenset(_by_pack(folder.runs.glob("*.*"))),
            frozenset(_by_pack(folder.params.glob("*.*"))),
        )

    @property
    def packs(self) -> list[str]:
        return sorted({*self.checkpoints, *self.parts, *self.rows, *self.weights})

    def of_packs(self, packs: Iterable[str]) -> Iterator[Path]:
        """Yields the checkpoints and data files of packs."""
        for pack in packs:
            yield from self.checkpoints.get(pack, ())
            yield from self.parts.get(pack, ())

    @property
    def all_parts(self) -> Iterator[Path]:
        return chain.from_iterable(self.parts.values())


def _by_pack(paths: Iterable[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        pack = pack_of(path)
        if pack:
            found[pack].append(path)
    return dict(found)
