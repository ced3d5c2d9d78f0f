"""A writer that was suspended, replaced and woken up changes nothing any more."""

import os
import random
import signal
import time
from contextlib import suppress
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.faults.child import REPLACED, ended, started
from tests.faults.disk import watched
from tests.faults.tally import Tally, Tries
from tests.sweeps import PACK, content, fake_plugins, train_fake_pack
from tfc_jax.layout import Folder
from tfc_jax.stage import Fenced


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins(monkeypatch)


@pytest.fixture
def reference(tmp_path: Path) -> dict[str, str]:
    """What an undisturbed launch leaves."""
    train_fake_pack(tmp_path / "reference")
    return content(tmp_path / "reference")


def test_replaced_before_each_change_of_the_disk(
    tmp_path: Path, tally: Tally, reference: dict[str, str]
) -> None:
    """Another launch does all of its work between two calls of the first."""
    for at in count(1):
        out = tmp_path / str(at)

        def replace(call: int, name: str, at: int = at, out: Path = out) -> None:
            if call == at:
                train_fake_pack(out, commit_every=10)

        with watched(replace) as disk:
            outcome = _outcome(out)
        if disk.calls < at:
            break
        tally.tried += 1
        tally.wrong += content(out) != reference or outcome not in ("done", "replaced")
    assert not tally.bad
    assert tally.tried > 60


def _outcome(out: Path) -> str:
    try:
        train_fake_pack(out)
    except Fenced:
        return "replaced"
    return "done"


def test_replaced_in_the_middle_of_a_commit_it_says_so(tmp_path: Path) -> None:
    links = iter([lambda: train_fake_pack(tmp_path)])

    def replace(call: int, name: str) -> None:
        if name == "link":
            next(links, lambda: None)()

    with watched(replace), pytest.raises(Fenced, match="another process has taken it over"):
        train_fake_pack(tmp_path)


def test_sigstop_replaced_sigcont_at_random_times(
    tmp_path: Path, tally: Tally, tries: Tries, reference: dict[str, str]
) -> None:
    rng, replaced = random.Random(0), 0
    for n in range(tries(20, 200)):
        out = tmp_path / str(n)
        process = started(out)
        while not Folder(out).stages_of(PACK) and process.is_alive():
            time.sleep(0.001)  # it has not begun
        time.sleep(rng.uniform(0.0, 0.02))
        send(process, signal.SIGSTOP)
        train_fake_pack(out, commit_every=20)
        send(process, signal.SIGCONT)
        tally.tried += 1
        replaced += (code := ended(process)) == REPLACED
        tally.wrong += content(out) != reference or code not in (0, REPLACED)
    assert not tally.bad
    assert replaced > tally.tried / 4  # the others had come to their end, or not begun


def send(process: BaseProcess, number: signal.Signals) -> None:
    assert process.pid is not None
    with suppress(ProcessLookupError):  # it was quicker
        os.kill(process.pid, number)
