"""The head of a pack: the one small object whose replacement commits.

`checkpoints/PACK/head.json` names the pack's checkpoints, and what is on its way from the staged
objects of a writer to its place. It is replaced under the condition that it is still the version
that was read, so of two writers only one can go on.
"""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tfc_jax.layout import checked_pack
from tfc_jax.objects.bucket import Bucket, Version
from tfc_jax.objects.refusals import StoreError

CHECKPOINTS = "checkpoints"
LARGEST_HEAD = 2**16  # bytes
_CHECKPOINT = r"checkpoints/{pack}/(?P<step>\d{{9}})\.[0-9a-f]{{8}}\.npz"
_STAGED = r"checkpoints/{pack}/staged/[0-9a-f]{{8}}/[a-z_]+-{pack}[\d-]*\.(?:parquet|npz)"
_TARGET = r"[a-z_]+/{pack}(?:-\d{{9}}-\d{{9}})?\.(?:parquet|npz)"

_Count = Annotated[int, Field(strict=True, ge=0, lt=10**9)]


class Head(BaseModel):
    """State of a pack.

    Attributes:
      token: of the writer; no two have the same.
      number: of this state; with the token it makes the content one of its kind.
      checkpoints: keys of the newest ones, newest last.
      pending: staged object by the key of its place; copied there by whoever comes next.
    """

    model_config = ConfigDict(extra="forbid")

    token: str = ""
    number: _Count = 0
    checkpoints: list[str] = []
    pending: dict[str, str] = {}

    def content(self) -> bytes:
        """As it is stored."""
        return self.model_dump_json().encode()


@dataclass(frozen=True)
class Stored:
    """A head, and what a replacement has to name; None of one that was never stored."""

    head: Head
    version: Version | None


def folder_key(pack: str) -> str:
    """Where everything of a pack's writers is, its rows and weights apart."""
    return f"{CHECKPOINTS}/{checked_pack(pack)}"


def head_key(pack: str) -> str:
    """Where the head of a pack is."""
    return f"{folder_key(pack)}/head.json"


def read_head(bucket: Bucket, pack: str) -> Stored:
    """Returns the head of a pack; an empty one before its first.

    Raises:
      StoreError: no writer of ours has stored what is there.
    """
    key = head_key(pack)
    found = bucket.get(key, LARGEST_HEAD)
    if found is None:
        return Stored(Head(), None)
    return Stored(_checked(bucket, pack, found.content), found.version)


def _checked(bucket: Bucket, pack: str, content: bytes) -> Head:
    try:
        head = Head.model_validate_json(content)
        named = all(step_of(key, pack) is not None for key in head.checkpoints)
        target, staged = (re.compile(p.format(pack=pack)) for p in (_TARGET, _STAGED))
        paths = all(target.fullmatch(t) and staged.fullmatch(s) for t, s in head.pending.items())
        if not (named and paths):
            raise ValueError("it names objects of others")
    except (ValidationError, ValueError) as error:
        raise StoreError(
            f"{bucket.place.url}/{head_key(pack)}: this is not the head of a pack "
            f"({' '.join(str(error).split())[:100]}). Restore it from a copy, or train again with "
            f"--fresh."
        ) from None
    return head


def step_of(key: str, pack: str) -> int | None:
    """Returns the step of a checkpoint by its key; None if it is none of this pack."""
    match = re.fullmatch(_CHECKPOINT.format(pack=pack), key)
    return int(match["step"]) if match else None


def checkpoint_key(pack: str, step: int, token: str) -> str:
    """A checkpoint's key, which no other writer uses."""
    return f"{folder_key(pack)}/{step:09d}.{token}.npz"


def staged_key(pack: str, token: str, name: str) -> str:
    """The key of a staged object, which no other writer uses."""
    return f"{folder_key(pack)}/staged/{token}/{name}"
