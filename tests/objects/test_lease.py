"""Only one launch at a time writes in a place."""

import json
import os
import threading

import pytest

from tests.objects.store import Local
from tfc_jax.errors import InputError
from tfc_jax.lock import LockLost
from tfc_jax.objects import lease
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.keeper import kept
from tfc_jax.objects.place import Place

ELSEWHERE = "process 7 on elsewhere since 2026-01-01T00:00:00.000000Z"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 1.0)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.02)


def left(place: Place, owner: str, state: str = "held") -> Bucket:
    """A lease as an owner has left it."""
    bucket = Bucket(place)
    told = {"state": state, "owner": owner, "token": "a" * 16, "beats": 3}
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


@pytest.mark.parametrize(
    ("owner", "state"), [(ELSEWHERE, "free"), (f"process {2**22 + 1} on {os.uname().nodename}", "")]
)
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
            keeper._thread.join(10)
            keeper.watching(lambda event: pytest.fail("it goes on"))({"event": "step"})

    with pytest.raises(LockLost):
        launch()
    assert local.objects(place)[lease.KEY].read_bytes() == b"another's"
