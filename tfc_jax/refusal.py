"""Nothing is added to results that are damaged."""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from tfc_jax.damage import Finding, check_parts, newest
from tfc_jax.errors import InputError
from tfc_jax.layout import Folder, steps_of
from tfc_jax.stored_files import StoredFiles

MOST_NAMED = 5  # damaged files in a refusal; the rest is counted
MAGIC = b"PAR1"  # at both ends of a Parquet file


def refuse_damage(
    folder: Folder, steps_done: Mapping[str, int], unfinished: AbstractSet[str]
) -> None:
    """Refuses to add to results that are damaged.

    Args:
      steps_done: what the runs table says of all packs of the plan.
      unfinished: packs that are to go on: every byte of theirs is verified. Of the data files of
        others the ends are, and that the loss of each step is there.
    Raises:
      InputError: some file is not what was committed.
    """
    stored = StoredFiles.of(folder)
    found = [Finding(part, "is cut short") for part in stored.all_parts if not _has_ends(part)]
    for pack, done in steps_done.items():
        if done and pack not in unfinished:
            found += _check_steps(folder, pack, done, stored.parts.get(pack, ()))
        elif done:
            _, checkpoint = newest(stored.checkpoints.get(pack, ()), pack)
            parts = stored.parts.get(pack, ())
            found += check_parts(folder, pack, checkpoint.parts, parts) if checkpoint else []
    damage = list(dict.fromkeys(str(one) for one in found if one.is_damage))
    if damage:
        more = f", and {len(damage) - MOST_NAMED} more" if len(damage) > MOST_NAMED else ""
        raise InputError(
            f"{folder.root}: damaged, so nothing is added: {'; '.join(damage[:MOST_NAMED])}{more}. "
            f"`tfc fsck {folder.root}` says what can be done."
        )


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
