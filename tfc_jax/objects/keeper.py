"""Keeps a launch's lease, and sends what it writes besides packs: manifest, sweep, log, choices.

A thread for each, every ten seconds: a log that takes minutes to send must not cost the lease. What
is sent, is sent by the owner.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfc_jax import files
from tfc_jax.errors import StorageError
from tfc_jax.event_log import OnEvent
from tfc_jax.files import Mark
from tfc_jax.lock import LockLost
from tfc_jax.objects import lease as leases
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.lease import Lease
from tfc_jax.objects.mirror import DOCUMENTS, EMPTY_PARTS
from tfc_jax.objects.refusals import StoreError

SHARE_OF_SENDING = 0.05  # of the time, at most, for each document

logger = logging.getLogger(__name__)


class Keeper:
    """Sends the documents of a folder, while its launch holds the lease."""

    def __init__(self, bucket: Bucket, root: Path, lease: Lease) -> None:
        self._bucket, self._root, self._lease = bucket, root, lease
        self._sent: dict[str, Mark] = {}
        self._next: dict[str, float] = {}  # when a document is sent again at the earliest
        self._renewing, self._sending = threading.Lock(), threading.Lock()
        self._over = threading.Event()
        self._lost: LockLost | None = None
        self._is_warned = False
        self._threads = [
            threading.Thread(target=self._repeat, args=(what,), name="tfc-lease", daemon=True)
            for what in (self._renew, self._send_due)
        ]

    def start(self) -> None:
        """Keeps the lease from now on."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the threads; the lease is still held."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def watching(self, on_event: OnEvent) -> OnEvent:
        """Returns a handler of events that stops the launch once the lease is lost."""

        def handle(event: dict[str, Any]) -> None:
            self.check()
            if event["event"] == "planned":  # the manifest is written, and no worker has begun
                self.send()
            on_event(event)

        return handle

    def check(self) -> None:
        """Asks whether the place is still this launch's own; the store only where it may not be.

        Raises:
          LockLost: it is not.
          StoreError: the store has not answered for so long that it may not be.
        """
        if self._lost is not None:
            raise self._lost
        if not self._lease.is_fresh:
            self._renew()

    def send(self) -> None:
        """Sends the documents that have changed, if the lease is still held.

        Raises:
          LockLost: it is not.
          StoreError: they could not be sent.
        """
        with self._sending:
            self._renew()
            for key in (*DOCUMENTS, *EMPTY_PARTS):
                self._send(key)

    def _renew(self) -> None:
        with self._renewing:
            self._lease.renew()

    def _send_due(self) -> None:
        """Those that take long to send are sent less often."""
        with self._sending:
            self._renew()
            for key in (*DOCUMENTS, *EMPTY_PARTS):
                began = time.monotonic()
                if began >= self._next.get(key, 0.0):
                    self._send(key)
                    ended = time.monotonic()
                    self._next[key] = ended + (ended - began) / SHARE_OF_SENDING

    def _send(self, key: str) -> None:
        path = self._root / key
        try:
            mark = files.mark(path)
            if self._sent.get(key) != mark:
                self._bucket.put(key, path)
                self._sent[key] = mark
        except FileNotFoundError:
            if self._sent.pop(key, None) is not None:
                self._bucket.delete([key])

    def _repeat(self, what: Callable[[], None]) -> None:
        while not self._over.wait(leases.RENEWED_SECONDS):
            try:
                what()
            except LockLost as error:
                self._lost = error
                return
            except StoreError as error:  # the last sending, or the next commit, must succeed
                if not self._is_warned:
                    logger.warning("%s", error)
                self._is_warned = True


@contextmanager
def kept(bucket: Bucket, root: Path, say: Callable[[str], None]) -> Iterator[Keeper]:
    """Holds the lease of a place.

    Raises:
      InputError: another launch holds it.
      LockLost: another launch has taken it over meanwhile.
      StorageError: the store failed after the lease was taken.
    """
    lease = leases.take(bucket, say)
    keeper = Keeper(bucket, root, lease)
    keeper.start()
    try:
        yield keeper
        keeper.check()
        keeper.send()
    except StoreError as error:
        raise StorageError(str(error)) from error
    finally:
        keeper.stop()
        _release(lease)


def _release(lease: Lease) -> None:
    """One that cannot be released any more expires."""
    try:
        lease.release()
    except (LockLost, StoreError) as error:
        logger.info("%s", error)
