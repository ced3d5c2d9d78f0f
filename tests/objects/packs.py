"""What a launch does with one pack without a network, in an object store."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps import (
    CHUNK,
    make_chunk,
    make_probe,
    make_state,
)
from tests.sweeps import fake_task as fake_task_in
from tfc_jax.layout import Folder
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.place import Place
from tfc_jax.pack_stores import folder_of, open_store
from tfc_jax.store import PackStore
from tfc_jax.task import Task

FACTS = {"schedule": "mapped", "pack_width": 4, "program": "fakefake", "prior_loss": 2.0}
STEPS = 40


class Killed(BaseException):
    """Nobody catches it, as nobody catches SIGKILL."""


def die(*arguments: object) -> None:
    """In the place of a function before which the process is killed."""
    raise Killed


def fake_task(place: Place) -> Task:
    return replace(fake_task_in(Folder(place.work), STEPS), url=place.url)


def fake_store(place: Place) -> PackStore:
    task = fake_task(place)
    return open_store(task, folder_of(task), FACTS)


def train_fake_at(place: Place, commit_every: int = 20) -> None:
    """As tests.sweeps.train_fake_pack does in a folder."""
    store = fake_store(place)
    checkpoint = store.recover()
    step = checkpoint.step if checkpoint else 0
    if checkpoint is None:
        store.add_first_probe(make_probe(0))
    if checkpoint and step >= STEPS:
        store.write_params(checkpoint.arrays)
        store.write_runs("done", step, 1.0)
        store.release()
        return
    store.write_runs("running", step, 0.0)
    for start in range(step, STEPS, CHUNK):
        stop = start + CHUNK
        store.add(make_chunk(start, stop))
        end = store.next_end(stop)
        if stop in (end, STEPS) or (end is None and stop % commit_every == 0):
            store.commit(make_state(stop), 1.0, "done" if stop == STEPS else "running")
    store.release()


def train_elsewhere(place: Place, folder: Path) -> None:
    """Trains the pack as another machine would, whose requests nobody watches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bucket, "_request", lambda self, send: send())
        patch.setenv("TFC_CACHE", str(folder / "elsewhere"))
        train_fake_at(place, commit_every=10)


def before_requests(patch: pytest.MonkeyPatch, before: Callable[[int], None]) -> list[int]:
    """Calls `before` with the number of each request; returns a list that holds the newest."""
    calls, send = [0], Bucket._request

    def request(self: Bucket, send_it: Callable[[], Any]) -> Any:
        calls[0] += 1
        before(calls[0])
        return send(self, send_it)

    patch.setattr(Bucket, "_request", request)
    return calls
