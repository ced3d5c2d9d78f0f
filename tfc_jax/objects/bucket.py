"""An object store by the few requests that results need, and its errors as sentences.

Each request that is refused for a while is tried again for TFC_STORE_SECONDS (20). Whether one that
was cut off has been served is asked, never guessed.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from tfc_jax.errors import InputError
from tfc_jax.objects import pieces
from tfc_jax.objects.environment import check_environment
from tfc_jax.objects.place import Place
from tfc_jax.objects.refusals import StoreError, is_final, is_refused, lacks_bucket, told

PATIENCE_SECONDS = 20.0
CONNECT_SECONDS, PAUSE_SECONDS = 5.0, 0.2
PAGE = 100  # objects of a listing, at a time
LARGEST_AT_ONCE = 2**26  # bytes; larger objects go up in pieces
LARGEST_COPY = 5 * 2**30  # bytes; S3 copies no larger object by itself
_YES = ("1", "true", "yes", "on")
_Result = TypeVar("_Result")
Version = Mapping[str, str]  # what tells one state of an object from all others


@dataclass(frozen=True)
class Entry:
    """An object in a listing: its key below the prefix, bytes, and what changes when it does."""

    key: str
    size: int
    tag: str


@dataclass(frozen=True)
class Found:
    """An object that was read."""

    content: bytes
    version: Version


class Bucket:
    """The objects of one place; keys are relative to its prefix."""

    def __init__(self, place: Place) -> None:
        self.place = place
        check_environment(place.url.split(":")[0])
        self._obstore = _library()
        self._patience = patience()
        limits = {
            "connect_timeout": timedelta(seconds=min(CONNECT_SECONDS, self._patience)),
            "read_timeout": timedelta(seconds=3 * self._patience),
            "timeout": timedelta(hours=1),  # for a large object on a slow line
            "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() in _YES,
        }
        retries = {"max_retries": 10, "retry_timeout": timedelta(seconds=self._patience)}
        try:
            self._store = self._obstore.store.from_url(
                place.url, client_options=limits, retry_config=retries
            )
        except self._obstore.exceptions.BaseError as error:
            raise told(error, self.place.url, self._patience) from None

    def get(self, key: str, limit: int | None = None) -> Found | None:
        """Returns an object; None if there is none.

        Args:
          limit: bytes of which nobody writes more; None where there is no such number.
        Raises:
          StoreError: it is larger, or the store cannot be used.
        """
        try:
            return self._ask(partial(self._read, key, limit))
        except FileNotFoundError as error:
            self._check_bucket(error)
            return None

    def download(self, key: str, target: Path, limit: int | None = None) -> bool:
        """Writes an object to a file, which is whole or not there; False if there is no object.

        The file is a copy, so nobody waits until it is durable.

        Args:
          limit: as of `get`.
        Raises:
          StoreError: as `get`.
        """
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        beside.touch()  # that this is impossible is not taken for a missing object
        try:
            self._ask(partial(self._receive, key, beside, limit))
            beside.replace(target)
        except FileNotFoundError as error:
            self._check_bucket(error)
            return False
        finally:
            beside.unlink(missing_ok=True)
        return True

    def put(self, key: str, content: bytes | Path) -> None:
        """Stores an object in place of another, if there is one."""
        if isinstance(content, Path) and content.stat().st_size > LARGEST_AT_ONCE:
            with content.open("rb") as file:
                self._unless_missing(partial(self._send, key, file))
            return
        raw = content.read_bytes() if isinstance(content, Path) else content
        send = partial(self._obstore.put, self._store, key, raw, use_multipart=False)
        self._unless_missing(send)

    def create(self, key: str, content: bytes) -> Version | None:
        """Stores an object whose content no other writer has; None if there is one of that key."""
        return self._conditionally(key, content, "create")

    def replace(self, key: str, content: bytes, version: Version) -> Version | None:
        """Stores an object in place of the version that was read; None if that is not there now."""
        return self._conditionally(key, content, version)

    def copy(self, source: str, target: str) -> bool:
        """Copies within the store, in place of another object; False if the source is gone.

        What the store refuses to copy for its size goes through this process.
        """
        try:
            self._ask(partial(self._copy, source, target))
        except FileNotFoundError as error:
            self._check_bucket(error)
            return False
        return True

    def delete(self, keys: Sequence[str]) -> None:
        """Deletes objects, also such as are gone already."""
        if keys:
            try:
                self._ask(partial(self._obstore.delete, self._store, list(keys)))
            except FileNotFoundError as error:
                self._check_bucket(error)
                for key in keys if len(keys) > 1 else ():
                    self.delete([key])

    def listed(self, prefix: str = "") -> list[Entry]:
        """Returns the objects whose keys begin with a whole segment or more.

        Args:
          prefix: a folder, or "" for all.
        """
        found = self._ask(lambda: self._obstore.list(self._store, prefix or None).collect())
        return [_entry(one) for one in found]

    def top(self, folder: str = "") -> tuple[list[Entry], list[str]]:
        """Returns the objects that are in a folder but in none of its own, and their names."""
        list_there = partial(self._obstore.list_with_delimiter, self._store, folder or None)
        found = self._ask(list_there)
        folders = [str(path).rstrip("/").split("/")[-1] for path in found["common_prefixes"]]
        return [_entry(one) for one in found["objects"]], folders

    def beginning(self, folder: str, start: str) -> list[Entry]:
        """Returns the objects of a folder whose names begin so; looks at few others."""
        return self._ask(partial(self._beginning, folder, f"{folder}/{start}"))

    def _beginning(self, folder: str, start: str) -> list[Entry]:
        found: list[Entry] = []
        # Names are listed in their order, those after the offset; no name ends where it does.
        pages = self._obstore.list(self._store, folder, offset=start, chunk_size=PAGE)
        for page in pages:
            entries = [entry for entry in map(_entry, page) if entry.key.startswith(start)]
            found += entries
            if len(entries) < len(page):
                break
        return found

    def _conditionally(self, key: str, content: bytes, mode: Any) -> Version | None:
        """The answer to a request may be lost, and the next one then refused for our own object."""
        errors = self._obstore.exceptions
        give_up = time.monotonic() + self._patience
        while True:
            failed: Exception | None = None
            try:
                return _version(self._request(partial(self._put_if, key, content, mode)))
            except (errors.AlreadyExistsError, errors.PreconditionError, FileNotFoundError):
                pass
            except errors.BaseError as error:
                if is_final(error):
                    raise told(error, self.place.url, self._patience) from None
                failed = error
            found = self.get(key)
            if found is not None and found.content == content:
                return found.version
            if failed is None:
                return None
            if time.monotonic() > give_up:
                raise told(failed, self.place.url, self._patience) from None
            time.sleep(PAUSE_SECONDS)

    def _read(self, key: str, limit: int | None) -> Found:
        answer = self._answer(key, limit)
        return Found(bytes(answer.bytes()), _version(answer.meta))

    def _receive(self, key: str, target: Path, limit: int | None) -> None:
        pieces.receive(self._answer(key, limit), target)

    def _answer(self, key: str, limit: int | None) -> Any:
        answer = self._obstore.get(self._store, key)
        size = answer.meta["size"]
        if limit is not None and size > limit:
            raise StoreError(
                f"{self.place.url}/{key}: {size:,} bytes came. Allowed: {limit:,}. Restore it from "
                f"a copy, or delete it."
            )
        return answer

    def _send(self, key: str, file: BinaryIO) -> None:
        file.seek(0)  # it may be tried again
        size = os.fstat(file.fileno()).st_size
        pieces.send(self._obstore, self._store, key, pieces.of(file), size)

    def _copy(self, source: str, target: str) -> None:
        try:
            self._obstore.copy(self._store, source, target)
        except self._obstore.exceptions.BaseError as error:
            size = self._size(source) if is_refused(error) else 0
            if size <= LARGEST_COPY:
                raise
            self._copy_in_pieces(source, target, size)

    def _copy_in_pieces(self, source: str, target: str, size: int) -> None:
        try:
            pieces.copy(self._obstore, self._store, source, target, size)
        except FileNotFoundError as error:  # also where the store has lost the pieces
            self._size(source)
            raise told(error, self.place.url, self._patience) from None

    def _size(self, key: str) -> int:
        return int(self._obstore.head(self._store, key)["size"])

    def _put_if(self, key: str, content: bytes, mode: Any) -> Any:
        return self._obstore.put(self._store, key, content, mode=mode, use_multipart=False)

    def _unless_missing(self, send: Callable[[], object]) -> None:
        try:
            self._ask(send)
        except FileNotFoundError as error:
            raise told(error, self.place.url, self._patience) from None

    def _ask(self, send: Callable[[], _Result]) -> _Result:
        """Sends a request that may be sent twice.

        Raises:
          FileNotFoundError: the object, or the bucket, is not there.
        """
        errors = self._obstore.exceptions
        give_up = time.monotonic() + self._patience
        while True:
            try:
                return self._request(send)
            except errors.BaseError as error:
                if is_final(error) or time.monotonic() > give_up:
                    raise told(error, self.place.url, self._patience) from None
                time.sleep(PAUSE_SECONDS)

    def _request(self, send: Callable[[], _Result]) -> _Result:
        """The one place through which every request goes; tests stand here."""
        return send()

    def _check_bucket(self, error: FileNotFoundError) -> None:
        """That the bucket is missing is told like a missing object."""
        if lacks_bucket(str(error)):
            raise told(error, self.place.url, self._patience) from None


def patience() -> float:
    """Returns for how many seconds a request is tried again.

    Raises:
      InputError: TFC_STORE_SECONDS is no number of seconds.
    """
    text = os.environ.get("TFC_STORE_SECONDS", "")
    try:
        seconds = float(text or PATIENCE_SECONDS)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 3600:
        raise InputError("TFC_STORE_SECONDS: a number of seconds up to 3600 is wanted, such as 20.")
    return seconds


def _library() -> Any:
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ModuleNotFoundError:
        raise StoreError(
            "Results in an object store need the package obstore. Install it with: pip install "
            "'tfc_jax[objects]'."
        ) from None
    return obstore


def _entry(told: Mapping[str, Any]) -> Entry:
    return Entry(told["path"], told["size"], str(told["e_tag"] or told["version"]))


def _version(told: Mapping[str, Any]) -> Version:
    return {name: told[name] for name in ("e_tag", "version") if told.get(name) is not None}
