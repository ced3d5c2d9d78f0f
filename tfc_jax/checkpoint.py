"""The whole state of a pack in one file: an npz, then the SHA-256 of it. No pickle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, Field

from tfc_jax.archives import read_arrays
from tfc_jax.files import HashedFile

_DIGEST_BYTES = 32
_META = "meta.json"
# NumPy files know no bfloat16: its bits travel as uint16 under a marked name.
_BFLOAT16 = "#bfloat16"


_Count = Annotated[int, Field(strict=True, ge=0, lt=10**9)]


class _Meta(BaseModel):
    """What a checkpoint says besides its arrays."""

    step: _Count
    parts: dict[str, tuple[str, Annotated[int, Field(strict=True, ge=0, lt=2**62)]]]
    wall_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    epoch: _Count


class DamagedCheckpoint(Exception):
    """The file is truncated, altered, or no checkpoint at all."""


class Part(NamedTuple):
    """What a data file must be."""

    sha256: str  # hex digest of its content
    rows: int


@dataclass(frozen=True)
class Checkpoint:
    """State of a pack after `step` updates.

    Attributes:
      step: updates done.
      arrays: state by name, (R, ...) with one entry per lane, padding included.
      parts: every data file of the pack so far, by its path below the results folder.
      final: last value of every per-run column so far, (R,), without padding.
      wall_s: seconds spent on the pack so far.
      epoch: number of the writer, one more than that of the writer before (stage.py).
    """

    step: int
    arrays: dict[str, np.ndarray]
    parts: dict[str, Part]
    final: dict[str, np.ndarray]
    wall_s: float
    epoch: int


def save(file: HashedFile, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint and the SHA-256 of it into a new file."""
    meta = {
        "step": checkpoint.step,
        "parts": checkpoint.parts,
        "wall_s": checkpoint.wall_s,
        "epoch": checkpoint.epoch,
    }
    entries: dict[str, Any] = {_META: np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    entries |= dict(_plain(f"state/{name}", a) for name, a in checkpoint.arrays.items())
    entries |= {f"final/{name}": a for name, a in checkpoint.final.items()}
    np.savez(file, **entries)
    file.write(file.digest())


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint back.

    Raises:
      DamagedCheckpoint: the digest at the end is not that of the content, or the content is none
        of a checkpoint.
    """
    with open(path, "rb") as file:
        if not _is_whole(file):
            raise DamagedCheckpoint(f"{path}: content and SHA-256 trailer disagree.")
    try:
        return _read(path)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(f"{path}: not a checkpoint of this version: {error}.") from None


def _is_whole(file: IO[bytes]) -> bool:
    left = file.seek(0, 2) - _DIGEST_BYTES
    file.seek(0)
    found = hashlib.sha256()
    while left > 0 and (block := file.read(min(left, 2**20))):
        found.update(block)
        left -= len(block)
    return left == 0 and file.read() == found.digest()


def _read(path: Path) -> Checkpoint:
    entries = read_arrays(path)
    meta = _Meta.model_validate_json(entries[_META].tobytes())
    arrays = dict(_typed(*item) for item in _below("state/", entries).items())
    if "first_bad_step" not in arrays:
        raise ValueError("first_bad_step is missing")
    return Checkpoint(
        step=meta.step,
        arrays=arrays,
        parts={name: Part(*part) for name, part in meta.parts.items()},
        final=_below("final/", entries),
        wall_s=meta.wall_s,
        epoch=meta.epoch,
    )


def _below(prefix: str, entries: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {n.removeprefix(prefix): a for n, a in entries.items() if n.startswith(prefix)}


def _plain(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    if array.dtype.name == "bfloat16":
        return name + _BFLOAT16, array.view(np.uint16)
    return name, array


def _typed(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    if name.endswith(_BFLOAT16):
        import ml_dtypes

        return name.removesuffix(_BFLOAT16), array.view(ml_dtypes.bfloat16)
    return name, array
