"""Whether what a launch is to write fits on its disk, before anything is compiled.

Of finished sweeps 0.65 to 1.0 of the estimate stood on the disk in the end (12 sweeps of 0.2 to 11
million values): a launch is refused where not even half of what it lacks would fit.
"""

import shutil
from collections import Counter

from tfc_jax.errors import InputError
from tfc_jax.fresh import deleted
from tfc_jax.layout import Folder, pack_of
from tfc_jax.pack import Pack, prices
from tfc_jax.plan import Plan
from tfc_jax.store import KEPT_CHECKPOINTS
from tfc_jax.wording import size

LEAST_SHARE = 0.5  # of the estimate, that is written for sure


def left_bytes(plan: Plan, folder: Folder) -> float:
    """Returns by how much the unfinished packs will make a folder larger, by formula.

    A pack that goes on writes a checkpoint beside the one it has: what is kept of both counts.
    """
    record, steps = plan.sweep.record, plan.sweep.steps

    def rows(pack: Pack) -> float:
        written = pack.row_bytes(record, min(pack.steps_done, steps))
        return pack.row_bytes(record, steps) - (written if pack.steps_done else 0.0)

    n_checkpoints = Counter(map(pack_of, folder.checkpoints.glob("*.npz")))
    with_weights = set(map(pack_of, folder.params.glob("*.npz")))

    def states(pack: Pack, checkpoint: float, weights: float) -> float:
        if not pack.steps_done:
            return checkpoint + weights
        adds = pack.steps_done < steps and n_checkpoints[pack.id] < KEPT_CHECKPOINTS
        return adds * checkpoint + (pack.id not in with_weights) * weights

    todo = plan.unfinished
    checkpoints = prices(lambda pack: pack.checkpoint_bytes, todo)
    weights = prices(lambda pack: pack.weight_bytes, todo)
    return sum(prices(rows, todo)) + sum(map(states, todo, checkpoints, weights))


def free_bytes(folder: Folder) -> int:
    """Returns the free space where the results are, or are to be."""
    place = folder.root.absolute()
    while not place.is_dir():
        place = place.parent
    return shutil.disk_usage(place).free


def check_fits(plan: Plan, folder: Folder, *, fresh: bool) -> None:
    """Refuses a launch that would surely end on a full disk.

    Args:
      fresh: what launches wrote into the folder goes first.
    Raises:
      InputError: half of what is still to be written is more than what is free.
    """
    need, free = left_bytes(plan, folder), free_bytes(folder)
    if fresh:
        free += sum(path.stat().st_size for path in deleted(folder))
    if need * LEAST_SHARE > free:
        raise InputError(
            f"{folder.root}: about {size(need)} are still to be written, but {size(free)} "
            f"are free on this disk. Make room, write elsewhere with --out, record less "
            f"(record.every, record.metrics), or train fewer runs (--limit)."
        )


def as_text(plan: Plan, folder: Folder) -> str:
    """What is still to be written, what is free, and whether that may be too little."""
    need, free = left_bytes(plan, folder), free_bytes(folder)
    short = " This may not fit: make room or give another --out." if need > free else ""
    return f"Disk: {size(need)} still to be written, {size(free)} free.{short}"
