"""Objects that are too large for one request, or for the memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest

from tests.objects.packs import fake_store, train_fake_at
from tests.objects.server import UPLOADS
from tests.objects.store import Local, fresh_place, running
from tests.sweeps import (
    CHUNK,
    PACK,
    content,
    fake_plugins,
    make_chunk,
    make_probe,
    make_state,
    train_fake_pack,
)
from tfc_jax.objects import bucket as buckets
from tfc_jax.objects import pieces
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.place import Place
from tfc_jax.objects.refusals import StoreError

LIMIT, PIECE = 2000, 1000
RAW = bytes(range(256)) * 20


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A server that copies as little at once as S3 does, in proportion."""
    with running(tmp_path_factory.mktemp("strict")) as server:
        server.kill()
        server.start(f"copies:{LIMIT}")
        yield server


@pytest.fixture
def its_place(strict: Local, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    fake_plugins(monkeypatch)
    monkeypatch.setattr(buckets, "LARGEST_COPY", LIMIT)
    monkeypatch.setattr(pieces, "PIECE", PIECE)
    return fresh_place(monkeypatch, strict, tmp_path / "cache", tmp_path.name)


def left_over(server: Local) -> list[Path]:
    """Pieces that never became an object."""
    return list((server.root / UPLOADS).glob("*"))


def test_a_store_that_copies_no_large_object_gets_the_same_rows_and_weights(
    strict: Local, its_place: Place, tmp_path: Path
) -> None:
    train_fake_pack(tmp_path / "folder")
    train_fake_at(its_place)
    assert content(strict.as_folder(its_place, tmp_path / "copied")) == content(tmp_path / "folder")
    assert max(path.stat().st_size for path in strict.objects(its_place).values()) > LIMIT
    assert not left_over(strict)


def test_large_objects_that_a_head_names_are_published_by_whoever_recovers(
    strict: Local, its_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*arguments: object) -> None:
        raise Killed

    store = fake_store(its_place)
    store.recover()
    store.add_first_probe(make_probe(0))
    store.add(make_chunk(0, CHUNK))
    with monkeypatch.context() as patch:
        patch.setattr(pieces, "copy", die)
        with pytest.raises(Killed):
            store.commit(make_state(CHUNK), 1.0, "running")
    assert f"runs/{PACK}.parquet" not in strict.objects(its_place)
    checkpoint = fake_store(its_place).recover()
    assert checkpoint
    assert checkpoint.step == CHUNK
    assert f"runs/{PACK}.parquet" in strict.objects(its_place)


@pytest.mark.parametrize(("request_", "number"), [("get_range", 1), ("get_range", 3), ("head", 2)])
def test_a_large_object_that_goes_while_it_is_copied_is_not_copied(
    strict: Local,
    its_place: Place,
    monkeypatch: pytest.MonkeyPatch,
    request_: str,
    number: int,
) -> None:
    bucket, send, calls = Bucket(its_place), getattr(obstore, request_), [0]

    def late(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            bucket.delete(["x"])
        return send(*arguments, **options)

    bucket.put("x", RAW)
    monkeypatch.setattr(obstore, request_, late)
    assert not bucket.copy("x", "y")
    assert calls[0] >= number
    assert not strict.objects(its_place)
    assert not left_over(strict)


def test_a_large_object_that_was_never_there_is_not_copied(its_place: Place) -> None:
    assert not Bucket(its_place).copy("x", "y")


def test_an_object_that_is_not_too_large_is_not_copied_in_pieces(
    strict: Local, its_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "LARGEST_COPY", len(RAW))
    bucket = Bucket(its_place)
    bucket.put("x", RAW)
    with pytest.raises(StoreError, match=r"the object store cannot be used .*400 Bad Request"):
        bucket.copy("x", "y")
    monkeypatch.setattr(buckets, "LARGEST_COPY", len(RAW) - 1)
    assert bucket.copy("x", "y")
    assert strict.objects(its_place)["y"].read_bytes() == RAW


def test_an_object_has_no_more_pieces_than_a_store_takes(
    strict: Local, its_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, open_writer = list[int](), obstore.open_writer

    def listen(*arguments: Any, buffer_size: int, **options: Any) -> Any:
        sizes.append(buffer_size)
        return open_writer(*arguments, buffer_size=buffer_size, **options)

    monkeypatch.setattr(obstore, "open_writer", listen)
    monkeypatch.setattr(pieces, "MOST_PIECES", 3)
    bucket = Bucket(its_place)
    bucket.put("x", RAW)
    assert bucket.copy("x", "y")
    assert sizes[0] * 3 >= len(RAW)
    assert strict.objects(its_place)["y"].read_bytes() == RAW
