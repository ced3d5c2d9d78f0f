"""`tfc fsck` looks at results that `tfc compact` changes under its hands, and finds no damage."""

import random
import shutil
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.tally import Tally, Tries
from tests.sweeps import content, make_sweep, train
from tfc_jax import files, fsck
from tfc_jax.compact import compact
from tfc_jax.layout import Folder

CHANGES = ("new_file", "make_new_folder", "link", "exchange", "remove", "move_in", "sync_folder")
LOOKS = ("open", "os.listdir", "os.scandir")
WAIT_S = 60.0  # a guard against hangs

_looking: list[Callable[[str], None]] = []  # what is called with each path that is looked at


@pytest.fixture(scope="module", autouse=True)
def watched() -> None:
    """For good, since Python lets nobody take such a hook away."""
    sys.addaudithook(_tell)


def _tell(event: str, arguments: tuple[Any, ...]) -> None:
    for looking in _looking if event in LOOKS else ():
        looking(str(arguments[0]))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 runs in 2 packs, in several groups each."""
    out = tmp_path_factory.mktemp("trained") / "out"
    record = {"metrics": ["similarity"], "probes": ["generalization"]}
    train(make_sweep(out.parent, record=record), out, commit_seconds=0)
    return out


class Compaction:
    """One that waits before one of its changes, until it is let go on."""

    def __init__(self, folder: Folder, change: int) -> None:
        self.changes, self._change = 0, change
        self._waits, self._goes_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._compact, args=[folder])

    def start(self) -> None:
        self._thread.start()
        assert self._waits.wait(WAIT_S)

    def end(self) -> None:
        self._goes_on.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()

    def is_here(self) -> bool:
        return threading.current_thread() is self._thread

    def _compact(self, folder: Folder) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for name in CHANGES:
                patch.setattr(files, name, self._counted(getattr(files, name)))
            compact(folder, pytest.fail)
        self._waits.set()

    def _counted(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if self.changes == self._change:
                self._waits.set()
                self._goes_on.wait(WAIT_S)
            self.changes += 1
            return change(*arguments)

        return call


def checked(
    folder: Folder, change: int, is_the_look: Callable[[str, int], bool]
) -> tuple[fsck.Report, int, int]:
    """Compacts up to a change, begins to check, and ends the compaction before one of its looks.

    Args:
      is_the_look: of a path, and of the number of looks so far.
    Returns:
      what was found, and how many changes and looks there were.
    """
    compaction, looks = Compaction(folder, change), 0

    def note(path: str) -> None:
        nonlocal looks
        # Archives are read one at a time, for which a compaction of this process would wait.
        if path.startswith(str(folder.root)) and not (compaction.is_here() or ".npz" in path):
            looks += 1
            if is_the_look(path.removeprefix(str(folder.root)), looks):
                compaction.end()

    compaction.start()
    _looking.append(note)
    try:
        report = fsck.check(folder)
    finally:
        _looking.clear()
        compaction.end()
    return report, compaction.changes, looks


@pytest.mark.parametrize("looked_at", ["/steps/", "/checkpoints/staging/compact-steps"])
def test_what_compact_takes_away_before_it_is_looked_at_is_no_damage(
    trained: Path, tmp_path: Path, looked_at: str
) -> None:
    folder, looks = Folder(tmp_path / "out"), list[int]()
    shutil.copytree(trained, folder.root)

    def is_it(path: str, number: int) -> bool:
        is_first = path.startswith(looked_at) and not looks
        looks.extend([number] * is_first)
        return is_first

    report, changes, last = checked(folder, 12, is_it)
    assert report.damage == []
    assert content(folder.root) == content(trained)
    assert changes > 50
    assert 0 < looks[0] <= last


def test_fsck_while_compact_is_at_work(
    trained: Path, tmp_path: Path, tries: Tries, tally: Tally
) -> None:
    draws, changes, looks = random.Random(0), 0, 0
    for number in range(tries(5, 500)):
        folder, look = Folder(tmp_path / str(number)), draws.randint(1, looks + 1)
        shutil.copytree(trained, folder.root)
        is_it = partial(_is_at, look)
        report, changes, looks = checked(folder, draws.randint(0, changes), is_it)
        tally.tried += 1
        tally.wrong += report.damage != []
        tally.lost += content(folder.root) != content(trained)
        shutil.rmtree(folder.root)
    assert not tally.bad


def _is_at(look: int, path: str, so_far: int) -> bool:
    return so_far == look
