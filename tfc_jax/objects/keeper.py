"""Keeps a launch's lease, and sends what it writes besides packs: manifest, sweep, log, choices.

One thread does both in turn, every ten seconds: what it sends, it sends as the owner.
"""

import logging
import threading
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

logger = logging.getLogger(__name__)


class Keeper:
    """Sends the documents of a folder, while its launch holds the lease."""

    def __init__(self, bucket: Bucket, root: Path, lease: Lease) -> None:
        self._bucket, self._root, self._lease = bucket, root, lease
        self._sent: dict[str, Mark] = {}
        self._turn = threading.Lock()
        self._over = threading.Event()
        self._lost: LockLost | None = None
        self._is_warned = False
        self._thread = threading.Thread(target=self._keep, name="tfc-lease", daemon=True)

    def start(self) -> None:
        """Keeps the lease from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; the lease is still held."""
        self._over.set()
        self._thread.join()

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
            self.send()

    def send(self) -> None:
        """Sends the documents that have changed, if the lease is still held.

        Raises:
          LockLost: it is not.
          StoreError: they could not be sent.
        """
        with self._turn:
            self._lease.renew()
            for key in (*DOCUMENTS, *EMPTY_PARTS):
                self._send(key)

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

    def _keep(self) -> None:
        while not self._over.wait(leases.RENEWED_SECONDS):
            try:
                self.send()
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
