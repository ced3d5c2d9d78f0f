"""Only one launch writes in a place at a time.

The owner replaces the lease's object again and again. A launch that finds the object unchanged for
EXPIRY_SECONDS, by its own clock, takes it over; nobody's wall clock is asked. Packs have fences of
their own (writer.py): the lease keeps two launches from training the same packs, and from writing
the manifest and the log in turn.
"""

import json
import os
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tfc_jax.errors import InputError
from tfc_jax.lock import UNKNOWN, LockLost, may_live, own_record
from tfc_jax.objects.bucket import Bucket, Found, Version

KEY = ".lease"
RENEWED_SECONDS, EXPIRY_SECONDS = 10.0, 60.0
POLL_SECONDS = 1.0
LONGEST_RECORD, LONGEST_LEASE = 200, 2000


@dataclass
class Lease:
    """A lease that is held.

    Attributes:
      record: who holds it, for others to read.
      written: when it was written last, by `now`.
    """

    bucket: Bucket
    record: str
    token: str
    version: Version
    written: float
    beats: int = 0

    @property
    def is_fresh(self) -> bool:
        """Whether nobody can have taken it over yet, without asking the store."""
        return now() - self.written < EXPIRY_SECONDS / 2

    def renew(self) -> None:
        """Says that its owner lives.

        Raises:
          LockLost: another launch has taken it over.
        """
        self._write("held")

    def release(self) -> None:
        """Lets the next launch have it at once."""
        self._write("free")

    def _write(self, state: str) -> None:
        self.beats, began = self.beats + 1, now()
        content = _content(state, self.record, self.token, self.beats)
        version = self.bucket.replace(KEY, content, self.version)
        if version is None and (mine := self._unheard()) is not None:
            version = self.bucket.replace(KEY, content, mine)
        if version is None:
            raise LockLost(
                f"{self.bucket.place.url}: this launch ({self.record}) holds the lease no longer: "
                f"another one has taken it over. It stops and writes nothing more; `tfc run` goes "
                f"on from the last commit."
            )
        self.version, self.written = version, began

    def _unheard(self) -> Version | None:
        """The version that a write of mine has made, of which the answer was lost."""
        found = self.bucket.get(KEY)
        return found.version if found and _read(found.content).token == self.token else None


class _Told(NamedTuple):
    """What a lease says; what is not ours to read may be anyone's, who may live."""

    state: str = "held"
    owner: str = UNKNOWN
    machine: str = ""
    token: str = ""

    @property
    def may_live(self) -> bool:
        """Processes of other machines may, also where these share a name."""
        return self.state != "free" and (self.machine != _machine() or may_live(self.owner))


def take(bucket: Bucket, say: Callable[[str], None]) -> Lease:
    """Takes the lease of a place.

    Args:
      say: called with a line if it has to be waited for.
    Raises:
      InputError: another launch holds it, and lives.
    """
    record, token, began = own_record(), secrets.token_hex(8), now()
    content = _content("held", record, token, 0)
    version = bucket.create(KEY, content)
    former = bucket.get(KEY) if version is None else None
    if former is not None:
        left = _until_left(bucket, former, say)
        began, version = now(), bucket.replace(KEY, content, left)
    if version is None:
        raise _held(bucket, "one that began at the same moment")
    return Lease(bucket, record, token, version, began)


def now() -> float:
    """Seconds by a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _until_left(bucket: Bucket, former: Found, say: Callable[[str], None]) -> Version:
    """Waits until it is sure that the owner is gone; returns the version that it left."""
    told = _read(former.content)
    if not told.may_live:
        return former.version
    say(
        f"{bucket.place.url}: a launch ({told.owner}) holds the lease. Waiting up to "
        f"{EXPIRY_SECONDS:g} s to see whether it lives."
    )
    began = time.monotonic()
    while time.monotonic() - began < EXPIRY_SECONDS:
        time.sleep(POLL_SECONDS)
        found = bucket.get(KEY)
        if found is None or found.version != former.version:
            raise _held(bucket, told.owner)
    return former.version


def _held(bucket: Bucket, record: str) -> InputError:
    return InputError(
        f"{bucket.place.url}: another `tfc run` is writing here ({record}). Wait for it, stop it, "
        f"or write elsewhere with --out."
    )


def _content(state: str, record: str, token: str, beats: int) -> bytes:
    told = {"state": state, "owner": record, "machine": _machine(), "token": token, "beats": beats}
    return json.dumps(told).encode()


def _read(content: bytes) -> _Told:
    try:
        told = json.loads(content[:LONGEST_LEASE])
        return _Told(*(str(told[name])[:LONGEST_RECORD] for name in _Told._fields))
    except (ValueError, KeyError, TypeError, RecursionError):
        return _Told()


@cache
def _machine() -> str:
    """Those that are copies of one image share a name, but nothing of this."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not on Linux
        return f"{uuid.getnode():x}"
