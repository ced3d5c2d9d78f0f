"""The whole state of a pack in one file: an npz, then the SHA-256 of it. No pickle."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfc_jax.files import write_whole

_DIGEST_BYTES = 32
_META = "meta.json"
# NumPy files know no bfloat16: its bits travel as uint16 under a marked name.
_BFLOAT16 = "#bfloat16"


class DamagedCheckpoint(Exception):
    """The file is truncated or altered."""


@dataclass(frozen=True)
class Checkpoint:
    """State of a pack after `step` updates.

    Attributes:
      step: updates done.
      arrays: state by name, (R, ...) with one entry per lane, padding included.
      parts: path below the results folder -> SHA-256 of every data file of this commit.
      final: last value of every per-run column so far, (R,), without padding.
      wall_s: seconds spent on the pack so far.
    """

    step: int
    arrays: dict[str, np.ndarray]
    parts: dict[str, str]
    final: dict[str, np.ndarray]
    wall_s: float


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the file whole: when this returns, the commit is durable."""
    meta = {
        "step": checkpoint.step,
        "parts": checkpoint.parts,
        "wall_s": checkpoint.wall_s,
    }
    entries: dict[str, Any] = {_META: np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    entries |= dict(_plain(f"state/{name}", a) for name, a in checkpoint.arrays.items())
    entries |= {f"final/{name}": a for name, a in checkpoint.final.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **entries)
    content = buffer.getvalue()
    write_whole(path, content + hashlib.sha256(content).digest())


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint back.

    Raises:
      DamagedCheckpoint: the digest at the end is not that of the content.
    """
    raw = path.read_bytes()
    content, digest = raw[:-_DIGEST_BYTES], raw[-_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise DamagedCheckpoint(f"{path}: content and SHA-256 trailer disagree.")
    with np.load(io.BytesIO(content), allow_pickle=False) as entries:
        meta: dict[str, Any] = json.loads(entries[_META].tobytes())
        return Checkpoint(
            step=meta["step"],
            arrays=dict(_typed(*item) for item in _below("state/", entries)),
            parts=meta["parts"],
            final=dict(_below("final/", entries)),
            wall_s=meta["wall_s"],
        )


def _below(prefix: str, entries: Any) -> list[tuple[str, np.ndarray]]:
    names = [name for name in entries.files if name.startswith(prefix)]
    return [(name.removeprefix(prefix), entries[name]) for name in names]


def _plain(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    if array.dtype.name == "bfloat16":
        return name + _BFLOAT16, array.view(np.uint16)
    return name, array


def _typed(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    if name.endswith(_BFLOAT16):
        import ml_dtypes

        return name.removesuffix(_BFLOAT16), array.view(ml_dtypes.bfloat16)
    return name, array
