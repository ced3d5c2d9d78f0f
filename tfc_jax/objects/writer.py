"""The only writer of a pack's objects.

What is to change is staged first, under keys that no other writer uses. Then the head of the pack
is replaced, which names the new checkpoint and where each staged object belongs: the commit point.
Then the staged objects are copied to their places within the store, and deleted. A reader never
sees what no head covers; what a head covers is brought to its place by whoever takes the pack over.

Another writer takes the pack over by replacing the head, after which the former one can commit
nothing more, and by deleting what the former one staged, after which that copies nothing more, in
whatever place it was suspended.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.head import (
    Stored,
    checkpoint_key,
    folder_key,
    head_key,
    read_head,
    staged_key,
)
from tfc_jax.parts import staged_name
from tfc_jax.stage import Fenced
from tfc_jax.store import KEPT_CHECKPOINTS

DAMAGED = ".damaged"


class Writer:
    """Writes one pack, until another takes it over."""

    def __init__(self, bucket: Bucket, pack: str, stored: Stored, token: str) -> None:
        self._bucket, self._pack, self._token = bucket, pack, token
        self._head, self._version = stored.head, stored.version

    @classmethod
    def take(cls, bucket: Bucket, pack: str) -> "Writer":
        """Takes a pack over, and publishes what its last writer committed.

        Raises:
          Fenced: two writers try it at the same moment.
        """
        writer = cls(bucket, pack, read_head(bucket, pack), secrets.token_hex(4))
        # Listed before it is mine, so that nothing of a writer after me is among what I delete.
        found = bucket.listed(folder_key(pack))
        writer._change({})
        writer._roll_forward()
        bucket.delete([entry.key for entry in found if writer._is_left(entry.key)])
        return writer

    @property
    def checkpoints(self) -> list[str]:
        """Keys of the checkpoints, newest last."""
        return self._head.checkpoints

    def publish(self, files: Mapping[str, Path], checkpoint: tuple[int, Path] | None) -> None:
        """Commits files, in this order, under their keys, and a checkpoint of a step.

        Raises:
          Fenced: another writer has taken the pack over.
        """
        pending = {key: staged_key(self._pack, self._token, staged_name(key)) for key in files}
        for key, path in files.items():
            self._bucket.put(pending[key], path)
        kept, dropped = self._head.checkpoints, list[str]()
        if checkpoint is not None:
            step, path = checkpoint
            new = checkpoint_key(self._pack, step, self._token)
            self._bucket.put(new, path)
            kept = [*(key for key in kept if key != new), new]
            kept, dropped = kept[-KEPT_CHECKPOINTS:], kept[:-KEPT_CHECKPOINTS]
        self._change({"checkpoints": kept, "pending": pending})
        for key, staged in pending.items():
            if not self._bucket.copy(staged, key):
                raise Fenced(self._sentence)
        self._bucket.delete([*pending.values(), *dropped])

    def withdraw(self, keys: Sequence[str]) -> None:
        """Deletes what no checkpoint covers, if the pack is still mine.

        Raises:
          Fenced: it is not.
        """
        if keys:
            self._change({})
            self._bucket.delete(keys)

    def set_aside(self, damaged: Iterable[str]) -> None:
        """Takes damaged checkpoints out of the head; they stay beside it, to be looked at."""
        damaged = list(damaged)
        if not damaged:
            return
        left = [key for key in self._head.checkpoints if key not in damaged]
        for key in damaged:
            self._bucket.copy(key, f"{key.removesuffix('.npz')}{DAMAGED}")
        self._change({"checkpoints": left})
        self._bucket.delete(damaged)

    def _roll_forward(self) -> None:
        """Staged objects go when all are in their places, so one that is gone is in its own."""
        for key, staged in self._head.pending.items():
            self._bucket.copy(staged, key)

    def _is_left(self, key: str) -> bool:
        kept = {head_key(self._pack), *self._head.checkpoints}
        return key not in kept and not key.endswith(DAMAGED)

    def _change(self, changes: Mapping[str, object]) -> None:
        """Replaces the head by one of mine, if it is still the one that I know."""
        update = {"number": self._head.number + 1, "token": self._token, **changes}
        head = self._head.model_copy(update=update)
        if self._version is None:
            version = self._bucket.create(head_key(self._pack), head.content())
        else:
            version = self._bucket.replace(head_key(self._pack), head.content(), self._version)
        if version is None:
            raise Fenced(self._sentence)
        self._head, self._version = head, version

    @property
    def _sentence(self) -> str:
        return (
            f"Pack {self._pack}: another process has taken it over, so this one stops without "
            f"writing. Nothing is lost: the other one goes on from the last commit."
        )
