"""Nothing is added to results that are damaged."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import chain
from pathlib import Path

from tfc_jax import orphans
from tfc_jax.damage import Finding, check_parts, newest
from tfc_jax.errors import InputError
from tfc_jax.layout import Folder, steps_of
from tfc_jax.pack_damage import check_packs
from tfc_jax.stored_files import StoredFiles

logger = logging.getLogger(__name__)

MOST_NAMED = 5  # files in a refusal, of which the rest is counted, or in warnings
MAGIC = b"PAR1"  # at both ends of a Parquet file
# Bytes up to which every file is read, packs that are done included: that takes a few seconds.
# Beyond, a launch would wait for minutes before it trains; `tfc fsck` is there for that.
VERIFIED_WHOLE = 2**30
SMALLEST = 2**18  # bytes as which each file counts at least: to open one takes as long


def refuse_damage(
    folder: Folder, steps_done: Mapping[str, int], unfinished: AbstractSet[str]
) -> None:
    """Refuses to add to results that are damaged.

    A damaged checkpoint of a pack that is done costs no row, and a stray that is no Parquet adds
    none: where they are seen, a few are told, and all are passed.

    Args:
      steps_done: what the runs table says of all packs of the plan.
      unfinished: packs that are to go on: every byte of theirs is verified. Every byte of others
        is where the packs of the plan have at most VERIFIED_WHOLE; else the ends of their data
        files are, and that the loss of each step is there.
    Raises:
      InputError: some file is not what was committed.
    """
    stored = StoredFiles.of(folder)
    foreign = list(orphans.foreign_rows(stored))
    passed = [one for one in orphans.strays(stored) if one not in foreign]
    found = [Finding(part, "is cut short") for part in stored.all_parts if not _has_ends(part)]
    found += [*foreign, *orphans.unplanned(stored, steps_done.keys())]
    done = {pack: steps for pack, steps in steps_done.items() if steps and pack not in unfinished}
    is_small = _size_within(VERIFIED_WHOLE, folder, stored, steps_done)
    whole = check_packs(folder, list(done), stored) if is_small else {}
    for pack, steps in done.items():
        of_pack = [one for one in whole.get(pack, ()) if not _is_checkpoint(folder, one.path)]
        passed += [one for one in whole.get(pack, ()) if one not in of_pack]
        found += of_pack or _check_steps(folder, pack, steps, stored.parts.get(pack, ()))
    for pack in unfinished:
        _, checkpoint = newest(stored.checkpoints.get(pack, ()), pack)
        parts = stored.parts.get(pack, ())
        found += check_parts(folder, pack, checkpoint.parts, parts) if checkpoint else []
    _refuse(folder, found)
    for one in passed[:MOST_NAMED]:
        logger.warning("%s. `tfc fsck %s` says more.", str(one).removesuffix("."), folder.root)


def _is_checkpoint(folder: Folder, path: Path) -> bool:
    return path.parent == folder.checkpoints and path.suffix == ".npz"


def _refuse(folder: Folder, found: Iterable[Finding]) -> None:
    damage = list(dict.fromkeys(f"{one.path} {one.what}" for one in found if one.is_damage))
    if damage:
        more = f", and {len(damage) - MOST_NAMED} more" if len(damage) > MOST_NAMED else ""
        raise InputError(
            f"{folder.root}: damaged, so nothing is added: {'; '.join(damage[:MOST_NAMED])}{more}. "
            f"`tfc fsck {folder.root}` says what can be done."
        )


def _size_within(limit: int, folder: Folder, stored: StoredFiles, packs: Collection[str]) -> bool:
    """Whether the files of these packs have at most so many bytes; looks at no more than needed."""
    weights = filter(Path.exists, map(folder.weights_of, packs))
    for path in chain(stored.of_packs(packs), weights):
        limit -= max(path.stat().st_size, SMALLEST)
        if limit < 0:
            return False
    return True


def _check_steps(folder: Folder, pack: str, done: int, parts: Iterable[Path]) -> Iterator[Finding]:
    """Every step has a loss, so the parts of table `steps` leave no gap."""
    reached = 0
    for part in parts:
        first, stop = steps_of(part) or (0, 0)
        if part.parent.name == "steps" and first <= reached:
            reached = max(reached, stop)
    if reached < done:
        yield Finding(folder.table("steps"), f"lacks steps {reached} to {done - 1} of pack {pack}")


def _has_ends(part: Path) -> bool:
    with open(part, "rb") as file:
        begin = file.read(len(MAGIC))
        if file.seek(0, 2) < 3 * len(MAGIC):
            return False
        file.seek(-len(MAGIC), 2)
        return begin == file.read() == MAGIC
