"""Local copies of objects are what the objects are, and nothing that a stranger put there."""

from pathlib import Path

import pytest

from tests.objects.packs import before_requests
from tests.objects.store import BUCKET, Local
from tfc_jax.objects import mirror
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.place import Place
from tfc_jax.objects.refusals import StoreError

PACK = "0123456789ab"
PART = f"steps/{PACK}-000000000-000000040.parquet"


def files_of(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def bring(place: Place) -> set[str]:
    mirror.bring(Bucket(place), place.seen, mirror.documents(), mirror.parts(), mirror.weights())
    return files_of(place.seen)


def test_objects_come_once_and_go_when_they_are_gone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket(place)
    bucket.put("manifest.json", b"{}")
    bucket.put(PART, b"rows")
    assert bring(place) == {"manifest.json", PART}
    calls = before_requests(monkeypatch, lambda number: None)
    assert bring(place) == {"manifest.json", PART}
    again = calls[0]
    bucket.put("manifest.json", b'{"new": 1}')
    bring(place)
    assert calls[0] == 2 * again + 2  # it was sent, and fetched
    assert (place.seen / "manifest.json").read_bytes() == b'{"new": 1}'
    bucket.delete([PART])
    assert bring(place) == {"manifest.json"}


def test_a_copy_that_was_changed_here_comes_again(place: Place) -> None:
    Bucket(place).put(PART, b"rows")
    bring(place)
    (place.seen / PART).write_bytes(b"wrong")
    (place.seen / "runs").mkdir()
    (place.seen / "runs" / f"{PACK}.parquet").write_bytes(b"never sent")
    assert bring(place) == {PART}
    assert (place.seen / PART).read_bytes() == b"rows"


@pytest.mark.parametrize(
    "key",
    [
        f"steps/{PACK}-000000000-000000040.parquet/x",
        f"runs/..{PACK}.parquet",
        f"runs/{PACK}.parquet.exe",
        f"elsewhere/{PACK}-000000000-000000040.parquet",
        "steps/notes.txt",
        ".bashrc",
        "cells/other.parquet",
    ],
)
def test_what_no_launch_writes_stays_where_it_is(local: Local, place: Place, key: str) -> None:
    name = f"of-tests/{place.name}/{key}".replace("/", "%2F")
    (local.root / BUCKET / name).write_bytes(b"evil")
    assert bring(place) == set()


@pytest.mark.parametrize(
    ("key", "limit"),
    [
        ("manifest.json", "MAX_JSON_BYTES"),
        ("sweep.yaml", "MAX_BYTES"),
        ("log.jsonl", "MAX_LOG"),
        ("workers.log", "MAX_LOG"),
    ],
)
def test_a_document_that_is_too_large_to_be_read_does_not_come(
    place: Place, monkeypatch: pytest.MonkeyPatch, key: str, limit: str
) -> None:
    monkeypatch.setattr(mirror, limit, 100)
    bucket = Bucket(place)
    bucket.put(key, bytes(100))
    assert bring(place) == {key}
    bucket.put(key, bytes(101))
    with pytest.raises(StoreError, match=f"/{key}: 101 bytes came. Allowed: 100. Restore it"):
        bring(place)
    assert (place.seen / key).stat().st_size == 100


@pytest.mark.parametrize("key", [f"runs/../{PACK}.parquet", "runs/../../../evil"])
def test_a_name_that_leads_elsewhere_is_refused(local: Local, place: Place, key: str) -> None:
    name = f"of-tests/{place.name}/{key}".replace("/", "%2F")
    (local.root / BUCKET / name).write_bytes(b"evil")
    with pytest.raises(StoreError, match="has a name that is no path"):
        bring(place)
    assert files_of(place.seen) == set()


def test_many_packs_are_found_as_few_are(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, packs = Bucket(place), [f"{n:012x}" for n in range(5)]
    for pack in packs:
        bucket.put(f"steps/{pack}-000000000-000000040.parquet", b"rows")
        bucket.put(f"params/{pack}.npz", b"weights")
    one = {packs[2]}
    mirror.bring(bucket, place.seen, mirror.parts(["steps"], one), mirror.weights(one))
    assert len(files_of(place.seen)) == 2
    monkeypatch.setattr(mirror, "MOST_SOUGHT", 1)
    two = set(packs[:2])
    mirror.bring(bucket, place.seen, mirror.parts(["steps"], two), mirror.weights(two))
    assert len(files_of(place.seen)) == 6
