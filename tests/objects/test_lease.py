"""Only one launch at a time writes in a place."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from tests.objects.store import Local
from tfc_jax.errors import InputError
from tfc_jax.lock import LockLost
from tfc_jax.objects import lease
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.keeper import kept
from tfc_jax.objects.place import Place

DEAD = f"process {2**22 + 1} on {os.uname().nodename} since 2026-01-01T00:00:00.000000Z"
ELSEWHERE = "process 7 on elsewhere since 2026-01-01T00:00:00.000000Z"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 1.0)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.02)


def left(place: Place, owner: str, state: str = "held", machine: str | None = None) -> Bucket:
    """A lease as an owner has left it."""
    bucket, machine = Bucket(place), machine or lease._machine()
    told = {"state": state, "owner": owner, "machine": machine, "token": "a" * 16, "beats": 3}
    assert bucket.create(lease.KEY, json.dumps(told).encode())
    return bucket


def test_a_launch_that_lives_is_not_replaced(place: Place) -> None:
    bucket, said = Bucket(place), list[str]()
    held = lease.take(bucket, said.append)
    over = threading.Event()

    def live() -> None:
        while not over.wait(0.1):
            held.renew()

    owner = threading.Thread(target=live)
    owner.start()
    try:
        with pytest.raises(InputError, match=rf"another `tfc run` is .*process {os.getpid()} on"):
            lease.take(Bucket(place), said.append)
    finally:
        over.set()
        owner.join()
    assert len(said) == 1
    held.renew()


def test_one_that_was_left_is_taken_over_when_it_has_not_changed_for_long(place: Place) -> None:
    said = list[str]()
    lease.take(left(place, ELSEWHERE), said.append).renew()
    assert said == [
        f"{place.url}: a launch ({ELSEWHERE}) holds the lease. Waiting up to 1 s to see whether it "
        f"lives."
    ]


def test_a_process_that_is_dead_here_may_live_on_a_machine_of_the_same_name(place: Place) -> None:
    said = list[str]()
    lease.take(left(place, DEAD, machine="a copy of this image"), said.append)
    assert len(said) == 1


@pytest.mark.parametrize(("owner", "state"), [(ELSEWHERE, "free"), (DEAD, "")])
def test_one_that_is_free_or_of_a_dead_process_here_is_taken_at_once(
    place: Place, owner: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 1e9)
    bucket = left(place, owner, state)
    lease.take(bucket, pytest.fail)
    kept = bucket.get(lease.KEY)
    assert kept is not None
    assert f"process {os.getpid()} on" in kept.content.decode()


def test_a_record_of_nonsense_is_waited_for(place: Place) -> None:
    bucket = Bucket(place)
    bucket.put(lease.KEY, b"\xff[[[")
    said = list[str]()
    lease.take(bucket, said.append).renew()
    assert "left no record" in said[0]


def test_the_owner_that_was_replaced_is_told(place: Place) -> None:
    former = lease.take(Bucket(place), pytest.fail)
    lease.take(Bucket(place), lambda line: None)
    with pytest.raises(LockLost, match="holds the lease no longer: another one has taken it over"):
        former.renew()


def test_a_write_whose_answer_was_lost_costs_nobody_the_lease(place: Place) -> None:
    bucket = Bucket(place)
    held = lease.take(bucket, pytest.fail)
    known = held.version
    held.renew()
    held.version = known  # as if it had not been heard
    held.renew()
    found = bucket.get(lease.KEY)
    assert found is not None
    assert found.version == held.version != known


def test_a_document_that_takes_long_to_send_costs_nobody_the_lease(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWED_SECONDS", 0.02)
    bucket, sent, put = Bucket(place), list[int](), Bucket.put

    def beats() -> int:
        found = bucket.get(lease.KEY)
        return int(json.loads(found.content)["beats"]) if found else 0

    def slow(bucket: Bucket, key: str, content: Path | bytes) -> None:
        if key == "log.jsonl":
            sent.append(beats())
            while beats() < sent[-1] + 5:
                assert time.monotonic() < give_up
        put(bucket, key, content)

    monkeypatch.setattr(Bucket, "put", slow)
    place.work.mkdir(parents=True)
    log, give_up = place.work / "log.jsonl", time.monotonic() + 30
    log.write_text("a\n")
    with kept(bucket, place.work, pytest.fail):
        while not sent:
            assert time.monotonic() < give_up
        log.write_text("a\nb\n")
        before = beats()
        while beats() < before + 20:  # it is not yet sent again
            assert time.monotonic() < give_up
        assert len(sent) == 1
    assert len(sent) == 2  # all that is left, at the end
    found = bucket.get("log.jsonl")
    assert found is not None
    assert found.content == b"a\nb\n"


def test_a_launch_that_slept_asks_before_it_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is begun on the strength of a lease that another launch may have by now."""
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 60.0)
    bucket, went_on = Bucket(place), list[bool]()

    def launch(taken: bool) -> None:
        with kept(bucket, place.work, pytest.fail) as keeper:
            if taken:
                bucket.put(lease.KEY, b"another's")
            keeper.check()  # it is fresh: nobody is asked
            keeper._lease.written -= 31.0
            keeper.check()
            went_on.append(taken)

    launch(taken=False)
    with pytest.raises(LockLost):
        launch(taken=True)
    assert went_on == [False]


def test_a_launch_stops_when_its_lease_is_lost(
    local: Local, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWED_SECONDS", 0.05)
    bucket = Bucket(place)

    def launch() -> None:
        with kept(bucket, place.work, pytest.fail) as keeper:
            found = bucket.get(lease.KEY)
            while found and bucket.replace(lease.KEY, b"another's", found.version) is None:
                found = bucket.get(lease.KEY)
            for thread in keeper._threads:
                thread.join(10)
            keeper.watching(lambda event: pytest.fail("it goes on"))({"event": "step"})

    with pytest.raises(LockLost):
        launch()
    assert local.objects(place)[lease.KEY].read_bytes() == b"another's"
