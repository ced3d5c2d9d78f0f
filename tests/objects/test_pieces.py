"""Objects that are too large for one request, or for the memory."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest

from tests.objects.packs import Killed, die, fake_store, train_fake_at
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


def test_no_more_than_a_few_pieces_of_a_large_file_are_in_the_memory(
    strict: Local, its_place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(buckets, "LARGEST_AT_ONCE", 2**20)
    monkeypatch.setattr(pieces, "PIECE", 2**18)
    bucket, size = Bucket(its_place), 2**23
    (tmp_path / "sent").write_bytes(bytes(range(256)) * (size // 256))
    bucket.delete(["x"])  # what the library needs once is not counted
    tracemalloc.start()
    try:
        bucket.put("x", tmp_path / "sent")
        assert bucket.download("x", tmp_path / "came")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < size / 4
    assert (tmp_path / "came").read_bytes() == (tmp_path / "sent").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"sent", "came"}


@pytest.mark.parametrize("limit", [10, 2**20])
def test_a_file_that_is_gone_is_no_object_that_is_gone(
    its_place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: int
) -> None:
    monkeypatch.setattr(buckets, "LARGEST_AT_ONCE", limit)
    bucket = Bucket(its_place)
    with pytest.raises(FileNotFoundError):
        bucket.put("x", tmp_path / "absent")
    bucket.put("x", RAW)
    with pytest.raises(FileNotFoundError):
        bucket.download("x", tmp_path / "absent" / "file")
    assert bucket.download("x", tmp_path / "file")


def test_an_object_that_does_not_come_whole_leaves_the_file_as_it_was(
    its_place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def cut_off(answer: Any, target: Path) -> None:
        target.write_bytes(bytes(answer.bytes())[:100])
        raise OSError(28, "No space left on device")

    bucket = Bucket(its_place)
    bucket.put("x", RAW)
    (tmp_path / "file").write_bytes(b"former")
    monkeypatch.setattr(pieces, "receive", cut_off)
    with pytest.raises(OSError, match="No space left"):
        bucket.download("x", tmp_path / "file")
    assert not bucket.download("absent", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"former"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
