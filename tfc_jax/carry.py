"""The state of a pack <-> arrays by name, as checkpoints and `params/` hold them."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def to_arrays(carry: Any) -> dict[str, np.ndarray]:
    """Returns every leaf under its path, e.g. `params/layers/0/kernel`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(carry)
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def refilled(arrays: Mapping[str, np.ndarray], n_runs: int, width: int) -> dict[str, np.ndarray]:
    """Returns the first n_runs lanes and copies of the first of them, `width` in all.

    What stood in the padding does not matter, nor how wide the program was that left the state.
    """

    def lanes(a: np.ndarray) -> np.ndarray:
        return np.concatenate([a[:n_runs], np.repeat(a[:1], width - n_runs, axis=0)])

    return {name: lanes(a) for name, a in arrays.items()}


def from_arrays(like: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Returns a carry of the structure of `like` with the values of `arrays`.

    Raises:
      ValueError: names or shapes disagree (the state is of another program).
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    expected = {_name(path): (leaf.shape, leaf.dtype) for path, leaf in leaves}
    found = {name: (a.shape, a.dtype) for name, a in arrays.items()}
    if expected != found:
        differing = sorted(k for k in expected | found if expected.get(k) != found.get(k))
        raise ValueError(
            f"The checkpoint is of another program: {', '.join(differing[:3])} differ."
        )
    return jax.tree_util.tree_unflatten(structure, [arrays[_name(path)] for path, _ in leaves])


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
