"""The chips among which a worker shares a pack: on a TPU host all that it has, elsewhere one.

Every chip trains as many lanes as the pack is wide, with a program that is compiled once for all of
them and in which they exchange nothing: how many there are changes no bit. An executable for each
chip would be compiled as often as there are chips, since the key of JAX's cache names the chip, and
one for another chip than the first has crashed libtpu when it came from the cache:
https://github.com/jax-ml/jax/issues/38004
"""

import os
from functools import cache
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "chips"
T = TypeVar("T")


@cache
def mesh() -> Mesh | None:
    """Returns the chips of this process, at most $TFC_CHIPS; None if a pack has only one."""
    chips = jax.local_devices()[: int(os.environ.get("TFC_CHIPS", "1"))]
    return Mesh(np.array(chips), (AXIS,)) if len(chips) > 1 else None


def shared(mesh: Mesh) -> NamedSharding:
    """Returns where arrays are whose leading axis, the lanes, is cut into a piece for each chip."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def whole(mesh: Mesh) -> NamedSharding:
    """Returns where arrays are that every chip has."""
    return NamedSharding(mesh, PartitionSpec())


def everywhere(tree: T, mesh: Mesh | None) -> T:
    """Returns the arrays of a tree as every chip has them."""
    return tree if mesh is None else jax.device_put(tree, whole(mesh))


def in_slices(tree: T, mesh: Mesh | None) -> T:
    """Returns arrays with a leading axis of lanes, of which every chip has its slice."""
    return tree if mesh is None else jax.device_put(tree, shared(mesh))


def memory() -> float | None:
    """Returns the bytes that a pack may take of each chip; None if nothing says it.

    That is what --max-memory allows ($TFC_MAX_MEMORY), else all.
    """
    if allowed := os.environ.get("TFC_MAX_MEMORY"):
        return float(allowed)
    stats = [chip.memory_stats() or {} for chip in jax.local_devices()]
    return min((s["bytes_limit"] for s in stats if "bytes_limit" in s), default=None)
