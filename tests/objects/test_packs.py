"""One pack in an object store: what is where, and what a former writer can still do."""

from pathlib import Path

import pytest

from tests.objects.packs import (
    STEPS,
    Killed,
    before_requests,
    die,
    fake_store,
    fake_task,
    train_elsewhere,
    train_fake_at,
)
from tests.objects.store import Local
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
from tfc_jax.layout import Folder
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.head import read_head
from tfc_jax.objects.place import Place
from tfc_jax.objects.replica import ReplicatedStore
from tfc_jax.pack_stores import mark_failed
from tfc_jax.parts import DamagedPart
from tfc_jax.runs_table import rows_in
from tfc_jax.stage import Fenced
from tfc_jax.store import Contradiction, PackStore


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins(monkeypatch)


@pytest.fixture
def reference(tmp_path: Path) -> dict[str, str]:
    """What a launch in a folder leaves."""
    train_fake_pack(tmp_path / "reference")
    return content(tmp_path / "reference")


def stored(local: Local, place: Place, tmp_path: Path) -> dict[str, str]:
    return content(local.as_folder(place, tmp_path / "copied"))


def checkpoints(local: Local, place: Place) -> list[Path]:
    """Files of the checkpoints, oldest first."""
    found = local.objects(place)
    return [found[key] for key in read_head(Bucket(place), PACK).head.checkpoints]


def test_the_store_has_the_same_rows_and_weights_as_a_folder(
    local: Local, place: Place, tmp_path: Path, reference: dict[str, str]
) -> None:
    train_fake_at(place)
    assert stored(local, place, tmp_path) == reference


def test_two_checkpoints_and_nothing_staged_are_left(local: Local, place: Place) -> None:
    train_fake_at(place, commit_every=10)
    left = [key for key in local.objects(place) if key.startswith("checkpoints/")]
    assert len(left) == 3
    assert len([key for key in left if key.endswith(".npz")]) == 2


def test_a_pack_that_is_done_leaves_its_rows_alone_on_the_local_disk(place: Place) -> None:
    train_fake_at(place)
    files = [path for path in place.work.rglob("*") if path.is_file()]
    assert [path for path in files if path.name != "empty.parquet"] == [
        place.work / "runs" / f"{PACK}.parquet"
    ]


def test_another_machine_goes_on_from_the_last_commit(
    local: Local,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reference: dict[str, str],
) -> None:
    begin(place, 20)
    monkeypatch.setenv("TFC_CACHE", str(tmp_path / "another machine"))
    other = fake_store(place)
    checkpoint = other.recover()
    assert checkpoint
    assert checkpoint.step == 20
    train_fake_at(place)
    assert stored(local, place, tmp_path) == reference


def begin(place: Place, *ends: int) -> PackStore:
    """Commits the steps up to each end."""
    store = fake_store(place)
    store.recover()
    store.add_first_probe(make_probe(0))
    store.write_runs("running", 0, 0.0)
    start = 0
    for stop in ends:
        for first in range(start, stop, CHUNK):
            store.add(make_chunk(first, first + CHUNK))
        store.commit(make_state(stop), 1.0, "done" if stop == STEPS else "running")
        start = stop
    return store


def test_of_two_writers_the_former_is_told_and_writes_nothing_more(
    local: Local, place: Place, tmp_path: Path, reference: dict[str, str]
) -> None:
    former = begin(place, 10)
    train_elsewhere(place, tmp_path)
    former.add(make_chunk(10, 20))
    with pytest.raises(Fenced, match="another process has taken it over"):
        former.commit(make_state(20), 1.0, "running")
    with pytest.raises(Fenced):
        former.write_runs("failed", 10, 1.0)
    assert stored(local, place, tmp_path) == reference


def test_a_former_writer_of_this_machine_puts_nothing_in_the_way(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, forget = begin(place, 10), ReplicatedStore._forget_local
    former.add(make_chunk(10, 20))

    def late(self: ReplicatedStore) -> None:
        forget(self)
        with pytest.raises(Fenced):
            PackStore.commit(former, make_state(20), 1.0, "running")

    monkeypatch.setattr(ReplicatedStore, "_forget_local", late)
    checkpoint = fake_store(place).recover()
    assert checkpoint
    assert checkpoint.step == 10


def test_what_the_head_names_is_published_by_whoever_recovers(
    local: Local, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = begin(place, 20)
    store.add(make_chunk(20, 30))
    store.add(make_chunk(30, STEPS))
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "copy", die)
        with pytest.raises(Killed):
            store.commit(make_state(STEPS), 1.0, "done")
    assert f"params/{PACK}.npz" not in local.objects(place)
    checkpoint = fake_store(place).recover()
    assert checkpoint
    assert checkpoint.step == STEPS
    assert f"params/{PACK}.npz" in local.objects(place)
    rows = rows_in(local.objects(place)[f"runs/{PACK}.parquet"], ["steps_done"])
    assert rows["steps_done"].to_pylist() == [STEPS] * 3


def test_a_writer_that_is_replaced_after_its_commit_copies_nothing_more(
    local: Local,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reference: dict[str, str],
) -> None:
    former, copy, replaced = begin(place, 10), Bucket.copy, list[int]()

    def late(self: Bucket, source: str, target: str) -> bool:
        if not replaced:
            replaced.append(1)
            train_elsewhere(place, tmp_path)
        return copy(self, source, target)

    monkeypatch.setattr(Bucket, "copy", late)
    former.add(make_chunk(10, 20))
    with pytest.raises(Fenced, match="another process has taken it over"):
        former.commit(make_state(20), 1.0, "running")
    assert stored(local, place, tmp_path) == reference


def test_an_answer_that_was_lost_does_not_make_a_writer_its_own_rival(place: Place) -> None:
    bucket = Bucket(place)
    version = bucket.create("x", b"mine")
    assert bucket.create("x", b"mine") == version
    assert bucket.create("x", b"yours") is None
    assert version
    newer = bucket.replace("x", b"mine too", version)
    assert bucket.replace("x", b"mine too", version) == newer


def test_a_damaged_checkpoint_costs_the_time_since_the_one_before(
    local: Local, place: Place, tmp_path: Path, reference: dict[str, str]
) -> None:
    begin(place, 10, 20, 30)
    newest = checkpoints(local, place)[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    store = fake_store(place)
    checkpoint = store.recover()
    assert checkpoint
    assert checkpoint.step == 20
    assert "Set aside" in store.notices[0]
    damaged = [key for key in local.objects(place) if key.endswith(".damaged")]
    assert len(damaged) == 1
    assert not [key for key in local.objects(place) if key.startswith("steps/") and "30" in key]
    assert store.ends == {30}
    train_fake_at(place)
    assert stored(local, place, tmp_path) == reference


def test_rows_that_come_out_otherwise_are_told(local: Local, place: Place) -> None:
    begin(place, 10, 20, 30)
    newest = checkpoints(local, place)[-1]
    newest.write_bytes(b"damaged")
    store = fake_store(place)
    store.recover()
    other = make_chunk(20, 30)
    other.every_step["loss"][:] = 0.5
    store.add(other)
    with pytest.raises(Contradiction):
        store.commit(make_state(30), 1.0, "running")


def test_a_part_that_is_gone_is_told(local: Local, place: Place) -> None:
    begin(place, 10, 20)
    key = next(key for key in local.objects(place) if key.startswith("steps/"))
    local.objects(place)[key].unlink()
    with pytest.raises(DamagedPart, match=f"{place.url}/{key} is missing"):
        fake_store(place).recover()


def test_a_failed_pack_keeps_what_it_committed(local: Local, place: Place) -> None:
    begin(place, 10)
    mark_failed(fake_task(place))
    rows = rows_in(local.objects(place)[f"runs/{PACK}.parquet"], ["status", "steps_done"])
    assert rows.to_pylist() == [{"status": "failed", "steps_done": 10}] * 3
    train_fake_at(place)
    rows = rows_in(local.objects(place)[f"runs/{PACK}.parquet"], ["status"])
    assert set(rows["status"].to_pylist()) == {"done", "diverged"}


def test_a_commit_takes_two_requests_per_file_and_a_few_more(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = begin(place, 10)
    calls = before_requests(monkeypatch, lambda number: None)
    store.add(make_chunk(10, 20))
    store.commit(make_state(20), 1.0, "running")
    n_files = 4  # steps, layers, probe, rows
    assert calls[0] == 2 * n_files + 3  # a checkpoint, the head, one deletion


def test_a_head_that_is_none_is_refused(local: Local, place: Place) -> None:
    begin(place, 10)
    head = local.objects(place)[f"checkpoints/{PACK}/head.json"]
    head.write_text('{"checkpoints": ["../../else"]}')
    with pytest.raises(Exception, match="this is not the head of a pack"):
        fake_store(place).recover()
    head.write_text(" " * 2**16 + "{}")
    with pytest.raises(Exception, match=r"head.json: 65,538 bytes came\. Allowed: 65,536\."):
        fake_store(place).recover()


def test_local_rows_that_never_reached_the_store_do_not_count(place: Place) -> None:
    folder = Folder(place.work)
    train_fake_at(place)
    (folder.runs / f"{PACK}.parquet").write_bytes(b"older")
    fake_store(place)
    assert rows_in(folder.runs / f"{PACK}.parquet").num_rows == 3
