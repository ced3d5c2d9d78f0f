"""Which files a results folder has, by pack; each of its folders is looked through once."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tfc_jax.contents import is_ours_inside
from tfc_jax.layout import Folder, pack_of, steps_of
from tfc_jax.schema import RESULT_TABLES


@dataclass(frozen=True)
class StoredFiles:
    """The files of one folder, by pack.

    Attributes:
      checkpoints: newest first.
      parts: data files of all tables but `runs`, in order.
      rows, weights: packs of which there are rows of the runs table, or final weights.
      strays: what stands among the files of tables, is read with them, and is none of ours.
    """

    checkpoints: Mapping[str, Sequence[Path]]
    parts: Mapping[str, Sequence[Path]]
    rows: frozenset[str]
    weights: frozenset[str]
    strays: Sequence[Path]

    @classmethod
    def of(cls, folder: Folder) -> "StoredFiles":
        ours, strays = _sorted_out(folder)
        weights = folder.params.glob("*.npz")
        return cls(
            _by_pack(sorted(folder.checkpoints.glob("*.npz"), reverse=True)),
            _by_pack(sorted(filter(steps_of, ours))),
            frozenset(_by_pack(path for path in ours if path.parent == folder.runs)),
            frozenset(_by_pack(p for p in weights if is_ours_inside(folder.params.name, p.name))),
            strays,
        )

    @property
    def packs(self) -> list[str]:
        return sorted({*self.checkpoints, *self.parts, *self.rows, *self.weights})

    def of_packs(self, packs: Iterable[str]) -> Iterator[Path]:
        """Yields the checkpoints and data files of packs."""
        for pack in packs:
            yield from self.checkpoints.get(pack, ())
            yield from self.parts.get(pack, ())

    def of_pack(self, pack: str) -> list[Path]:
        return list(self.of_packs([pack]))

    @property
    def all_parts(self) -> Iterator[Path]:
        return chain.from_iterable(self.parts.values())


def _sorted_out(folder: Folder) -> tuple[list[Path], list[Path]]:
    """The files of all tables that are ours, and those that are not."""
    found: tuple[list[Path], list[Path]] = [], []
    for table in ("runs", *RESULT_TABLES):
        for path in sorted(folder.table(table).glob("*")):
            found[not is_ours_inside(table, path.name)].append(path)
    return found


def _by_pack(paths: Iterable[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        pack = pack_of(path)
        if pack:
            found[pack].append(path)
    return dict(found)
